"""Names, mobiles, e-mails, consents' words, KYC fields: each person's under that person's own key.

A person's key is 32 random bytes, wrapped by the tenant's key, which the key-encryption key wraps.
Keys are read afresh for every call and cached nowhere, so that a destroyed key is gone from the
moment its row is.
"""

from typing import Final, LiteralString

from psycopg.errors import ForeignKeyViolation, ObjectNotInPrerequisiteState

from domain.errors import Conflict
from domain.events import SealedValue
from domain.ids import TenantId, UserId
from domain.personal_fields import SECRETS, check
from infrastructure.database import Connection, Pool, tenant_scope
from infrastructure.keys.keyring import Keyring, open_under, seal_under
from infrastructure.keys.tenant_keys import TenantKeys
from infrastructure.people.person_keys import PersonKeys

_PUT: Final[LiteralString] = """
    INSERT INTO personal_data (tenant_id, user_id, field, key_version, ciphertext)
    VALUES (%s, %s, %s, %s, %s)
    ON CONFLICT (tenant_id, user_id, field) DO UPDATE
    SET key_version = excluded.key_version, ciphertext = excluded.ciphertext,
        stored_at = excluded.stored_at"""

_GET: Final[LiteralString] = """
    SELECT k.key_version, k.tenant_key_version, k.wrapped_key, d.ciphertext
    FROM personal_data AS d JOIN personal_keys AS k USING (tenant_id, user_id, key_version)
    WHERE d.tenant_id = %s AND d.user_id = %s AND d.field = %s"""

_ALL: Final[LiteralString] = """
    SELECT d.field, k.key_version, k.tenant_key_version, k.wrapped_key, d.ciphertext
    FROM personal_data AS d JOIN personal_keys AS k USING (tenant_id, user_id, key_version)
    WHERE d.tenant_id = %s AND d.user_id = %s ORDER BY d.field"""

_REMOVE: Final[LiteralString] = """
    DELETE FROM personal_data WHERE tenant_id = %s AND user_id = %s AND field = %s"""

_LOCK: Final[LiteralString] = "SELECT lock_person(%s)"

_NEVER_AGAIN: Final[LiteralString] = """
    INSERT INTO erased_people (tenant_id, user_id) VALUES (%s, %s) ON CONFLICT DO NOTHING"""

_DESTROY: Final[LiteralString] = """
    DELETE FROM personal_keys WHERE tenant_id = %s AND user_id = %s"""


