"""The log in memory keeps the promises of the log on Postgres: one set of questions, both asked."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Protocol
from uuid import UUID, uuid4

import msgspec
import pytest

from application.ports import Appended, EventLog, StaleStream
from domain.events import Recorded, StreamAppend
from infrastructure.clock import SystemClock
from infrastructure.event_log.log import PAYLOAD_BYTES_MAX, PostgresEventLog
from infrastructure.event_log.mapper import UnknownEvent
from tests.application.memory_log import MemoryEventLog
from tests.infrastructure.event_log.notes import MAPPER, A, B, Noted, notes, origin, texts
from tests.infrastructure.event_log.test_mapper import Stranger


class ReadableLog(EventLog, Protocol):
    async def read(self, after: int, limit: int) -> Sequence[Recorded]: ...


@pytest.fixture(params=["memory", "postgres"])
async def log(request: pytest.FixtureRequest) -> AsyncGenerator[ReadableLog]:
    if request.param == "memory":
        yield MemoryEventLog(SystemClock(), MAPPER)
        return
    opened = await PostgresEventLog.open(request.getfixturevalue("database"), MAPPER)
    yield opened
    await opened.close()


async def test_what_is_appended_is_loaded_in_order_with_its_envelope(log: ReadableLog) -> None:
    stream, asked = uuid4(), origin()
    appended = await log.append(asked, [notes(stream, 0, "one", "two")])
    assert appended == Appended(first_position=1, last_position=2)
    loaded = await log.load(A, stream)
    assert [(each.position, each.version, each.event) for each in loaded] == [
        (1, 1, Noted(text="one")),
        (2, 2, Noted(text="two")),
    ]
    assert {
        (each.tenant_id, each.stream_id, each.actor, each.correlation_id, each.command_id)
        for each in loaded
    } == {(A, stream, asked.actor, asked.correlation_id, asked.command_id)}
    assert loaded[0].recorded_at == loaded[1].recorded_at
    assert not loaded[0].recorded_at.utcoffset()
    assert tuple(await log.read(0, 10)) == tuple(loaded)


async def test_a_stream_that_nobody_began_is_empty(log: ReadableLog) -> None:
    assert not await log.load(A, uuid4())


async def test_positions_have_no_gap_over_all_tenants(log: ReadableLog) -> None:
    ours, theirs = uuid4(), uuid4()
    await log.append(origin(), [notes(ours, 0, "a")])
    await log.append(origin(), [notes(theirs, 0, "b", "c", tenant_id=B), notes(ours, 1, "d", "e")])
    with pytest.raises(StaleStream):
        await log.append(origin(), [notes(ours, 0, "lost")])
    appended = await log.append(origin(), [notes(ours, 3, "f")])
    assert appended == Appended(first_position=6, last_position=6)
    assert texts(await log.read(0, 10)) == ["a", "b", "c", "d", "e", "f"]
    assert [each.position for each in await log.read(2, 3)] == [3, 4, 5]


@pytest.mark.parametrize("expected_version", [0, 1, 3, 7])
async def test_a_wrong_expected_version_names_the_stream(
    log: ReadableLog, expected_version: int
) -> None:
    stream = uuid4()
    await log.append(origin(), [notes(stream, 0, "one", "two")])
    with pytest.raises(StaleStream) as raised:
        await log.append(origin(), [notes(stream, expected_version, "x")])
    assert raised.value.streams == (stream,)
    assert texts(await log.load(A, stream)) == ["one", "two"]


async def test_all_or_nothing_and_only_the_wrong_streams_are_named(log: ReadableLog) -> None:
    right, wrong, hole = uuid4(), uuid4(), uuid4()
    await log.append(origin(), [notes(wrong, 0, "one")])
    with pytest.raises(StaleStream) as raised:
        await log.append(
            origin(),
            [
                notes(right, 0, "a"),
                notes(wrong, 0, "b", tenant_id=A),
                notes(hole, 4, "c", tenant_id=B),
            ],
        )
    assert set(raised.value.streams) == {wrong, hole}
    assert not await log.load(A, right)
    assert not await log.load(B, hole)


async def test_a_stream_stays_with_its_tenant(log: ReadableLog) -> None:
    stream = uuid4()
    await log.append(origin(), [notes(stream, 0, "ours")])
    with pytest.raises(StaleStream):
        await log.append(origin(), [notes(stream, 1, "theirs", tenant_id=B)])
    assert texts(await log.load(A, stream)) == ["ours"]
    assert not await log.load(B, stream)


async def test_a_command_repeated_is_answered_with_its_first_positions(log: ReadableLog) -> None:
    first, second, asked = uuid4(), uuid4(), origin()
    submission = [notes(first, 0, "a", "b"), notes(second, 0, "c", tenant_id=B)]
    await log.append(origin(), [notes(uuid4(), 0, "before")])
    appended = await log.append(asked, submission)
    await log.append(origin(), [notes(first, 2, "after")])
    again = await log.append(asked, submission)
    assert again == Appended(first_position=2, last_position=4, replayed=True)
    assert (appended.first_position, appended.last_position) == (2, 4)
    assert len(await log.read(0, 100)) == 5


async def test_a_command_is_known_by_its_id_and_not_by_its_words(log: ReadableLog) -> None:
    stream, asked = uuid4(), origin()
    await log.append(asked, [notes(stream, 0, "a")])
    assert (await log.append(asked, [notes(stream, 0, "b")])).replayed
    with pytest.raises(StaleStream):
        await log.append(origin(), [notes(stream, 0, "a")])
    assert texts(await log.load(A, stream)) == ["a"]


async def test_a_command_may_go_on_in_the_same_stream(log: ReadableLog) -> None:
    stream, asked = uuid4(), origin()
    await log.append(asked, [notes(stream, 0, "a")])
    assert not (await log.append(asked, [notes(stream, 1, "b")])).replayed
    assert texts(await log.load(A, stream)) == ["a", "b"]


async def test_a_command_that_is_only_partly_there_is_a_conflict(log: ReadableLog) -> None:
    first, second, asked = uuid4(), uuid4(), origin()
    await log.append(asked, [notes(first, 0, "a")])
    with pytest.raises(StaleStream) as raised:
        await log.append(asked, [notes(first, 0, "a"), notes(second, 0, "b")])
    assert raised.value.streams == (first,)
    assert not await log.load(A, second)


async def test_a_command_of_another_tenant_is_not_ours(log: ReadableLog) -> None:
    stream, asked = uuid4(), origin()
    await log.append(asked, [notes(stream, 0, "a")])
    with pytest.raises(StaleStream):
        await log.append(asked, [notes(stream, 0, "a", tenant_id=B)])


async def test_a_part_without_events_neither_counts_nor_conflicts(log: ReadableLog) -> None:
    stream, silent, asked = uuid4(), uuid4(), origin()
    submission = [notes(stream, 0, "a"), notes(silent, 9)]
    assert await log.append(asked, submission) == Appended(first_position=1, last_position=1)
    assert (await log.append(asked, submission)).replayed
    assert not await log.load(A, silent)


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
    log: ReadableLog, appends: list[StreamAppend]
) -> None:
    with pytest.raises(ValueError, match=r"submission|expected version|bytes"):
        await log.append(origin(), appends)
    assert not await log.read(0, 1)


async def test_an_event_that_nobody_could_read_is_not_written(log: ReadableLog) -> None:
    stranger = StreamAppend(tenant_id=A, stream_id=STREAM, expected_version=0, events=[Stranger()])
    with pytest.raises(UnknownEvent):
        await log.append(origin(), [stranger])
    assert not await log.load(A, STREAM)


async def test_a_stream_that_has_begun_keeps_out_what_must_not_follow_it(log: ReadableLog) -> None:
    """Several at once, so that those beside it in a batch are seen to stand."""
    stream, other, fence = uuid4(), uuid4(), uuid4()

    def unless_begun(expected: int) -> StreamAppend:
        return msgspec.structs.replace(notes(stream, expected, "intent"), unless_begun=fence)

    first = origin()
    await log.append(first, [unless_begun(0)])
    await log.append(origin(), [notes(fence, 0, "begun")])
    kept_out, beside, sealed_off = await asyncio.gather(
        log.append(origin(), [unless_begun(1), notes(uuid4(), 0, "with it")]),
        log.append(origin(), [notes(other, 0, "beside")]),
        log.append(origin(), [msgspec.structs.replace(unless_begun(0), stream_id=uuid4())]),
        return_exceptions=True,
    )
    for refused in (kept_out, sealed_off):
        assert isinstance(refused, StaleStream)
        assert refused.streams == (fence,)
    assert isinstance(beside, Appended)
    assert texts(await log.read(0, 10)) == ["intent", "begun", "beside"]
    # What is there already is said again, whatever has begun since.
    again = await log.append(first, [unless_begun(0)])
    assert again == Appended(first_position=1, last_position=1, replayed=True)
