"""Passkeys of console people in their own table, and the challenges that are out."""

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Final, LiteralString

import msgspec
from psycopg.errors import UniqueViolation

from application.ports.passkeys import Asserted, Ceremony, KeptPasskey, NewCredential, RelyingParty
from domain.errors import Conflict
from domain.ids import OperatorId, PasskeyCeremonyId, PasskeyId, TenantId
from infrastructure.database import Pool, tenant_scope
from infrastructure.keys.keyring import Keyring

_PURPOSE: Final = "console_passkey"

_ADD: Final[LiteralString] = """
    INSERT INTO console_passkeys (tenant_id, operator_id, id, digest, rp_id, name, credential,
        sign_count, eligible, backed_up, transports, created_at)
    VALUES (%(tenant_id)s, %(operator_id)s, %(id)s, %(digest)s, %(rp_id)s, %(name)s,
        %(credential)s, %(sign_count)s, %(eligible)s, %(backed_up)s, %(transports)s,
        %(created_at)s)"""
_COLUMNS: Final[LiteralString] = """
    SELECT id, rp_id, name, credential, sign_count, eligible, backed_up, transports, created_at,
        used_at
    FROM console_passkeys WHERE tenant_id = %s AND operator_id = %s"""
_OF_OPERATOR: Final[LiteralString] = _COLUMNS + " ORDER BY created_at, id"
_BY_DIGEST: Final[LiteralString] = _COLUMNS + " AND digest = %s"
_RENAME: Final[LiteralString] = """
    UPDATE console_passkeys SET name = %s WHERE tenant_id = %s AND operator_id = %s AND id = %s"""
_SPEND: Final[LiteralString] = """
    UPDATE console_passkeys SET sign_count = %(count)s, backed_up = %(backed_up)s, used_at = %(at)s
    WHERE tenant_id = %(tenant_id)s AND operator_id = %(operator_id)s AND id = %(id)s
      AND (sign_count < %(count)s OR (sign_count = 0 AND %(count)s = 0))"""
_REMOVE: Final[LiteralString] = (
    "DELETE FROM console_passkeys WHERE tenant_id = %s AND operator_id = %s AND id = %s"
)

_REPLACED: Final[LiteralString] = """
    DELETE FROM passkey_ceremonies
    WHERE tenant_id = %s AND operator_id = %s AND session_id = %s"""
_BEGIN: Final[LiteralString] = """
    INSERT INTO passkey_ceremonies
        (tenant_id, id, kind, operator_id, session_id, challenge, rp_id, origin, expires_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"""
_TAKE: Final[LiteralString] = """
    DELETE FROM passkey_ceremonies WHERE tenant_id = %s AND id = %s
    RETURNING kind, operator_id, session_id, challenge, rp_id, origin, expires_at"""


