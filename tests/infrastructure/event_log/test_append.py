"""A submission is accepted or refused by itself, whatever shares its batch."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest

from application.ports import Appended, CommitFailed, StaleStream
from domain.errors import Unavailable
from domain.events import StreamAppend
from domain.ids import TenantId
from infrastructure.event_log.loader import StreamLoader
from infrastructure.event_log.log import PAYLOAD_BYTES_MAX, PostgresEventLog
from infrastructure.event_log.mapper import EventMapper, UnknownEvent
from tests.infrastructure.event_log.notes import (
    MAPPER,
    A,
    B,
    Noted,
    Struck,
    notes,
    origin,
    texts,
)
from tests.infrastructure.event_log.test_mapper import Stranger


@asynccontextmanager
async def locked_events(dsn: str) -> AsyncGenerator[None]:
    """Nobody reads or writes events for as long as the block runs."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
        yield


async def test_what_is_appended_is_loaded_in_order_with_its_envelope(
    log: PostgresEventLog,
) -> None:
    stream, asked = uuid4(), origin()
    appended = await log.append(asked, [notes(stream, 0, "one", "two")])
    assert appended == Appended(first_position=1, last_position=2)
    loaded = await log.load(A, stream)
    assert [(r.position, r.version, r.event) for r in loaded] == [
        (1, 1, Noted(text="one")),
        (2, 2, Noted(text="two")),
    ]
    assert {
        (r.tenant_id, r.stream_id, r.actor, r.correlation_id, r.command_id) for r in loaded
    } == {(A, stream, asked.actor, asked.correlation_id, asked.command_id)}
    offset = loaded[0].recorded_at.utcoffset()
    assert offset is not None
    assert not offset


async def test_an_absent_stream_is_empty(log: PostgresEventLog) -> None:
    assert list(await log.load(A, uuid4())) == []


async def test_a_claim_has_one_winner(log: PostgresEventLog) -> None:
    """Thirty at once, each with a stream of its own beside it: one gets both, the rest neither."""
    claim = uuid4()
    users = [uuid4() for _ in range(30)]
    results = await asyncio.gather(
        *(
            log.append(origin(), [notes(claim, 0, "taken"), notes(user, 0, "born")])
            for user in users
        ),
        return_exceptions=True,
    )
    winners = [result for result in results if isinstance(result, Appended)]
    stale = [result for result in results if isinstance(result, StaleStream)]
    assert (len(winners), len(stale)) == (1, 29)
    assert {streams for error in stale for streams in error.streams} == {claim}
    born = [user for user in users if await log.load(A, user)]
    assert born == [users[results.index(winners[0])]]
    assert len(await log.read(0, 100)) == 2


async def test_conflicts_and_successes_share_a_batch(log: PostgresEventLog) -> None:
    taken = [uuid4() for _ in range(10)]
    await log.append(origin(), [notes(stream, 0, "first") for stream in taken])
    free = [uuid4() for _ in range(10)]
    results = await asyncio.gather(
        *(
            log.append(origin(), [notes(stream, 0, "x", "y")])
            for pair in zip(taken, free, strict=True)
            for stream in pair
        ),
        return_exceptions=True,
    )
    assert [isinstance(result, StaleStream) for result in results] == [True, False] * 10
    positions: list[int] = []
    for result in results:
        if isinstance(result, Appended):
            positions += range(result.first_position, result.last_position + 1)
    assert positions == list(range(11, 31))
    for stream, result in zip(free, results[1::2], strict=True):
        assert isinstance(result, Appended)
        loaded = await log.load(A, stream)
        assert [r.position for r in loaded] == [result.first_position, result.last_position]


@pytest.mark.parametrize("expected_version", [0, 1, 3, 7])
async def test_a_wrong_expected_version_names_the_stream(
    log: PostgresEventLog, expected_version: int
) -> None:
    """Too low is a conflict; too high would leave a hole."""
    stream = uuid4()
    await log.append(origin(), [notes(stream, 0, "one", "two")])
    with pytest.raises(StaleStream) as raised:
        await log.append(origin(), [notes(stream, expected_version, "x")])
    assert raised.value.streams == (stream,)
    assert texts(await log.load(A, stream)) == ["one", "two"]


