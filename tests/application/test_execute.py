"""The one road of a command: load, decide, append, once for each command id."""

from collections.abc import Coroutine, Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest

from application.execute import ATTEMPTS_MAX, Done, execute, retrying, stream_of
from application.ports import StaleStream
from domain import device as d
from domain import user as u
from domain.errors import Conflict, Invalid
from domain.events import DomainEvent, Origin, StreamAppend
from tests import builders
from tests.application.hand_clock import HandClock
from tests.application.memory_log import Hook, MemoryEventLog
from tests.application.turns import race
from tests.application.world import World
from tests.spec import CORRELATION, STREAM, TENANT, recorded

OTHER = UUID("0198c000-0000-7000-8000-000000000077")


def origin(command_id: UUID | None = None) -> Origin:
    return Origin(
        actor="client:cli_1", correlation_id=CORRELATION, command_id=command_id or uuid4()
    )


def registering(name: str = "Till 4") -> d.DeviceRegistered:
    return builders.device_registered(name=name)


async def register(
    log: MemoryEventLog, command_id: UUID | None = None, name: str = "Till 4"
) -> Done:
    return await execute(
        log,
        origin(command_id),
        TENANT,
        STREAM,
        d.rebuild,
        lambda device: d.register(device, registering(name)),
    )


async def revoke(log: MemoryEventLog, command_id: UUID | None = None) -> Done:
    def decide(device: d.Device | None) -> Sequence[d.DeviceEvent]:
        assert device is not None
        return d.revoke(device, "lost")

    return await execute(log, origin(command_id), TENANT, STREAM, d.rebuild, decide)


@pytest.fixture
def log() -> MemoryEventLog:
    return MemoryEventLog(HandClock())


async def test_the_facts_are_appended_with_their_origin(log: MemoryEventLog) -> None:
    done = await register(log, OTHER)
    assert done == Done(stream_version=1, events=[registering()], position=1)
    (found,) = log.stream(STREAM)
    assert (found.event, found.version, found.command_id) == (registering(), 1, OTHER)
    assert (found.actor, found.correlation_id) == ("client:cli_1", CORRELATION)


async def test_a_refusal_leaves_nothing(log: MemoryEventLog) -> None:
    with pytest.raises(Invalid, match="device_name_invalid"):
        await register(log, name=" ")
    assert log.read_now() == ()


async def test_nothing_to_do_appends_nothing_and_has_no_position(log: MemoryEventLog) -> None:
    await register(log)
    await revoke(log)
    assert await revoke(log) == Done(stream_version=2, events=[], position=None)
    assert len(log.read_now()) == 2


async def test_a_command_repeated_is_carried_out_once_and_keeps_its_position(
    log: MemoryEventLog,
) -> None:
    command_id = uuid4()
    await register(log, command_id)
    await revoke(log)
    assert await register(log, command_id) == Done(stream_version=2, events=(), position=1)
    assert len(log.read_now()) == 2


async def test_a_command_that_would_go_on_each_time_is_still_carried_out_once(
    log: MemoryEventLog,
) -> None:
    """A pairing code is a new one with every command, so its decision alone would not stop it."""
    await register(log)
    asked = origin()

    async def issue() -> Done:
        def decide(device: d.Device | None) -> Sequence[d.DeviceEvent]:
            assert device is not None
            return d.issue_pairing_code(device, builders.NOW)

        return await execute(log, asked, TENANT, STREAM, d.rebuild, decide)

    assert (await issue()).position == 2
    assert await issue() == Done(stream_version=2, events=(), position=2)


async def test_a_command_id_used_for_something_else_is_refused(log: MemoryEventLog) -> None:
    command_id = uuid4()
    await register(log, command_id)
    with pytest.raises(Invalid, match="idempotency_key_reused"):
        await register(log, command_id, name="Till 5")


@pytest.mark.parametrize("name", ["Till 4", "Till 5"])
async def test_the_same_command_in_between_counts_as_carried_out_before(
    log: MemoryEventLog, name: str
) -> None:
    command_id = uuid4()

    async def the_other() -> None:
        await register(log, command_id, name)

    log.before(d.DeviceRegistered, the_other)
    if name == "Till 4":
        assert await register(log, command_id) == Done(stream_version=1, events=(), position=1)
    else:
        with pytest.raises(Invalid, match="idempotency_key_reused"):
            await register(log, command_id)
    assert log.stream(STREAM)[0].event == registering(name)
    assert len(log.read_now()) == 1