class PostgresPersonalData:
    """`PersonalData` over two tables: `personal_keys`, and `personal_data` which hangs off it.

    Everything raises KeyringUnusable when a key or a value does not open: another key-encryption
    key, or a ciphertext that was moved to another row or field. `keyring` opens people's keys
    from before tenants had keys.
    """

    def __init__(self, pool: Pool, keys: TenantKeys, keyring: Keyring) -> None:
        self._pool = pool
        self._keys = PersonKeys(keys, keyring)

    async def store(self, tenant_id: TenantId, user_id: UserId, field: str, value: str) -> None:
        """Keep a value, replacing the field's earlier one; the person's first makes the key.

        Raises ValueError for a field that is not in `domain/personal_fields.py`, and Conflict
        (`personal_key_destroyed`) when the person has been erased, or is at the same moment: then
        nothing is kept.
        """
        try:
            async with tenant_scope(self._pool, tenant_id) as connection:
                sealed = await self._sealed(connection, tenant_id, user_id, field, value)
                row = (tenant_id, user_id, field, sealed.key_version, sealed.ciphertext)
                await connection.execute(_PUT, row)
        except (ForeignKeyViolation, ObjectNotInPrerequisiteState) as error:
            raise Conflict("personal_key_destroyed") from error

    async def seal(
        self, tenant_id: TenantId, user_id: UserId, field: str, value: str
    ) -> SealedValue:
        """The value under the person's key, which is made where there is none; nothing else is
        kept. Raises what `store` raises."""
        try:
            async with tenant_scope(self._pool, tenant_id) as connection:
                return await self._sealed(connection, tenant_id, user_id, field, value)
        except ObjectNotInPrerequisiteState as error:
            raise Conflict("personal_key_destroyed") from error

    async def read(self, tenant_id: TenantId, user_id: UserId, field: str) -> str | None:
        """The value, or None when there is none or it has been erased."""
        async with tenant_scope(self._pool, tenant_id) as connection:
            found = await connection.execute(_GET, (tenant_id, user_id, field))
            row = await found.fetchone()
            if row is None:
                return None
            version, under, wrapped, ciphertext = row
            key = await self._keys.open(connection, tenant_id, user_id, version, under, wrapped)
        belongs_to = _value_belongs_to(tenant_id, user_id, field, version)
        return open_under(key, ciphertext, belongs_to).decode()

    async def everything(self, tenant_id: TenantId, user_id: UserId) -> dict[str, str]:
        """Every value by its field, but for secrets; empty when there is none or the person has
        been erased."""
        values: dict[str, str] = {}
        async with tenant_scope(self._pool, tenant_id) as connection:
            found = await connection.execute(_ALL, (tenant_id, user_id))
            for field, version, under, wrapped, ciphertext in await found.fetchall():
                if field in SECRETS:
                    continue
                key = await self._keys.open(connection, tenant_id, user_id, version, under, wrapped)
                belongs_to = _value_belongs_to(tenant_id, user_id, field, version)
                values[field] = open_under(key, ciphertext, belongs_to).decode()
        return values

    async def replace(
        self, tenant_id: TenantId, user_id: UserId, field: str, before: str, after: str
    ) -> None:
        """Keep `after` where the value still is `before`: whoever stores another one meanwhile
        comes before this, and then it is not, or waits for it."""
        async with tenant_scope(self._pool, tenant_id) as connection:
            found = await connection.execute(_GET + " FOR UPDATE OF d", (tenant_id, user_id, field))
            row = await found.fetchone()
            if row is None:
                return
            version, under, wrapped, ciphertext = row
            key = await self._keys.open(connection, tenant_id, user_id, version, under, wrapped)
            belongs_to = _value_belongs_to(tenant_id, user_id, field, version)
            if open_under(key, ciphertext, belongs_to).decode() == before:
                sealed = seal_under(key, after.encode(), belongs_to)
                await connection.execute(_PUT, (tenant_id, user_id, field, version, sealed))

    async def remove(self, tenant_id: TenantId, user_id: UserId, field: str) -> None:
        async with tenant_scope(self._pool, tenant_id) as connection:
            await connection.execute(_REMOVE, (tenant_id, user_id, check(field)))

    async def erase(self, tenant_id: TenantId, user_id: UserId) -> None:
        """Destroy the person's key and all under it, for good: nothing is stored again."""
        async with tenant_scope(self._pool, tenant_id) as connection:
            await connection.execute(_LOCK, (user_id,))
            await connection.execute(_NEVER_AGAIN, (tenant_id, user_id))
            await connection.execute(_DESTROY, (tenant_id, user_id))

    async def _sealed(
        self, connection: Connection, tenant_id: TenantId, user_id: UserId, field: str, value: str
    ) -> SealedValue:
        check(field)
        version, key = await self._keys.obtain(connection, tenant_id, user_id)
        belongs_to = _value_belongs_to(tenant_id, user_id, field, version)
        return SealedValue(
            user_id=user_id,
            field=field,
            key_version=version,
            ciphertext=seal_under(key, value.encode(), belongs_to),
        )

    async def destroy(self, tenant_id: TenantId, user_id: UserId) -> bool:
        """Delete the person's key and, by cascade, every ciphertext; whether there was one.

        For a sign-up that came to nothing; the person may still come to be.
        """
        async with tenant_scope(self._pool, tenant_id) as connection:
            deleted = await connection.execute(_DESTROY, (tenant_id, user_id))
            return deleted.rowcount == 1


def _value_belongs_to(tenant_id: TenantId, user_id: UserId, field: str, version: int) -> str:
    return f"personal_data.ciphertext/{field}/{tenant_id}/{user_id}/{version}"
