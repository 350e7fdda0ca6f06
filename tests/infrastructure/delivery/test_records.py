"""What a tenant sees of its deliveries and may have repeated; and that it is only its own."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from application.ports import (
    Attempted,
    Dead,
    Delivered,
    Delivery,
    DeliveryPolicy,
    Replayed,
    RetryLater,
)
from domain.ids import TenantId
from infrastructure.delivery.records import PostgresDeliveryRecords
from tests.builders import device_registered
from tests.infrastructure.delivery.told import (
    SHOP,
    Script,
    Tell,
    change,
    delivering,
    states,
    until_over,
)
from tests.infrastructure.projections.watching import device_id, register
from tests.projections.stage import OTHER_TENANT, PATIENCE_S, Stage
from tests.spec import TENANT

TABLES = ("deliveries", "delivery_attempts", "delivery_destinations")


async def refuse_second(delivery: Delivery) -> Attempted:
    return Dead("gone", 410) if delivery.event.position == 2 else Delivered(200)


async def test_a_tenant_sees_every_try(stage: Stage) -> None:
    records = PostgresDeliveryRecords(stage.app)
    tell = Tell(Script(RetryLater("busy", 503), Delivered(200)))
    async with delivering(stage, tell):
        await register(stage, 0, 1)
        await until_over(stage, 1)
    (found,) = await records.about(TENANT, device_id(0))
    assert (found.kind, found.destination, found.state) == ("tell", SHOP, "delivered")
    assert (found.id, found.event) == (tell.arrived[0].id, tell.arrived[0].event)
    assert [(each.attempt, each.outcome, each.reason, each.status) for each in found.tries] == [
        (1, "retry", "busy", 503),
        (2, "delivered", None, 200),
    ]
    assert await records.about(TENANT, device_id(1)) == []


async def test_a_destinations_deliveries_are_listed_newest_first(stage: Stage) -> None:
    records = PostgresDeliveryRecords(stage.app)
    async with delivering(stage, Tell(refuse_second)):
        await register(stage, 0, 4)
        await until_over(stage, 4)
    first = await records.at(TENANT, "tell", SHOP, limit=3)
    assert [each.event.position for each in first] == [4, 3, 2]
    rest = await records.at(TENANT, "tell", SHOP, before=2)
    assert [each.event.position for each in rest] == [1]
    dead = await records.at(TENANT, "tell", SHOP, state="dead")
    assert [(each.event.position, each.reason) for each in dead] == [(2, "gone")]
    assert await records.at(TENANT, "other", SHOP) == []
    assert await records.at(TENANT, "tell", uuid4()) == []


async def test_what_is_over_is_tried_again_when_asked(stage: Stage) -> None:
    records = PostgresDeliveryRecords(stage.app)
    tell = Tell(refuse_second)
    async with delivering(stage, tell):
        await register(stage, 0, 4)
        await until_over(stage, 4)
        assert await records.replay(TENANT, "tell", SHOP, Replayed(failed_only=True)) == 1
        await until_over(stage, 4)
        assert [told.event.position for told in tell.arrived[4:]] == [2]
        assert tell.arrived[-1].id == next(
            told.id for told in tell.arrived if told.event.position == 2
        )
        third = next(told.event for told in tell.arrived if told.event.position == 3)
        assert await records.replay(TENANT, "tell", SHOP, Replayed(event_id=third.id)) == 1
        await until_over(stage, 4)
        assert tell.arrived[-1].event == third
        later = Replayed(since=third.recorded_at + timedelta(microseconds=1))
        assert await records.replay(TENANT, "tell", SHOP, later) == 1
        await until_over(stage, 4)
        earlier = Replayed(until=third.recorded_at)
        assert await records.replay(TENANT, "tell", SHOP, earlier) == 2
        await until_over(stage, 4)
    assert len(tell.arrived) == 4 + 1 + 1 + 1 + 2


async def test_a_replay_starts_its_patience_anew(stage: Stage) -> None:
    """Without a fresh `trying_since` an old delivery would be dead again at the first failure."""
    records = PostgresDeliveryRecords(stage.app)
    answers = Script(Dead("gone"), RetryLater("busy"), Delivered())
    tell = Tell(answers, DeliveryPolicy(delays_s=(0.01, 500.0), max_age_s=3600.0))
    async with delivering(stage, tell):
        await register(stage, 0, 1)
        await until_over(stage, 1)
        await change(stage, "UPDATE deliveries SET trying_since = now() - interval '30 days'")
        assert await records.replay(TENANT, "tell", SHOP, Replayed()) == 1
        await until_over(stage, 1)
    assert await states(stage) == [("delivered", None)]
    assert [told.attempt for told in tell.arrived] == [1, 2, 3]


async def test_what_is_pending_is_not_replayed(stage: Stage) -> None:
    records = PostgresDeliveryRecords(stage.app)
    async with delivering(stage, Tell(Script(RetryLater("busy")), DeliveryPolicy())):
        await register(stage, 0, 1)
        await until_failed(stage)
        assert await records.replay(TENANT, "tell", SHOP, Replayed()) == 0


async def until_failed(stage: Stage) -> None:
    """Wait until the one delivery has failed once and is to be tried again."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if await states(stage) == [("pending", "busy")]:
                return
            await asyncio.sleep(0.01)


