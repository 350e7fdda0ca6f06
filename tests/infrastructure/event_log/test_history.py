"""The past of a tenant: which position a moment stands for, what had begun by then, what had been
said; and of another tenant nothing."""

from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import LiteralString
from uuid import UUID, uuid4

import psycopg
import pytest

from domain.catalogue import EVENTS, UPCASTERS
from domain.device import DeviceRegistered
from domain.events import Recorded
from domain.ids import TenantId
from domain.transaction import TransactionReceived
from domain.user import UserSignedUp
from infrastructure.event_log.history import PostgresLogHistory
from infrastructure.event_log.mapper import EventMapper, UnknownEvent
from tests import builders as b
from tests.projections.stage import OTHER_TENANT, Stage, stage_on
from tests.spec import TENANT


@pytest.fixture
async def stage(database: str) -> AsyncGenerator[Stage]:
    async with stage_on(database) as opened:
        yield opened


def history(stage: Stage, *, without: str | None = None) -> PostgresLogHistory:
    """What the tenant's past looks like to a process that does not know one kind of event."""
    known = {name: kind for name, kind in EVENTS.items() if name != without}
    return PostgresLogHistory(stage.app, EventMapper(known, UPCASTERS))


async def all_of(past: PostgresLogHistory, tenant_id: TenantId) -> list[Recorded]:
    """Everything, in pages of two."""
    found: list[Recorded] = []
    read_to, end = 0, await past.end()
    while read_to < end:
        page = await past.events(tenant_id, after=read_to, up_to=end, limit=2)
        found += page.events
        read_to = page.read_to
    return found


async def test_a_moment_is_the_last_position_recorded_at_or_before_it(stage: Stage) -> None:
    past = history(stage)
    await stage.record(uuid4(), b.user_signed_up())
    first = (await all_of(past, TENANT))[0].recorded_at
    assert await past.position_at(first - timedelta(microseconds=1)) == 0
    assert await past.position_at(first) >= 1
    for _ in range(9):
        await stage.record(uuid4(), b.user_signed_up(), b.user_consent_granted())
    told = await all_of(past, TENANT)
    for recorded in told:
        expected = max(each.position for each in told if each.recorded_at <= recorded.recorded_at)
        assert await past.position_at(recorded.recorded_at) == expected
    assert await past.position_at(told[-1].recorded_at + timedelta(days=1)) == 19
    assert await past.end() == 19


async def test_before_the_first_event_there_is_nothing(stage: Stage) -> None:
    past = history(stage)
    assert await past.end() == 0
    assert await past.position_at(b.NOW) == 0
    assert await past.begun(TENANT, UserSignedUp, after=None, up_to=9, limit=5) == []
    assert (await past.events(TENANT, after=0, up_to=0, limit=5)).events == []


async def test_the_end_is_the_whole_logs_and_the_events_are_the_tenants(stage: Stage) -> None:
    past = history(stage)
    await stage.record(uuid4(), b.user_signed_up())
    await stage.record(uuid4(), b.user_signed_up(), tenant_id=OTHER_TENANT)
    await stage.record(uuid4(), b.device_registered())
    assert await past.end() == 3
    assert [each.position for each in await all_of(past, TENANT)] == [1, 3]
    assert [each.position for each in await all_of(past, OTHER_TENANT)] == [2]


async def test_streams_are_listed_by_their_beginnings_up_to_the_moment(stage: Stage) -> None:
    past = history(stage)
    users, devices = [uuid4() for _ in range(3)], [uuid4() for _ in range(2)]
    for user_id in users:
        await stage.record(user_id, b.user_signed_up())
    await stage.record(users[0], b.user_consent_granted())
    await stage.record(uuid4(), b.user_signed_up(), tenant_id=OTHER_TENANT)
    for device_id in devices:
        await stage.record(device_id, b.device_registered())

    async def found(kind: type, after: int | None, up_to: int, limit: int = 9) -> list[UUID]:
        begun = await past.begun(TENANT, kind, after=after, up_to=up_to, limit=limit)
        return [each.stream_id for each in begun]

    assert await found(UserSignedUp, None, 99) == users
    assert await found(UserSignedUp, None, 2) == users[:2]
    assert await found(UserSignedUp, 1, 99, limit=1) == users[1:2]
    assert await found(DeviceRegistered, None, 99) == devices
    assert await found(DeviceRegistered, None, 5) == []


async def test_transactions_come_newest_first(stage: Stage) -> None:
    past = history(stage)
    asked = [uuid4() for _ in range(3)]
    for stream_id in asked:
        await stage.record(stream_id, b.transaction_received())
    begun = await past.begun(TENANT, TransactionReceived, after=None, up_to=99, limit=2)
    assert [each.stream_id for each in begun] == [asked[2], asked[1]]
    rest = await past.begun(
        TENANT, TransactionReceived, after=begun[-1].position, up_to=99, limit=2
    )
    assert [each.stream_id for each in rest] == [asked[0]]
    early = await past.begun(TENANT, TransactionReceived, after=None, up_to=2, limit=9)
    assert [each.stream_id for each in early] == [asked[1], asked[0]]


async def test_what_cannot_be_read_holds_and_is_never_passed(stage: Stage) -> None:
    user_id = uuid4()
    await stage.record(user_id, b.user_signed_up(), b.user_consent_granted(), b.user_suspended())
    past = history(stage, without="user.consent_granted")
    page = await past.events(TENANT, after=0, up_to=3, limit=9)
    assert ([each.position for each in page.events], page.read_to) == ([1], 1)
    with pytest.raises(UnknownEvent):
        await past.events(TENANT, after=1, up_to=3, limit=9)


PLANTED: LiteralString = """
    CREATE OR REPLACE FUNCTION position_at(moment timestamptz) RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
        SELECT coalesce(max(b.first_position), 0) FROM event_blocks b WHERE b.recorded_at < moment
    $$
"""


@pytest.mark.parametrize("planted", [False, True], ids=["ours", "planted"])
async def test_halving_finds_what_looking_at_every_block_finds(stage: Stage, planted: bool) -> None:
    """The planted bug forgets the block of the moment itself, and the end of the one before."""
    for number in range(23):
        await stage.record(uuid4(), *[b.user_signed_up(), b.user_suspended()][: 1 + number % 2])
    if planted:
        with psycopg.connect(stage.dsn, autocommit=True) as connection:
            connection.execute(PLANTED)
    past = history(stage)
    told = await all_of(past, TENANT)
    wrong = 0
    for recorded in told:
        for step in (-1, 0, 1):
            moment = recorded.recorded_at + timedelta(microseconds=step)
            known = [each.position for each in told if each.recorded_at <= moment]
            wrong += await past.position_at(moment) != max(known, default=0)
    assert (wrong > 0) is planted
