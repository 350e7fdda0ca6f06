"""The second wall: a tenant's connection sees its own rows of a read model and changes none."""

import msgspec
import psycopg
import pytest
from psycopg import sql

from infrastructure.database import Connection
from projections import (
    audit,
    devices,
    enrollments,
    linked_services,
    revoked_certificates,
    users,
)
from projections.catalogue import READ_MODELS
from projections.transaction_row import TransactionRow
from tests.projections.stage import OTHER_TENANT, Stage
from tests.projections.story import tell
from tests.spec import TENANT

TABLES = [table for model in READ_MODELS for table in model.tables]
ROWS: dict[str, type[msgspec.Struct]] = {
    "audit": audit.AuditRow,
    "devices": devices.DeviceRow,
    "enrollments": enrollments.EnrollmentRow,
    "linked_services": linked_services.LinkedServiceRow,
    "revoked_certificates": revoked_certificates.RevokedCertificateRow,
    "transactions": TransactionRow,
    "users": users.UserRow,
}


async def tenants_seen(connection: Connection, table: str) -> set[object]:
    query = sql.SQL("SELECT DISTINCT tenant_id FROM read_models.{}").format(sql.Identifier(table))
    cursor = await connection.execute(query)
    return {tenant_id for (tenant_id,) in await cursor.fetchall()}


async def test_a_tenant_sees_its_own_rows_and_nobody_without_a_tenant_sees_any(
    stage: Stage,
) -> None:
    await tell(stage)
    await stage.show()
    for table in TABLES:
        for tenant_id in (TENANT, OTHER_TENANT):
            async with stage.as_tenant(tenant_id) as connection:
                assert await tenants_seen(connection, table) == {tenant_id}, table
        async with stage.app.connection() as connection:
            assert await tenants_seen(connection, table) == set(), table
        async with stage.projector.connection() as connection:
            assert await tenants_seen(connection, table) >= {TENANT, OTHER_TENANT}, table

    # A query that names another tenant than the connection's is not answered either.
    async with stage.as_tenant(OTHER_TENANT) as connection:
        assert (await devices.by_tenant(connection, TENANT)).rows == []


async def test_the_application_can_change_nothing_and_the_wall_outlives_a_rebuild(
    stage: Stage,
) -> None:
    await tell(stage)
    await stage.show()
    async with stage.runner() as runner:
        for model in READ_MODELS:
            await runner.rebuild(model.name)
    for table in TABLES:
        name = sql.Identifier(table)
        for statement in (
            sql.SQL("DELETE FROM read_models.{}").format(name),
            sql.SQL("UPDATE read_models.{} SET tenant_id = tenant_id").format(name),
            sql.SQL("INSERT INTO read_models.{} DEFAULT VALUES").format(name),
            sql.SQL("DROP TABLE read_models.{}").format(name),
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                async with stage.as_tenant() as connection:
                    await connection.execute(statement)
        async with stage.as_tenant() as connection:
            assert await tenants_seen(connection, table) == {TENANT}, table
    for forbidden in (
        sql.SQL("UPDATE projection_positions SET position = 0"),
        sql.SQL("CREATE TABLE read_models.mine (tenant_id uuid)"),
        sql.SQL("CREATE TABLE read_models_next.mine (tenant_id uuid)"),
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with stage.as_tenant() as connection:
                await connection.execute(forbidden)


async def test_row_level_security_is_forced_on_every_table_of_the_schema(stage: Stage) -> None:
    await stage.show()
    async with stage.projector.connection() as connection:
        cursor = await connection.execute(
            "SELECT relname, relrowsecurity AND relforcerowsecurity FROM pg_class "
            "WHERE relnamespace = 'read_models'::regnamespace AND relkind = 'r'"
        )
        assert dict(await cursor.fetchall()) == dict.fromkeys(TABLES, True)


async def test_row_structs_and_tables_have_the_same_columns(stage: Stage) -> None:
    await stage.show()
    async with stage.projector.connection() as connection:
        for table, row in ROWS.items():
            cursor = await connection.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass "
                "AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
                (f"read_models.{table}",),
            )
            columns = [name for (name,) in await cursor.fetchall()]
            assert sorted(columns) == sorted(row.__struct_fields__), table