async def test_only_the_wrong_streams_are_named(log: PostgresEventLog) -> None:
    right, wrong, hole = uuid4(), uuid4(), uuid4()
    await log.append(origin(), [notes(wrong, 0, "one")])
    with pytest.raises(StaleStream) as raised:
        await log.append(
            origin(), [notes(right, 0, "a"), notes(wrong, 0, "b"), notes(hole, 4, "c")]
        )
    assert set(raised.value.streams) == {wrong, hole}
    assert not await log.load(A, right)


async def test_a_submission_may_span_two_tenants(log: PostgresEventLog) -> None:
    ours, theirs = uuid4(), uuid4()
    appended = await log.append(
        origin(), [notes(ours, 0, "ours"), notes(theirs, 0, "theirs", tenant_id=B)]
    )
    assert appended == Appended(first_position=1, last_position=2)
    assert texts(await log.load(A, ours)) == ["ours"]
    assert texts(await log.load(B, theirs)) == ["theirs"]
    assert not await log.load(B, ours)
    assert not await log.load(A, theirs)


async def test_a_stream_stays_with_its_tenant(log: PostgresEventLog) -> None:
    stream = uuid4()
    await log.append(origin(), [notes(stream, 0, "ours")])
    with pytest.raises(StaleStream):
        await log.append(origin(), [notes(stream, 1, "theirs", tenant_id=B)])
    assert texts(await log.load(A, stream)) == ["ours"]


async def test_a_command_repeated_is_answered_with_its_first_positions(
    log: PostgresEventLog,
) -> None:
    first, second, asked = uuid4(), uuid4(), origin()
    submission = [notes(first, 0, "a", "b"), notes(second, 0, "c", tenant_id=B)]
    await log.append(origin(), [notes(uuid4(), 0, "before")])
    appended = await log.append(asked, submission)
    await log.append(origin(), [notes(first, 2, "after")])
    again = await log.append(asked, submission)
    assert again == Appended(
        first_position=appended.first_position,
        last_position=appended.last_position,
        replayed=True,
    )
    assert len(await log.read(0, 100)) == 5


async def test_another_command_with_the_same_words_is_a_conflict(log: PostgresEventLog) -> None:
    stream = uuid4()
    await log.append(origin(), [notes(stream, 0, "a")])
    with pytest.raises(StaleStream):
        await log.append(origin(), [notes(stream, 0, "a")])


async def test_a_command_that_is_only_partly_there_is_a_conflict(log: PostgresEventLog) -> None:
    first, second, command = uuid4(), uuid4(), uuid4()
    await log.append(origin(command), [notes(first, 0, "a")])
    with pytest.raises(StaleStream) as raised:
        await log.append(origin(command), [notes(first, 0, "a"), notes(second, 0, "b")])
    assert raised.value.streams == (first,)


async def test_a_command_of_another_tenant_is_not_ours(log: PostgresEventLog) -> None:
    stream, command = uuid4(), uuid4()
    await log.append(origin(command), [notes(stream, 0, "a")])
    with pytest.raises(StaleStream):
        await log.append(origin(command), [notes(stream, 0, "a", tenant_id=B)])


async def test_a_chain_of_appends_to_one_stream_never_shares_a_batch(
    log: PostgresEventLog,
) -> None:
    """All sixteen are queued at once; each finds the one before it committed."""
    stream = uuid4()
    results = await asyncio.gather(
        *(log.append(origin(), [notes(stream, version, str(version))]) for version in range(16))
    )
    assert [result.first_position for result in results] == list(range(1, 17))
    assert texts(await log.load(A, stream)) == [str(version) for version in range(16)]


