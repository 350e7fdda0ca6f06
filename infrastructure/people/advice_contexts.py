"""What a product must yet be told of an allow in its place, sealed under the person's key."""

from typing import Final, LiteralString

import psycopg
from psycopg.errors import ForeignKeyViolation, ObjectNotInPrerequisiteState
from psycopg_pool import PoolTimeout

from application.ports import CommitFailed
from domain.errors import Conflict
from domain.ids import TenantId, TransactionId, UserId
from infrastructure.database import Pool, tenant_scope
from infrastructure.keys.keyring import Keyring, open_under, seal_under
from infrastructure.keys.tenant_keys import TenantKeys
from infrastructure.people.person_keys import PersonKeys

_KEEP: Final[LiteralString] = """
    INSERT INTO advice_contexts (tenant_id, user_id, transaction_id, key_version, ciphertext)
    VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"""

_READ: Final[LiteralString] = """
    SELECT k.key_version, k.tenant_key_version, k.wrapped_key, c.ciphertext
    FROM advice_contexts AS c JOIN personal_keys AS k USING (tenant_id, user_id, key_version)
    WHERE c.tenant_id = %s AND c.user_id = %s AND c.transaction_id = %s"""

_FORGET: Final[LiteralString] = """
    DELETE FROM advice_contexts
    WHERE tenant_id = %s AND user_id = %s AND transaction_id = %s"""


class PostgresAdviceContexts:
    """`AdviceContexts`. A context goes with the person's key, whenever that is destroyed.

    Raises KeyringUnusable when a key or a context does not open.
    """

    def __init__(self, pool: Pool, keys: TenantKeys, keyring: Keyring) -> None:
        self._pool = pool
        self._people = PersonKeys(keys, keyring)

    async def keep(
        self, tenant_id: TenantId, user_id: UserId, transaction_id: TransactionId, context: bytes
    ) -> bool:
        try:
            async with tenant_scope(self._pool, tenant_id) as connection:
                version, key = await self._people.obtain(connection, tenant_id, user_id)
                place = _belongs_to(tenant_id, user_id, transaction_id, version)
                sealed = seal_under(key, context, place)
                row = (tenant_id, user_id, transaction_id, version, sealed)
                await connection.execute(_KEEP, row)
        except (ForeignKeyViolation, ObjectNotInPrerequisiteState, Conflict):
            return False
        except (psycopg.OperationalError, PoolTimeout) as error:
            raise CommitFailed("the context could not be kept") from error
        return True

    async def read(
        self, tenant_id: TenantId, user_id: UserId, transaction_id: TransactionId
    ) -> bytes | None:
        async with tenant_scope(self._pool, tenant_id) as connection:
            found = await connection.execute(_READ, (tenant_id, user_id, transaction_id))
            row = await found.fetchone()
            if row is None:
                return None
            version, under, wrapped, sealed = row
            key = await self._people.open(connection, tenant_id, user_id, version, under, wrapped)
        return open_under(key, sealed, _belongs_to(tenant_id, user_id, transaction_id, version))

    async def forget(
        self, tenant_id: TenantId, user_id: UserId, transaction_id: TransactionId
    ) -> None:
        async with tenant_scope(self._pool, tenant_id) as connection:
            await connection.execute(_FORGET, (tenant_id, user_id, transaction_id))


def _belongs_to(
    tenant_id: TenantId, user_id: UserId, transaction_id: TransactionId, version: int
) -> str:
    return f"advice_contexts.ciphertext/{tenant_id}/{user_id}/{transaction_id}/{version}"