async def test_who_comes_late_decides_again_on_what_is_there_now(log: MemoryEventLog) -> None:
    await register(log)

    async def the_other() -> None:
        await revoke(log)

    log.before(d.DeviceRevoked, the_other)
    assert await revoke(log) == Done(stream_version=2, events=[], position=None)


def _moving(log: MemoryEventLog, times: int) -> Hook:
    """Every attempt finds that somebody was faster, so many times."""

    async def move() -> None:
        if times > 1:
            log.before(d.DeviceRevoked, _moving(log, times - 1))
        append = StreamAppend(
            tenant_id=TENANT,
            stream_id=STREAM,
            expected_version=len(log.stream(STREAM)),
            events=[builders.device_pairing_code_issued()],
        )
        log.record(origin(), [append])

    return move


@pytest.mark.parametrize("times", [1, ATTEMPTS_MAX - 1, ATTEMPTS_MAX])
async def test_a_stream_that_moves_under_every_attempt_is_given_up(
    log: MemoryEventLog, times: int
) -> None:
    await register(log)
    log.before(d.DeviceRevoked, _moving(log, times))
    if times < ATTEMPTS_MAX:
        assert (await revoke(log)).stream_version == times + 2
    else:
        with pytest.raises(StaleStream) as raised:
            await revoke(log)
        assert raised.value.streams == (STREAM,)
    assert len(log.stream(STREAM)) == 1 + times + (times < ATTEMPTS_MAX)


async def test_what_stands_beside_is_asked_for_with_every_attempt_and_shares_the_commit(
    log: MemoryEventLog,
) -> None:
    asked = 0

    async def beside() -> Sequence[StreamAppend]:
        nonlocal asked
        asked += 1
        if asked == 1:
            log.record(origin(), [claim(0)])
        return [claim(len(log.stream(OTHER)))]

    def claim(version: int) -> StreamAppend:
        return StreamAppend(
            tenant_id=TENANT,
            stream_id=OTHER,
            expected_version=0 if asked == 1 else version,
            events=[builders.claim_taken()],
        )

    done = await execute(
        log,
        origin(),
        TENANT,
        STREAM,
        d.rebuild,
        lambda device: d.register(device, registering()),
        beside,
    )
    assert (asked, done.stream_version, done.position) == (2, 1, 3)
    assert [each.version for each in log.stream(OTHER)] == [1, 2]


async def test_what_stands_beside_is_not_asked_for_when_there_is_nothing_to_do(
    log: MemoryEventLog,
) -> None:
    await register(log)

    async def beside() -> Sequence[StreamAppend]:
        raise AssertionError("nothing is decided, so nothing stands beside it")

    done = await execute(
        log,
        origin(),
        TENANT,
        STREAM,
        d.rebuild,
        lambda device: d.register(device, registering()),
        beside,
    )
    assert done.position is None


async def test_other_errors_are_not_tried_again() -> None:
    tries = 0

    async def attempt() -> None:
        nonlocal tries
        tries += 1
        raise Conflict("busy")

    with pytest.raises(Conflict):
        await retrying(attempt)
    assert tries == 1


@pytest.mark.parametrize(
    ("past", "found"),
    [([], False), ([builders.user_signed_up()], True), ([builders.device_registered()], False)],
    ids=["nothing", "a user", "a device"],
)
def test_a_stream_of_another_kind_is_no_stream(past: list[DomainEvent], found: bool) -> None:
    rebuild = stream_of(u.UserSignedUp, u.rebuild)
    assert (rebuild(recorded(*past)) is not None) == found


async def test_one_command_sent_twice_at_once_is_carried_out_once_in_every_order() -> None:
    command_id = uuid4()

    async def check(world: World, first: object, second: object) -> None:
        assert isinstance(first, Done)
        assert isinstance(second, Done)
        assert first.position == second.position
        assert [each.event for each in world.log.stream(STREAM)] == [registering()]

    async def scene() -> tuple[World, list[Coroutine[Any, Any, Done]]]:
        world = World()
        return world, [register(world.log, command_id) for _ in range(2)]

    await race(scene, check, steps=5)