async def test_a_poisonous_submission_fails_alone(log: PostgresEventLog) -> None:
    """Postgres keeps no NUL in a text: the batch is refused, its other members are not."""
    good = [uuid4() for _ in range(8)]
    poison = origin()
    poison = type(poison)(
        actor="client:\x00", correlation_id=poison.correlation_id, command_id=poison.command_id
    )
    results = await asyncio.gather(
        *(log.append(origin(), [notes(stream, 0, "x")]) for stream in good[:4]),
        log.append(poison, [notes(uuid4(), 0, "x")]),
        *(log.append(origin(), [notes(stream, 0, "x")]) for stream in good[4:]),
        return_exceptions=True,
    )
    assert [isinstance(result, Appended) for result in results] == [True] * 4 + [False] + [True] * 4
    assert len(await log.read(0, 100)) == 8


async def test_the_queue_is_bounded(database: str) -> None:
    log = await PostgresEventLog.open(database, MAPPER, waiting_events_max=4)
    try:
        results = await asyncio.gather(
            *(log.append(origin(), [notes(uuid4(), 0, "x", "y")]) for _ in range(3)),
            return_exceptions=True,
        )
        assert [isinstance(result, Appended) for result in results] == [True, True, False]
        assert isinstance(results[2], Unavailable)
        assert results[2].code == "overloaded"
        assert await log.append(origin(), [notes(uuid4(), 0, "later")])
    finally:
        await log.close()


async def test_a_cancelled_caller_leaves_the_others_alone(log: PostgresEventLog) -> None:
    streams = [uuid4() for _ in range(9)]
    tasks = [
        asyncio.create_task(log.append(origin(), [notes(stream, 0, "x")])) for stream in streams
    ]
    await asyncio.sleep(0)  # all are queued, nothing has been sent
    tasks[4].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[4], asyncio.CancelledError)
    others = [result for result in results if isinstance(result, Appended)]
    assert [result.first_position for result in others] == list(range(1, 9))
    assert not await log.load(A, streams[4])


async def test_closing_commits_what_waits_and_refuses_what_comes(database: str) -> None:
    log = await PostgresEventLog.open(database, MAPPER)
    waiting = [
        asyncio.create_task(log.append(origin(), [notes(uuid4(), 0, "x")])) for _ in range(20)
    ]
    await asyncio.sleep(0)
    await log.close()
    assert all([(await task).first_position for task in waiting])
    with pytest.raises(Unavailable):
        await log.append(origin(), [notes(uuid4(), 0, "late")])
    with pytest.raises(Unavailable):
        await log.load(A, uuid4())


STREAM = UUID("0198c000-0000-7000-8000-0000000000ff")


@pytest.mark.parametrize(
    "appends",
    [
        [],
        [notes(STREAM, 0)],
        [notes(STREAM, -1, "x")],
        [notes(STREAM, 0, "x"), notes(STREAM, 1, "y")],
        [notes(STREAM, 0, "x" * PAYLOAD_BYTES_MAX)],
    ],
    ids=["nothing", "no events", "before the first", "a stream twice", "too large"],
)
async def test_a_submission_without_sense_is_refused(
    log: PostgresEventLog, appends: list[StreamAppend]
) -> None:
    with pytest.raises(ValueError, match=r"submission|expected version|bytes"):
        await log.append(origin(), appends)
    assert not await log.read(0, 1)


async def test_an_event_that_nobody_could_read_is_not_written(log: PostgresEventLog) -> None:
    with pytest.raises(UnknownEvent):
        await log.append(
            origin(),
            [StreamAppend(tenant_id=A, stream_id=STREAM, expected_version=0, events=[Stranger()])],
        )


async def test_concurrent_loads_each_get_their_own_stream(log: PostgresEventLog) -> None:
    streams = {uuid4(): tenant for tenant in (A, B) for _ in range(40)}
    await asyncio.gather(
        *(
            log.append(origin(), [notes(stream, 0, str(stream), "2", tenant_id=tenant)])
            for stream, tenant in streams.items()
        )
    )

    async def check(stream: UUID, tenant: TenantId) -> None:
        loaded = await log.load(tenant, stream)
        assert texts(loaded) == [str(stream), "2"]
        assert [r.version for r in loaded] == [1, 2]
        assert not await log.load(A if tenant == B else B, stream)

    await asyncio.gather(*(check(stream, tenant) for stream, tenant in streams.items()))


