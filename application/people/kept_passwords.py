"""Hashes of a person's password and of those before it: in the vault, under their key."""

from collections.abc import Sequence
from typing import Final

import msgspec

from application.ports import PersonalData
from domain.events import SealedValue
from domain.ids import TenantId, UserId
from domain.personal_fields import PASSWORD_HASH, PAST_PASSWORDS

_HASHES: Final = msgspec.json.Decoder(tuple[str, ...])


class KeptPasswords:
    def __init__(self, vault: PersonalData) -> None:
        self._vault = vault

    async def present(self, tenant_id: TenantId, user_id: UserId) -> str | None:
        return await self._vault.read(tenant_id, user_id, PASSWORD_HASH)

    async def latest(self, tenant_id: TenantId, user_id: UserId, count: int) -> Sequence[str]:
        """The `count` latest, newest first, as far as they were kept; nothing is asked for none."""
        if not count:
            return ()
        present = await self.present(tenant_id, user_id)
        kept = await self._vault.read(tenant_id, user_id, PAST_PASSWORDS)
        past = () if kept is None else _HASHES.decode(kept)
        return (*(() if present is None else (present,)), *past)[:count]

    async def sealed(
        self, tenant_id: TenantId, user_id: UserId, hashed: str, past: Sequence[str]
    ) -> Sequence[SealedValue]:
        """This one to count, and `past` to be remembered, from the event on that says so."""
        told = msgspec.json.encode(past).decode()
        return [
            await self._vault.seal(tenant_id, user_id, PASSWORD_HASH, hashed),
            *([await self._vault.seal(tenant_id, user_id, PAST_PASSWORDS, told)] if past else []),
        ]

    async def forget_past(self, tenant_id: TenantId, user_id: UserId) -> None:
        await self._vault.remove(tenant_id, user_id, PAST_PASSWORDS)

    async def renew(self, tenant_id: TenantId, user_id: UserId, before: str, after: str) -> None:
        """Another hash of the same password, unless another password was set meanwhile."""
        await self._vault.replace(tenant_id, user_id, PASSWORD_HASH, before, after)

    async def give_up(self, tenant_id: TenantId, user_id: UserId, past: Sequence[str]) -> None:
        await self._remember(tenant_id, user_id, past)
        await self._vault.remove(tenant_id, user_id, PASSWORD_HASH)

    async def _remember(self, tenant_id: TenantId, user_id: UserId, past: Sequence[str]) -> None:
        if past:
            told = msgspec.json.encode(past).decode()
            await self._vault.store(tenant_id, user_id, PAST_PASSWORDS, told)
        else:
            await self.forget_past(tenant_id, user_id)
