"""A client's secrets: digests under numbers, and which tenant a client is of."""

from uuid import UUID, uuid4

import pytest
from psycopg.errors import InsufficientPrivilege, UniqueViolation

from domain.ids import TenantId
from infrastructure.database import Pool, tenant_scope
from infrastructure.people.client_secrets import PostgresClientDirectory, PostgresClientSecrets

TENANT, OTHER_TENANT = TenantId(uuid4()), TenantId(uuid4())


@pytest.fixture
def secrets(pool: Pool) -> PostgresClientSecrets:
    return PostgresClientSecrets(pool)


@pytest.fixture
def owner() -> UUID:
    return uuid4()


async def test_a_secret_is_found_under_its_owner_and_number(
    secrets: PostgresClientSecrets, owner: UUID
) -> None:
    assert await secrets.digest_of(TENANT, owner, 1) is None
    await secrets.store(TENANT, owner, 1, "one")
    await secrets.store(TENANT, owner, 2, "two")
    for _ in range(2):
        found = [await secrets.digest_of(TENANT, owner, number) for number in (1, 2, 3)]
        assert found == ["one", "two", None]
    assert await secrets.digest_of(TENANT, uuid4(), 1) is None


async def test_what_is_kept_under_a_number_is_never_another_secret(
    secrets: PostgresClientSecrets, owner: UUID
) -> None:
    await secrets.store(TENANT, owner, 1, "one")
    with pytest.raises(UniqueViolation):
        await secrets.store(TENANT, owner, 1, "mine")


async def test_a_destroyed_secret_is_gone_for_whoever_has_not_seen_it(
    secrets: PostgresClientSecrets, owner: UUID, pool: Pool
) -> None:
    await secrets.store(TENANT, owner, 1, "one")
    await secrets.destroy(TENANT, owner, 1)
    await secrets.destroy(TENANT, owner, 1)
    assert await PostgresClientSecrets(pool).digest_of(TENANT, owner, 1) is None


async def test_the_application_reads_no_foreign_secret_by_itself(
    secrets: PostgresClientSecrets, owner: UUID, pool: Pool
) -> None:
    await secrets.store(TENANT, owner, 1, "one")
    for tenant_id, expected in ((TENANT, [("one",)]), (OTHER_TENANT, [])):
        async with tenant_scope(pool, tenant_id) as connection:
            found = await connection.execute("SELECT secret_digest FROM client_secrets")
            assert await found.fetchall() == expected


async def test_a_stored_secret_cannot_be_changed(
    secrets: PostgresClientSecrets, owner: UUID, pool: Pool
) -> None:
    await secrets.store(TENANT, owner, 1, "one")
    with pytest.raises(InsufficientPrivilege):
        async with tenant_scope(pool, TENANT) as connection:
            await connection.execute("UPDATE client_secrets SET secret_digest = 'mine'")


async def test_an_id_that_is_no_clients_has_no_tenant(pool: Pool) -> None:
    """That a client's has one is seen with every token that is issued."""
    assert await PostgresClientDirectory(pool).tenant_of(uuid4()) is None
