"""Client secrets, kept as keyed digests outside the log, at most two live ones per owner."""

from typing import Final, LiteralString
from uuid import UUID

from domain.ids import TenantId
from infrastructure.database import Pool, tenant_scope

LIVE_MAX: Final = 2
"""A rotation needs the old and the new secret to work side by side, and nothing needs three."""

_LOCK: Final[LiteralString] = """
    SELECT pg_advisory_xact_lock(hashtextextended('client_secrets/' || %s, 0))"""

_INSERT: Final[LiteralString] = """
    INSERT INTO client_secrets (tenant_id, owner, version, secret_digest)
    SELECT %(tenant_id)s, %(owner)s, coalesce(max(version), 0) + 1, %(secret_digest)s
    FROM client_secrets WHERE tenant_id = %(tenant_id)s AND owner = %(owner)s"""

_RETIRE: Final[LiteralString] = """
    DELETE FROM client_secrets
    WHERE tenant_id = %(tenant_id)s AND owner = %(owner)s AND version <= (
        SELECT max(version) FROM client_secrets
        WHERE tenant_id = %(tenant_id)s AND owner = %(owner)s) - %(live_max)s"""

# Nobody is signed in yet when a secret is checked, so no tenant is set: this one question is
# answered by a function that may look across tenants and tells nothing but the tenant.
_VERIFY: Final[LiteralString] = "SELECT client_secret_tenant(%s, %s)"


class PostgresClientSecrets:
    """`Secrets` over the table `client_secrets`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def store(self, tenant_id: TenantId, owner: UUID, secret_digest: str) -> None:
        """Add a live secret; of more than two the oldest stops working in the same commit."""
        values = {
            "tenant_id": tenant_id,
            "owner": owner,
            "secret_digest": secret_digest,
            "live_max": LIVE_MAX,
        }
        async with tenant_scope(self._pool, tenant_id) as connection:
            await connection.execute(_LOCK, (str(owner),))
            await connection.execute(_INSERT, values)
            await connection.execute(_RETIRE, values)

    async def verify(self, owner: UUID, secret_digest: str) -> TenantId | None:
        """The owner's tenant when the digest is one of its live secrets.

        The digest is keyed, so how long a comparison takes says nothing about a secret.
        """
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_VERIFY, (owner, secret_digest))).fetchone()
        return None if row is None or row[0] is None else TenantId(row[0])
