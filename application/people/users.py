"""Managed users, as an integrator's backend manages them: sign up, change, suspend, resume, KYC.

Values go to the vault and never into the log; what must be one person's alone (mobile, e-mail,
external id) is claimed in the same commit. A person is deleted by being erased
(`application/people/erasures.py`).
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final
from uuid import UUID, uuid5

from application.execute import Done, execute, stream_of
from application.identifiers import Identifiers, Values
from application.ports import EventLog, IdSource, PersonalData
from application.principals import Caller
from domain import user as u
from domain.errors import Invalid, NotFound, PreconditionFailed
from domain.events import SealedValue, StreamAppend
from domain.ids import TenantId, UserId

_user: Final = stream_of(u.UserSignedUp, u.rebuild)


class Users:
    def __init__(
        self,
        log: EventLog,
        personal_data: PersonalData,
        identifiers: Identifiers,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._personal_data = personal_data
        self._identifiers = identifiers
        self._ids = ids

    async def sign_up(self, caller: Caller, values: Values, key: str | None) -> tuple[u.User, Done]:
        """A person whom the integrator vouches for. The same key again is the same person.

        Raises Invalid (`mobile_invalid`, `email_invalid`, `external_id_invalid`,
        `idempotency_key_reused`), Conflict (`mobile_taken`, `email_taken`, `external_id_taken`).
        """
        tenant_id = caller.tenant_id
        command_id = caller.command("user.sign_up", key, self._ids.uuid())
        user_id = UserId(uuid5(command_id, "user") if key is not None else self._ids.uuid())
        kept = self._identifiers.normalised(values)
        claims = self._identifiers.claims(tenant_id, kept)
        held = await self._personal_data.everything(tenant_id, user_id)
        if _user(await self._log.load(tenant_id, user_id)) is not None:
            if dict(held) != dict(kept):
                raise Invalid("idempotency_key_reused", "another request had this key")
        else:
            await self._identifiers.settle(tenant_id, user_id, {}, claims)
            # First the vault: a value without a user is swept away, a user without one is lost.
            await self._store(tenant_id, user_id, kept)
        signed_up = u.UserSignedUp(method="integrator", fields=_named(kept), claims=claims)
        done = await execute(
            self._log,
            caller.origin(command_id),
            tenant_id,
            user_id,
            _user,
            lambda user: u.sign_up(user, signed_up),
            lambda: self._identifiers.settle(tenant_id, user_id, {}, claims),
        )
        return await self.get(tenant_id, user_id), done

    async def get(self, tenant_id: TenantId, user_id: UUID) -> u.User:
        """Raises NotFound (`user_not_found`) for an unknown and another tenant's alike."""
        return _present(_user(await self._log.load(tenant_id, user_id)))

    async def by_external_id(self, tenant_id: TenantId, external_id: str) -> UserId | None:
        """Whom the integrator knows by this id of its own. Raises Invalid
        (`external_id_invalid`)."""
        kept = self._identifiers.normalised({"external_id": external_id})
        return await self._identifiers.owner(tenant_id, "external_id", kept["external_id"])

    async def change(
        self, caller: Caller, user_id: UUID, if_version: int | None, values: Values
    ) -> tuple[u.User, Done]:
        """Keep other values of the person.

        Event, claims and values are one commit: nobody finds the one without the others, wherever
        a process ends, and of two changes of one version one leaves nothing. Raises what `sign_up`
        raises, PreconditionFailed, and Forbidden (`user_erased`).
        """
        tenant_id, person = caller.tenant_id, UserId(user_id)
        kept = self._identifiers.normalised(values)
        taken = self._identifiers.claims(tenant_id, kept)
        held = await self._identifiers.held(await self.get(tenant_id, person))

        def decide(user: u.User) -> Sequence[u.UserEvent]:
            changed = u.UserChanged(
                changed=_named(kept),
                fields=_named(user.fields | set(kept)),
                claims={**held, **user.claims, **taken},
            )
            return u.change(user, changed)

        async def beside() -> Sequence[StreamAppend]:
            before = await self._identifiers.held(await self.get(tenant_id, person))
            return await self._identifiers.settle(tenant_id, person, before, {**before, **taken})

        async def keeping() -> Sequence[SealedValue]:
            return await self._sealed(tenant_id, person, kept)

        done = await self._execute(caller, person, if_version, decide, beside, keeping)
        return await self.get(tenant_id, person), done

    async def suspend(
        self, caller: Caller, user_id: UUID, if_version: int | None, reason: u.SuspensionReason
    ) -> tuple[u.User, Done]:
        """Refuse the person everywhere, from the next request on."""
        return await self._decided(
            caller, user_id, if_version, lambda user: u.suspend(user, reason)
        )

    async def resume(
        self, caller: Caller, user_id: UUID, if_version: int | None
    ) -> tuple[u.User, Done]:
        return await self._decided(caller, user_id, if_version, u.resume)

    async def change_kyc(
        self,
        caller: Caller,
        user_id: UUID,
        if_version: int | None,
        status: u.KycStatus,
        level: str | None,
    ) -> tuple[u.User, Done]:
        """Raises Invalid (`kyc_level_invalid`)."""
        return await self._decided(
            caller, user_id, if_version, lambda user: u.change_kyc(user, status, level)
        )

    async def _sealed(
        self, tenant_id: TenantId, user_id: UserId, values: Values
    ) -> Sequence[SealedValue]:
        return [
            await self._personal_data.seal(tenant_id, user_id, field, value)
            for field, value in values.items()
        ]

    async def _store(self, tenant_id: TenantId, user_id: UserId, values: Values) -> None:
        for field, value in values.items():
            await self._personal_data.store(tenant_id, user_id, field, value)

    async def _decided(
        self,
        caller: Caller,
        user_id: UUID,
        if_version: int | None,
        decide: Callable[[u.User], Sequence[u.UserEvent]],
    ) -> tuple[u.User, Done]:
        done = await self._execute(caller, user_id, if_version, decide)
        return await self.get(caller.tenant_id, user_id), done

    async def _execute(
        self,
        caller: Caller,
        user_id: UUID,
        if_version: int | None,
        decide: Callable[[u.User], Sequence[u.UserEvent]],
        beside: Callable[[], Awaitable[Sequence[StreamAppend]]] | None = None,
        keeping: Callable[[], Awaitable[Sequence[SealedValue]]] | None = None,
    ) -> Done:
        def decided(found: u.User | None) -> Sequence[u.UserEvent]:
            user = _present(found)
            if if_version is not None and user.version != if_version:
                raise PreconditionFailed("version_mismatch", f"current is {user.version}")
            return decide(user)

        origin = caller.origin(self._ids.uuid())
        return await execute(
            self._log,
            origin,
            caller.tenant_id,
            user_id,
            _user,
            decided,
            beside,
            keeping=keeping,
        )


def _named(fields: Iterable[u.PersonalField]) -> tuple[u.PersonalField, ...]:
    return tuple(sorted(set(fields)))


def _present(user: u.User | None) -> u.User:
    if user is None:
        raise NotFound("user_not_found")
    return user
