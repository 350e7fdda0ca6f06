"""Who may touch the tables about people: the application, one tenant at a time, and nobody else."""

import pytest
from psycopg.errors import InsufficientPrivilege

from infrastructure import database as connections
from infrastructure.database import Connection, Pool

TENANT_TABLES = {
    "client_secrets",
    "enrollment_grants",
    "erased_people",
    "otp_challenges",
    "personal_data",
    "personal_keys",
    "product_texts",
    "tenant_keys",
    "user_sessions",
    "webhook_keys",
}
TABLES = TENANT_TABLES | {"key_encryption_keys", "key_material"}


async def test_the_owner_is_not_the_application_and_row_level_security_binds_both(
    admin: Connection,
) -> None:
    rows = await admin.execute(
        "SELECT relname, relowner::regrole::text, relrowsecurity AND relforcerowsecurity"
        " FROM pg_class WHERE relname = ANY (%s)",
        (sorted(TABLES),),
    )
    walls = {name: (owner, forced) for name, owner, forced in await rows.fetchall()}
    assert walls == {name: ("link_owner", name in TENANT_TABLES) for name in TABLES}


async def test_the_application_has_the_least_that_it_needs(admin: Connection) -> None:
    rows = await admin.execute(
        "SELECT table_name, string_agg(privilege_type, ' ' ORDER BY privilege_type)"
        " FROM information_schema.role_table_grants"
        " WHERE grantee = 'link_app' AND table_name = ANY (%s) GROUP BY table_name",
        (sorted(TABLES),),
    )
    assert dict(await rows.fetchall()) == {
        "client_secrets": "DELETE INSERT SELECT",
        "enrollment_grants": "DELETE INSERT SELECT UPDATE",
        "erased_people": "INSERT SELECT",
        "key_encryption_keys": "INSERT SELECT",
        "key_material": "INSERT SELECT",
        "otp_challenges": "DELETE INSERT SELECT",
        "personal_data": "DELETE INSERT SELECT UPDATE",
        "personal_keys": "DELETE INSERT SELECT",
        "product_texts": "SELECT",
        "tenant_keys": "INSERT SELECT",
        "user_sessions": "DELETE INSERT SELECT",
        "webhook_keys": "DELETE INSERT SELECT",
    }


@pytest.mark.parametrize("table", sorted(TABLES))
async def test_the_projector_reads_none_of_it(database: str, table: str) -> None:
    async with (
        connections.pool(database, connections.PROJECTOR_ROLE) as pool,
        pool.connection() as connection,
    ):
        with pytest.raises(InsufficientPrivilege):
            await connection.execute(f"TABLE {table}".encode())


async def test_without_a_tenant_there_is_nothing_to_see(pool: Pool, admin: Connection) -> None:
    await admin.execute(
        "INSERT INTO personal_keys VALUES (gen_random_uuid(), gen_random_uuid(), 1, '\\x00')"
    )
    async with pool.connection() as connection:
        found = await connection.execute("SELECT count(*) FROM personal_keys")
        assert await found.fetchone() == (0,)
