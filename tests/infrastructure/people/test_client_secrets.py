"""A client's secrets: digests, at most two live, found without knowing the tenant."""

import asyncio
from uuid import UUID, uuid4

import pytest
from psycopg.errors import InsufficientPrivilege

from domain.ids import TenantId
from infrastructure.database import Connection, Pool, tenant_scope
from infrastructure.people.client_secrets import PostgresClientSecrets

TENANT, OTHER_TENANT = TenantId(uuid4()), TenantId(uuid4())


@pytest.fixture
def secrets(pool: Pool) -> PostgresClientSecrets:
    return PostgresClientSecrets(pool)


@pytest.fixture
def owner() -> UUID:
    return uuid4()


async def test_a_live_secret_tells_its_owners_tenant(
    secrets: PostgresClientSecrets, owner: UUID
) -> None:
    await secrets.store(TENANT, owner, "one")
    assert await secrets.verify(owner, "one") == TENANT
    assert await secrets.verify(owner, "two") is None
    assert await secrets.verify(uuid4(), "one") is None


async def test_two_secrets_live_side_by_side_and_a_third_retires_the_first(
    secrets: PostgresClientSecrets, owner: UUID
) -> None:
    other = uuid4()
    await secrets.store(TENANT, other, "one")
    for digest in ("one", "two"):
        await secrets.store(TENANT, owner, digest)
    assert [await secrets.verify(owner, digest) for digest in ("one", "two")] == [TENANT, TENANT]
    await secrets.store(TENANT, owner, "three")
    live = [await secrets.verify(owner, digest) for digest in ("one", "two", "three")]
    assert live == [None, TENANT, TENANT]
    assert await secrets.verify(other, "one") == TENANT


async def test_secrets_stored_at_once_leave_two(
    secrets: PostgresClientSecrets, owner: UUID, admin: Connection
) -> None:
    """Seen to fail without the advisory lock: two writers then claim one version."""
    await asyncio.gather(*(secrets.store(TENANT, owner, f"secret {n}") for n in range(12)))
    found = await admin.execute("SELECT version FROM client_secrets ORDER BY version")
    assert await found.fetchall() == [(11,), (12,)]


async def test_the_application_reads_no_foreign_secret_by_itself(
    secrets: PostgresClientSecrets, owner: UUID, pool: Pool
) -> None:
    await secrets.store(TENANT, owner, "one")
    for tenant_id, expected in ((TENANT, [("one",)]), (OTHER_TENANT, [])):
        async with tenant_scope(pool, tenant_id) as connection:
            found = await connection.execute("SELECT secret_digest FROM client_secrets")
            assert await found.fetchall() == expected


async def test_a_stored_secret_cannot_be_changed(
    secrets: PostgresClientSecrets, owner: UUID, pool: Pool
) -> None:
    await secrets.store(TENANT, owner, "one")
    with pytest.raises(InsufficientPrivilege):
        async with tenant_scope(pool, TENANT) as connection:
            await connection.execute("UPDATE client_secrets SET secret_digest = 'mine'")