class PostgresConsolePasskeys:
    """`ConsolePasskeys` over `console_passkeys`. Raises KeyringUnusable for a value that was
    moved."""

    def __init__(self, pool: Pool, keyring: Keyring) -> None:
        self._pool = pool
        self._keyring = keyring

    async def add(self, tenant_id: TenantId, operator_id: OperatorId, passkey: KeptPasskey) -> None:
        credential = passkey.credential
        values = {
            "tenant_id": tenant_id,
            "operator_id": operator_id,
            "id": passkey.id,
            "digest": self._digest(credential.credential_id),
            "rp_id": passkey.rp_id,
            "name": self._seal("name", passkey.name.encode(), tenant_id, passkey.id),
            "credential": self._seal("credential", _packed(credential), tenant_id, passkey.id),
            "sign_count": credential.sign_count,
            "eligible": credential.backup_eligible,
            "backed_up": credential.backed_up,
            "transports": list(credential.transports),
            "created_at": passkey.created_at,
        }
        try:
            async with tenant_scope(self._pool, tenant_id) as connection:
                await connection.execute(_ADD, values)
        except UniqueViolation as error:
            raise Conflict("passkey_known", "make another one") from error

    async def of_operator(
        self, tenant_id: TenantId, operator_id: OperatorId
    ) -> Mapping[PasskeyId, KeptPasskey]:
        async with tenant_scope(self._pool, tenant_id) as connection:
            found = await connection.execute(_OF_OPERATOR, (tenant_id, operator_id))
            passkeys = [self._opened(tenant_id, row) for row in await found.fetchall()]
        return {passkey.id: passkey for passkey in passkeys}

    async def find(
        self, tenant_id: TenantId, operator_id: OperatorId, credential_id: bytes
    ) -> KeptPasskey | None:
        digest = self._digest(credential_id)
        async with tenant_scope(self._pool, tenant_id) as connection:
            found = await connection.execute(_BY_DIGEST, (tenant_id, operator_id, digest))
            row = await found.fetchone()
        return None if row is None else self._opened(tenant_id, row)

    async def rename(
        self, tenant_id: TenantId, operator_id: OperatorId, passkey_id: PasskeyId, name: str
    ) -> None:
        sealed = self._seal("name", name.encode(), tenant_id, passkey_id)
        async with tenant_scope(self._pool, tenant_id) as connection:
            await connection.execute(_RENAME, (sealed, tenant_id, operator_id, passkey_id))

    async def spend_count(
        self,
        tenant_id: TenantId,
        operator_id: OperatorId,
        passkey_id: PasskeyId,
        asserted: Asserted,
        at: datetime,
    ) -> bool:
        values = {
            "tenant_id": tenant_id,
            "operator_id": operator_id,
            "id": passkey_id,
            "count": asserted.sign_count,
            "backed_up": asserted.backed_up,
            "at": at,
        }
        async with tenant_scope(self._pool, tenant_id) as connection:
            spent = await connection.execute(_SPEND, values)
        return spent.rowcount == 1

    async def remove(
        self, tenant_id: TenantId, operator_id: OperatorId, passkey_id: PasskeyId
    ) -> None:
        async with tenant_scope(self._pool, tenant_id) as connection:
            await connection.execute(_REMOVE, (tenant_id, operator_id, passkey_id))

    def _digest(self, credential_id: bytes) -> str:
        return self._keyring.digest(_PURPOSE, base64.urlsafe_b64encode(credential_id).decode())

    def _seal(self, column: str, value: bytes, tenant_id: TenantId, passkey_id: PasskeyId) -> bytes:
        return self._keyring.seal(value, _place(column, tenant_id, passkey_id))

    def _opened(self, tenant_id: TenantId, row: tuple[object, ...]) -> KeptPasskey:
        kept = msgspec.convert(dict(zip(_Row.__struct_fields__, row, strict=True)), _Row)
        name = self._keyring.open(kept.name, _place("name", tenant_id, kept.id))
        packed = self._keyring.open(kept.credential, _place("credential", tenant_id, kept.id))
        length = int.from_bytes(packed[:2], "big")
        return KeptPasskey(
            id=kept.id,
            name=name.decode(),
            rp_id=kept.rp_id,
            credential=NewCredential(
                credential_id=packed[2 : 2 + length],
                data=packed[2 + length :],
                sign_count=kept.sign_count,
                backup_eligible=kept.eligible,
                backed_up=kept.backed_up,
                transports=kept.transports,
            ),
            created_at=kept.created_at,
            used_at=kept.used_at,
        )


class _Row(msgspec.Struct, frozen=True, kw_only=True):
    id: PasskeyId
    rp_id: str
    name: bytes
    credential: bytes
    sign_count: int
    eligible: bool
    backed_up: bool
    transports: list[str]
    created_at: datetime
    used_at: datetime | None


class PostgresPasskeyCeremonies:
    """`PasskeyCeremonies` over `passkey_ceremonies`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def begin(self, tenant_id: TenantId, ceremony: Ceremony) -> None:
        async with tenant_scope(self._pool, tenant_id) as connection:
            if ceremony.session_id is not None:
                replaced = (tenant_id, ceremony.operator_id, ceremony.session_id)
                await connection.execute(_REPLACED, replaced)
            await connection.execute(
                _BEGIN,
                (
                    tenant_id,
                    ceremony.id,
                    ceremony.kind,
                    ceremony.operator_id,
                    ceremony.session_id,
                    ceremony.challenge,
                    ceremony.party.id,
                    ceremony.party.origin,
                    ceremony.expires_at,
                ),
            )

    async def take(
        self, tenant_id: TenantId, ceremony_id: PasskeyCeremonyId, now: datetime
    ) -> Ceremony | None:
        async with tenant_scope(self._pool, tenant_id) as connection:
            row = await (await connection.execute(_TAKE, (tenant_id, ceremony_id))).fetchone()
        if row is None:
            return None
        kind, operator_id, session_id, challenge, rp_id, origin, expires_at = row
        if now >= expires_at:
            return None
        return Ceremony(
            id=ceremony_id,
            kind=kind,
            operator_id=operator_id,
            session_id=session_id,
            challenge=challenge,
            party=RelyingParty(id=rp_id, origin=origin),
            expires_at=expires_at,
        )


def _packed(credential: NewCredential) -> bytes:
    """The id, with its length in two bytes, and the data."""
    length = len(credential.credential_id).to_bytes(2, "big")
    return length + credential.credential_id + credential.data


def _place(column: str, tenant_id: TenantId, passkey_id: PasskeyId) -> str:
    return f"console_passkeys.{column}/{tenant_id}/{passkey_id}"
