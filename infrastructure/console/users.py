"""Console people in their own tables: who they are, sealed, and what proves it."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final, LiteralString

from psycopg.errors import ObjectNotInPrerequisiteState

from application.ports.console import ConsolePerson
from domain.errors import Conflict
from domain.ids import OperatorId, TenantId
from infrastructure.database import Connection, Pool, tenant_scope
from infrastructure.keys.keyring import Keyring, KeyringUnusable

_PUT: Final[LiteralString] = """
    INSERT INTO console_users (tenant_id, id, email, name) VALUES (%s, %s, %s, %s)
    ON CONFLICT (tenant_id, id) DO UPDATE SET email = excluded.email, name = excluded.name"""
_FIND: Final[LiteralString] = """
    SELECT id, email, name FROM console_users WHERE tenant_id = %s AND id = ANY(%s)"""
_FORGET: Final[LiteralString] = "DELETE FROM console_users WHERE tenant_id = %s AND id = %s"

_HASH: Final[LiteralString] = "SELECT hashed FROM console_users WHERE tenant_id = %s AND id = %s"
_SET_HASH: Final[LiteralString] = """
    UPDATE console_users SET hashed = %(hashed)s,
        past_hashes = (array_remove(ARRAY[hashed], NULL) || past_hashes)[1:%(remember)s::int]
    WHERE tenant_id = %(tenant_id)s AND id = %(id)s"""
_RENEW_HASH: Final[LiteralString] = (
    "UPDATE console_users SET hashed = %s WHERE tenant_id = %s AND id = %s AND hashed = %s"
)
_FIRST_HASH: Final[LiteralString] = (
    "UPDATE console_users SET hashed = %s WHERE tenant_id = %s AND id = %s AND hashed IS NULL"
)
_NO_HASH: Final[LiteralString] = """
    UPDATE console_users SET hashed = NULL, past_hashes = '{}' WHERE tenant_id = %s AND id = %s"""
_LATEST: Final[LiteralString] = """
    SELECT (array_remove(ARRAY[hashed], NULL) || past_hashes)[1:%s::int]
    FROM console_users WHERE tenant_id = %s AND id = %s"""
_PROPOSE: Final[LiteralString] = (
    "UPDATE console_users SET totp_pending = %s WHERE tenant_id = %s AND id = %s"
)
_TOTP: Final[LiteralString] = """
    SELECT totp_secret, totp_pending FROM console_users WHERE tenant_id = %s AND id = %s"""
_TAKE: Final[LiteralString] = """
    UPDATE console_users SET totp_secret = totp_pending, totp_pending = NULL, totp_step = %s
    WHERE tenant_id = %s AND id = %s AND totp_pending IS NOT NULL"""
_SPEND: Final[LiteralString] = """
    UPDATE console_users SET totp_step = %s
    WHERE tenant_id = %s AND id = %s AND totp_step < %s AND totp_secret IS NOT NULL"""
_DROP: Final[LiteralString] = """
    UPDATE console_users SET totp_secret = NULL, totp_pending = NULL
    WHERE tenant_id = %s AND id = %s"""

_NO_CODES: Final[LiteralString] = (
    "DELETE FROM console_recovery_codes WHERE tenant_id = %s AND operator_id = %s"
)
_NO_PASSKEYS: Final[LiteralString] = (
    "DELETE FROM console_passkeys WHERE tenant_id = %s AND operator_id = %s"
)
_ADD_CODES: Final[LiteralString] = """
    INSERT INTO console_recovery_codes (tenant_id, operator_id, digest)
    SELECT %s, %s, unnest(%s::text[])"""
_SPEND_CODE: Final[LiteralString] = _NO_CODES + " AND digest = %s"


class PostgresConsolePeople:
    """`ConsolePeople` over `console_users`. Raises Conflict (`tenant_deleted`) for somebody of a
    tenant whose data is destroyed."""

    def __init__(self, pool: Pool, keyring: Keyring) -> None:
        self._pool = pool
        self._keyring = keyring

    async def put(
        self, tenant_id: TenantId, operator_id: OperatorId, person: ConsolePerson
    ) -> None:
        email = self._keyring.seal(person.email.encode(), _place("email", tenant_id, operator_id))
        name = self._keyring.seal(person.name.encode(), _place("name", tenant_id, operator_id))
        try:
            async with tenant_scope(self._pool, tenant_id) as connection:
                await connection.execute(_PUT, (tenant_id, operator_id, email, name))
        except ObjectNotInPrerequisiteState as error:
            raise Conflict("tenant_deleted", "this cannot be undone") from error

    async def find(
        self, tenant_id: TenantId, operators: Collection[OperatorId]
    ) -> Mapping[OperatorId, ConsolePerson]:
        async with tenant_scope(self._pool, tenant_id) as connection:
            found = await connection.execute(_FIND, (tenant_id, list(operators)))
            rows = await found.fetchall()
        opened = {
            operator_id: self._opened(tenant_id, operator_id, email, name)
            for operator_id, email, name in rows
        }
        return {each: person for each, person in opened.items() if person is not None}

    def _opened(
        self, tenant_id: TenantId, operator_id: OperatorId, email: bytes, name: bytes
    ) -> ConsolePerson | None:
        """None where it was sealed under a key that is lost, or was moved here."""
        try:
            return ConsolePerson(
                email=self._keyring.open(email, _place("email", tenant_id, operator_id)).decode(),
                name=self._keyring.open(name, _place("name", tenant_id, operator_id)).decode(),
            )
        except KeyringUnusable:
            return None

    async def forget(self, tenant_id: TenantId, operator_id: OperatorId) -> None:
        async with tenant_scope(self._pool, tenant_id) as connection:
            await connection.execute(_FORGET, (tenant_id, operator_id))


class PostgresConsoleCredentials:
    """`ConsoleCredentials` over `console_users`, and the codes and passkeys that hang on it."""

    def __init__(self, pool: Pool, keyring: Keyring) -> None:
        self._pool = pool
        self._keyring = keyring

    async def set_password(
        self, tenant_id: TenantId, operator_id: OperatorId, hashed: str, *, remember: int = 0
    ) -> None:
        values = {
            "tenant_id": tenant_id,
            "id": operator_id,
            "hashed": hashed,
            "remember": remember,
        }
        async with tenant_scope(self._pool, tenant_id) as connection:
            await connection.execute(_SET_HASH, values)

    async def set_first_password(
        self, tenant_id: TenantId, operator_id: OperatorId, hashed: str
    ) -> bool:
        async with tenant_scope(self._pool, tenant_id) as connection:
            first = await connection.execute(_FIRST_HASH, (hashed, tenant_id, operator_id))
        return first.rowcount == 1

    async def renew_password(
        self, tenant_id: TenantId, operator_id: OperatorId, before: str, after: str
    ) -> None:
        async with tenant_scope(self._pool, tenant_id) as connection:
            await connection.execute(_RENEW_HASH, (after, tenant_id, operator_id, before))

    async def latest_passwords(
        self, tenant_id: TenantId, operator_id: OperatorId, count: int
    ) -> Sequence[str]:
        async with tenant_scope(self._pool, tenant_id) as connection:
            row = await (
                await connection.execute(_LATEST, (count, tenant_id, operator_id))
            ).fetchone()
        return () if row is None else row[0]

    async def password(self, tenant_id: TenantId, operator_id: OperatorId) -> str | None:
        async with tenant_scope(self._pool, tenant_id) as connection:
            row = await (await connection.execute(_HASH, (tenant_id, operator_id))).fetchone()
        return None if row is None else row[0]

    async def propose_totp(
        self, tenant_id: TenantId, operator_id: OperatorId, secret: bytes
    ) -> None:
        sealed = self._keyring.seal(secret, _place("totp", tenant_id, operator_id))
        async with tenant_scope(self._pool, tenant_id) as connection:
            await connection.execute(_PROPOSE, (sealed, tenant_id, operator_id))

    async def proposed_totp(self, tenant_id: TenantId, operator_id: OperatorId) -> bytes | None:
        return (await self._secrets(tenant_id, operator_id))[1]

    async def totp(self, tenant_id: TenantId, operator_id: OperatorId) -> bytes | None:
        return (await self._secrets(tenant_id, operator_id))[0]

    async def take_totp(
        self, tenant_id: TenantId, operator_id: OperatorId, step: int, codes: Collection[str]
    ) -> bool:
        async with tenant_scope(self._pool, tenant_id) as connection:
            taken = await connection.execute(_TAKE, (step, tenant_id, operator_id))
            if taken.rowcount != 1:
                return False
            await _replace_codes(connection, tenant_id, operator_id, codes)
        return True

    async def spend_totp(self, tenant_id: TenantId, operator_id: OperatorId, step: int) -> bool:
        async with tenant_scope(self._pool, tenant_id) as connection:
            spent = await connection.execute(_SPEND, (step, tenant_id, operator_id, step))
        return spent.rowcount == 1

    async def set_recovery_codes(
        self, tenant_id: TenantId, operator_id: OperatorId, codes: Collection[str]
    ) -> None:
        async with tenant_scope(self._pool, tenant_id) as connection:
            await _replace_codes(connection, tenant_id, operator_id, codes)

    async def spend_recovery_code(
        self, tenant_id: TenantId, operator_id: OperatorId, digest: str
    ) -> bool:
        async with tenant_scope(self._pool, tenant_id) as connection:
            spent = await connection.execute(_SPEND_CODE, (tenant_id, operator_id, digest))
        return spent.rowcount == 1

    async def drop_password(self, tenant_id: TenantId, operator_id: OperatorId) -> None:
        async with tenant_scope(self._pool, tenant_id) as connection:
            await connection.execute(_NO_HASH, (tenant_id, operator_id))

    async def drop_totp(self, tenant_id: TenantId, operator_id: OperatorId) -> None:
        async with tenant_scope(self._pool, tenant_id) as connection:
            await connection.execute(_DROP, (tenant_id, operator_id))
            await connection.execute(_NO_CODES, (tenant_id, operator_id))

    async def drop_passkeys(self, tenant_id: TenantId, operator_id: OperatorId) -> None:
        async with tenant_scope(self._pool, tenant_id) as connection:
            await connection.execute(_NO_PASSKEYS, (tenant_id, operator_id))

    async def _secrets(
        self, tenant_id: TenantId, operator_id: OperatorId
    ) -> tuple[bytes | None, bytes | None]:
        """The one that counts and the one that is proposed."""
        async with tenant_scope(self._pool, tenant_id) as connection:
            row = await (await connection.execute(_TOTP, (tenant_id, operator_id))).fetchone()
        place = _place("totp", tenant_id, operator_id)
        counts, proposed = row if row is not None else (None, None)
        return (
            None if counts is None else self._keyring.open(counts, place),
            None if proposed is None else self._keyring.open(proposed, place),
        )


async def _replace_codes(
    connection: Connection, tenant_id: TenantId, operator_id: OperatorId, codes: Collection[str]
) -> None:
    await connection.execute(_NO_CODES, (tenant_id, operator_id))
    await connection.execute(_ADD_CODES, (tenant_id, operator_id, list(codes)))


def _place(column: str, tenant_id: TenantId, operator_id: OperatorId) -> str:
    return f"console_users.{column}/{tenant_id}/{operator_id}"