async def test_another_tenants_deliveries_are_not_there(stage: Stage) -> None:
    records = PostgresDeliveryRecords(stage.app)
    async with delivering(stage, Tell()):
        await stage.record(device_id(1), device_registered())
        await stage.record(device_id(2), device_registered(), tenant_id=OTHER_TENANT)
        await until_over(stage, 2)
    for tenant, stream in ((OTHER_TENANT, device_id(1)), (TENANT, device_id(2))):
        assert await records.about(tenant, stream) == []
        (own,) = await records.at(tenant, "tell", SHOP)
        assert own.event.stream_id != stream
        everything = Replayed(since=datetime(2020, 1, 1, tzinfo=UTC))
        assert await records.replay(tenant, "tell", SHOP, everything) == 1


async def test_row_level_security_is_the_second_wall(stage: Stage) -> None:
    async with delivering(stage, Tell(Script(RetryLater("busy")))):
        await register(stage, 0, 1)
        await until_failed(stage)
    for table in TABLES:
        for tenant, count in ((TENANT, 1), (OTHER_TENANT, 0), (TenantId(uuid4()), 0)):
            async with stage.as_tenant(tenant) as connection:
                found = await connection.execute(
                    f"SELECT count(*) > 0 FROM {table}".encode()  # noqa: S608
                )
                assert await found.fetchone() == (count == 1,), (table, tenant)
        async with stage.app.connection() as connection:
            found = await connection.execute(f"SELECT count(*) FROM {table}".encode())  # noqa: S608
            assert await found.fetchone() == (0,)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM deliveries",
        "UPDATE deliveries SET tenant_id = tenant_id",
        "UPDATE deliveries SET destination = destination",
        "UPDATE deliveries SET attempts = 0",
        "INSERT INTO deliveries (id) VALUES (gen_random_uuid())",
        "UPDATE delivery_attempts SET reason = 'none'",
        "UPDATE delivery_destinations SET failing_since = NULL",
        "UPDATE delivery_positions SET position = 0",
    ],
)
async def test_the_application_may_repeat_deliveries_and_nothing_else(
    stage: Stage, statement: str
) -> None:
    async with stage.app.connection() as connection:
        with pytest.raises(InsufficientPrivilege):
            await connection.execute(statement.encode())


def test_the_owner_is_bound_by_row_level_security(stage: Stage) -> None:
    with psycopg.connect(stage.dsn, autocommit=True) as admin:
        found = admin.execute(
            "SELECT relname, relowner::regrole::text, relrowsecurity AND relforcerowsecurity"
            " FROM pg_class WHERE relname = ANY (%s) ORDER BY relname",
            (list(TABLES),),
        ).fetchall()
    assert found == [(table, "link_owner", True) for table in TABLES]
