"""Who was shown a person's data: complete, whatever the tenant's audit is set to."""

from uuid import UUID

from domain.ids import UserId
from domain.tenant import TenantSettings
from projections import accesses, audit
from tests.builders import USER, personal_data_accessed, tenant_created
from tests.projections.stage import OTHER_TENANT, Stage
from tests.spec import TENANT

OTHER_USER = UserId(UUID("0198c000-0000-7000-8000-0000000000a2"))


def stream(number: int) -> UUID:
    return UUID(int=number)


async def test_a_person_sees_who_looked_newest_first_and_nobody_elses(stage: Stage) -> None:
    await stage.record(stream(1), personal_data_accessed(), actor="client:cli_1")
    await stage.record(stream(2), personal_data_accessed(user_id=OTHER_USER))
    await stage.record(stream(3), personal_data_accessed(), tenant_id=OTHER_TENANT)
    await stage.record(stream(4), personal_data_accessed(purpose="regulatory_request"))
    await stage.show(accesses.READ_MODEL)
    async with stage.as_tenant() as connection:
        found = await accesses.by_user(connection, TENANT, USER)
        first = await accesses.by_user(connection, TENANT, USER, limit=1)
        second = await accesses.by_user(connection, TENANT, USER, limit=1, after=first.next)
    assert [(row.position, row.purpose) for row in found.rows] == [
        (4, "regulatory_request"),
        (1, "support"),
    ]
    assert (found.rows[1].actor, found.rows[1].fields) == ("client:cli_1", ("email", "mobile"))
    assert [*first.rows, *second.rows] == found.rows
    assert second.next is None


async def test_the_tenants_audit_setting_hides_the_line_and_never_the_access(
    stage: Stage,
) -> None:
    off = TenantSettings(audit_enabled=False)
    await stage.record(TENANT, tenant_created(settings=off))
    await stage.record(stream(1), personal_data_accessed())
    await stage.show(accesses.READ_MODEL, audit.READ_MODEL)
    async with stage.as_tenant() as connection:
        assert (await audit.by_tenant(connection, TENANT)).rows == []
        assert len((await accesses.by_user(connection, TENANT, USER)).rows) == 1


async def test_the_audit_finds_an_access_by_the_person(stage: Stage) -> None:
    await stage.record(stream(1), personal_data_accessed())
    await stage.show(audit.READ_MODEL)
    async with stage.as_tenant() as connection:
        (line,) = (await audit.by_tenant(connection, TENANT, subject_id=USER)).rows
    assert (line.action, line.subject_kind) == ("personal_data_accessed", "personal_data")