async def test_an_unreadable_stream_does_not_take_its_neighbours_along(database: str) -> None:
    """Two processes: the reader's catalogue does not know what the writer wrote."""
    writer = await PostgresEventLog.open(database, MAPPER)
    reader = await PostgresEventLog.open(database, EventMapper({Noted.NAME: Noted}, {}))
    try:
        known, unknown = uuid4(), uuid4()
        await writer.append(
            origin(),
            [
                notes(known, 0, "fine"),
                StreamAppend(
                    tenant_id=A,
                    stream_id=unknown,
                    expected_version=0,
                    events=[Struck(reason="later version")],
                ),
            ],
        )
        results = await asyncio.gather(
            reader.load(A, known), reader.load(A, unknown), return_exceptions=True
        )
        assert not isinstance(results[0], BaseException)
        assert texts(results[0]) == ["fine"]
        assert isinstance(results[1], UnknownEvent)
        assert texts(await reader.read(0, 10)) == ["fine"]
        with pytest.raises(UnknownEvent):
            await reader.read(1, 10)
    finally:
        await writer.close()
        await reader.close()


async def test_nobody_is_sent_after_having_waited_for_the_deadline(database: str) -> None:
    """Three on one stream go one after the other, and the table is locked: what waits for its turn
    longer than anybody would wait for it is refused, and certainly not stored. Before, each in the
    queue waited a deadline of its own on top of all those before it."""
    log = await PostgresEventLog.open(database, MAPPER, deadline_s=0.5)
    stream = uuid4()
    try:
        async with locked_events(database):
            results = await asyncio.gather(
                *(log.append(origin(), [notes(stream, version, "x")]) for version in range(3)),
                return_exceptions=True,
            )
        assert isinstance(results[0], CommitFailed | Unavailable)
        assert isinstance(results[2], Unavailable)
        assert results[2].code == "overloaded"
    finally:
        await log.close()


async def test_loads_that_wait_are_bounded(database: str) -> None:
    loader = StreamLoader(database, MAPPER, deadline_s=60, waiting_max=2)
    await loader.open()
    try:
        async with locked_events(database):
            running = asyncio.create_task(loader.load(A, uuid4()))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            waiting = [asyncio.create_task(loader.load(A, uuid4())) for _ in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(Unavailable, match="overloaded"):
                await loader.load(A, uuid4())
        assert [list(found) for found in await asyncio.gather(running, *waiting)] == [[], [], []]
    finally:
        await loader.close()


async def test_who_waits_behind_a_line_that_is_gone_is_told_with_the_others(database: str) -> None:
    """Or the last of a queue would wait a deadline for each query before its own."""
    loader = StreamLoader(database, MAPPER, deadline_s=0.5)
    await loader.open()
    try:
        async with locked_events(database):
            running = asyncio.create_task(loader.load(A, uuid4()))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            behind = asyncio.create_task(loader.load(A, uuid4()))
            with pytest.raises(Unavailable, match="event_log_unavailable"):
                await running
            for _ in range(3):
                await asyncio.sleep(0)
            assert behind.done()
            with pytest.raises(Unavailable, match="event_log_unavailable"):
                await behind
    finally:
        await loader.close()


async def test_any_number_behind_one_fence_share_a_commit(database: str) -> None:
    """Everybody who pays with one palm at sixteen tills stands behind the same fence. Planted: a
    batch that took fences for streams had one of them in each."""
    sizes: list[int] = []
    log = await PostgresEventLog.open(
        database, MAPPER, on_commit=lambda events, _: sizes.append(events)
    )
    fence = uuid4()
    behind = [
        msgspec.structs.replace(notes(uuid4(), 0, "intent"), unless_begun=fence) for _ in range(8)
    ]
    try:
        await asyncio.gather(*(log.append(origin(), [part]) for part in behind))
        begun = asyncio.gather(
            log.append(origin(), [notes(fence, 0, "begun")]),
            *(
                log.append(origin(), [msgspec.structs.replace(part, stream_id=uuid4())])
                for part in behind
            ),
            return_exceptions=True,
        )
        _, *kept_out = await begun
    finally:
        await log.close()
    assert sizes[0] == len(behind)
    assert all(isinstance(each, StaleStream) for each in kept_out)
