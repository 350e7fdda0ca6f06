"""Client secrets, kept as keyed digests outside the log, and which tenant a client is of.

Both are asked for every token and neither ever changes: a client stays in its tenant, and what is
kept under a secret's number is never another secret. So both are remembered; whether a secret
still counts is what the log says.
"""

from collections import OrderedDict
from typing import Final, Generic, LiteralString, TypeVar
from uuid import UUID

from domain.ids import TenantId
from infrastructure.database import Pool, tenant_scope

REMEMBERED_MAX: Final = 10_000

_STORE: Final[LiteralString] = """
    INSERT INTO client_secrets (tenant_id, owner, version, secret_digest)
    VALUES (%s, %s, %s, %s)"""
_DESTROY: Final[LiteralString] = """
    DELETE FROM client_secrets WHERE tenant_id = %s AND owner = %s AND version = %s"""
_DIGEST: Final[LiteralString] = """
    SELECT secret_digest FROM client_secrets
    WHERE tenant_id = %s AND owner = %s AND version = %s"""

# Nobody is signed in yet when a client names itself, so no tenant is set: this one question is
# answered by a function that may look across tenants and tells nothing but the tenant.
_TENANT: Final[LiteralString] = "SELECT client_tenant(%s)"

K = TypeVar("K")
V = TypeVar("V")


class _Remembered(Generic[K, V]):
    """What was found last, and never what was not there."""

    def __init__(self) -> None:
        self._kept: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def keep(self, key: K, value: V) -> None:
        self._kept[key] = value
        while len(self._kept) > REMEMBERED_MAX:
            self._kept.popitem(last=False)


class PostgresClientSecrets:
    """`Secrets` over the table `client_secrets`. Raises psycopg.Error."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._digests: _Remembered[tuple[int, int], str] = _Remembered()

    async def store(
        self, tenant_id: TenantId, owner: UUID, number: int, secret_digest: str
    ) -> None:
        async with tenant_scope(self._pool, tenant_id) as connection:
            await connection.execute(_STORE, (tenant_id, owner, number, secret_digest))

    async def destroy(self, tenant_id: TenantId, owner: UUID, number: int) -> None:
        async with tenant_scope(self._pool, tenant_id) as connection:
            await connection.execute(_DESTROY, (tenant_id, owner, number))

    async def digest_of(self, tenant_id: TenantId, owner: UUID, number: int) -> str | None:
        found = self._digests.get((owner.int, number))
        if found is not None:
            return found
        async with tenant_scope(self._pool, tenant_id) as connection:
            row = await (await connection.execute(_DIGEST, (tenant_id, owner, number))).fetchone()
        if row is None:
            return None
        digest = str(row[0])
        self._digests.keep((owner.int, number), digest)
        return digest


class PostgresClientDirectory:
    """`ClientDirectory` over the log. Raises psycopg.Error."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._tenants: _Remembered[int, TenantId] = _Remembered()

    async def tenant_of(self, client_id: UUID) -> TenantId | None:
        found = self._tenants.get(client_id.int)
        if found is not None:
            return found
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_TENANT, (client_id,))).fetchone()
        if row is None or row[0] is None:
            return None
        tenant_id = TenantId(row[0])
        self._tenants.keep(client_id.int, tenant_id)
        return tenant_id
