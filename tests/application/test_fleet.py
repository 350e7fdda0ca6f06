"""Heartbeats, commands and who is told of silence, with a clock in the test's hand."""

import asyncio

import pytest

from application.fleet.device_commands import Result
from domain import device as d
from domain import presence as p
from domain.errors import Conflict, Forbidden, NotFound, TooMany
from domain.ids import DeviceId
from tests.application.fleet import PRESENCE, Fleet, done
from tests.application.world import (
    BACKEND,
    OTHER_TENANT,
    TILL,
    Killed,
    asking,
    device,
    kill,
)
from tests.builders import DEVICE
from tests.spec import TENANT


async def test_a_heartbeat_is_told_the_time_and_when_the_next_one_is_wanted() -> None:
    fleet = Fleet()
    fleet.world.settings(heartbeat_s=30)
    fleet.world.trace.clear()
    told = await fleet.beat(ahead_s=2.5)
    assert (told.counted, told.missed, told.clock_offset_ms) == (True, 0, 2500)
    assert (told.next_heartbeat_s, told.locked, told.commands) == (30, False, [])
    assert told.server_time == fleet.world.clock.now()
    assert (await fleet.beat(seq=1)).counted is False
    assert (await fleet.beat(seq=4)).missed == 2
    assert fleet.world.trace == [], "heartbeats are not the log's business"


async def test_a_device_that_beats_without_end_is_told_to_slow_down() -> None:
    fleet = Fleet()
    for _ in range(60):
        await fleet.beat()
    with pytest.raises(TooMany, match="rate_limited"):
        await fleet.beat()


async def test_three_missed_heartbeats_are_told_once_and_so_is_the_return() -> None:
    fleet = Fleet()
    await fleet.monitor.round()
    await fleet.beat()
    fleet.world.clock.advance(180)
    await fleet.monitor.round()
    assert fleet.said() == []
    last = fleet.presences.heard[DEVICE].received_at
    fleet.world.clock.advance(1)
    for _ in range(2):
        await fleet.monitor.round()
    assert fleet.world.events(PRESENCE) == [
        p.DeviceWentOffline(device_id=DEVICE, last_heard_at=last)
    ]
    await fleet.beat()
    for _ in range(2):
        await fleet.monitor.round()
    assert fleet.world.events(PRESENCE)[1:] == [
        p.DeviceCameBack(device_id=DEVICE, offline_since=last)
    ]
    assert len(fleet.world.log.stream(DEVICE)) == 3, "presence moves no device's version"


async def test_silence_while_nobody_listened_is_nobodys() -> None:
    """After the platform itself was away, every device would be told offline, and back."""
    fleet = Fleet()
    await fleet.beat()
    fleet.world.clock.advance(3600)
    monitor = fleet.new_monitor()
    await monitor.round()
    fleet.world.clock.advance(180)
    await monitor.round()
    assert fleet.said() == []
    fleet.world.clock.advance(1)
    await monitor.round()
    assert fleet.said() == ["device.went_offline"]


async def test_two_monitors_tell_it_once() -> None:
    fleet = Fleet()
    await fleet.beat()
    monitors = [fleet.monitor, fleet.new_monitor()]
    for monitor in monitors:
        await monitor.round()
    fleet.world.clock.advance(181)
    await asyncio.gather(*(monitor.round() for monitor in monitors))
    assert fleet.said() == ["device.went_offline"]


async def test_what_was_told_by_somebody_who_died_is_not_told_again() -> None:
    fleet = Fleet()
    await fleet.monitor.round()
    await fleet.beat()
    fleet.world.clock.advance(181)
    fleet.world.log.after(p.DeviceWentOffline, kill)
    with pytest.raises(Killed):
        await fleet.monitor.round()
    assert fleet.presences.told_last == {}
    await fleet.new_monitor().round()
    fleet.world.clock.advance(181)
    await fleet.new_monitor().round()
    assert fleet.said() == ["device.went_offline"]


async def test_a_revoked_device_is_not_missed() -> None:
    fleet = Fleet()
    await fleet.monitor.round()
    await fleet.beat()
    fleet.world.given(DEVICE, d.DeviceRevoked(reason="lost", fingerprints=()))
    fleet.world.clock.advance(181)
    await fleet.monitor.round()
    assert (fleet.said(), fleet.presences.heard) == ([], {})


async def test_a_wrong_clock_and_a_copied_key_are_told() -> None:
    fleet = Fleet()
    await fleet.beat(ahead_s=121)
    await fleet.monitor.round()
    await fleet.beat()
    await fleet.monitor.round()
    for seq in (10, 11):
        await fleet.beat(seq=seq, boot_id="boot-b")
        await fleet.beat(seq=seq + 90)
    await fleet.monitor.round()
    assert fleet.said() == [
        "device.clock_skewed",
        "device.clock_corrected",
        "device.certificate_forked",
    ]


async def test_a_command_comes_again_until_it_is_answered() -> None:
    fleet = Fleet()
    command = await fleet.queue()
    for _ in range(3):
        assert [each.id for each in (await fleet.beat()).commands] == [command.id]
    assert (await fleet.beat(done(command))).commands == []
    assert fleet.world.names(command.id) == [
        "device_command.queued",
        "device_command.delivered",
        "device_command.completed",
    ]
    assert (await fleet.beat(done(command))).unknown_results == []
    assert len(fleet.world.names(command.id)) == 3


async def test_an_answer_is_not_asked_for_again_though_the_read_model_is_behind() -> None:
    fleet = Fleet()
    command = await fleet.queue()
    fleet.open.late = await fleet.open.of(TENANT, DEVICE)
    await fleet.beat(done(command))
    assert (await fleet.beat()).commands == []


async def test_a_heartbeat_that_is_not_counted_still_brings_its_results() -> None:
    fleet = Fleet()
    command = await fleet.queue()
    await fleet.beat()
    told = await fleet.beat(done(command), seq=1)
    assert (told.counted, told.commands) == (False, [])
    assert fleet.world.names(command.id)[-1] == "device_command.completed"


async def test_a_command_that_ran_out_is_not_delivered_and_its_end_is_told() -> None:
    fleet = Fleet()
    command = await fleet.queue(ttl_s=60)
    fleet.world.clock.advance(60)
    assert (await fleet.beat()).commands == []
    for _ in range(2):
        await fleet.monitor.round()
    assert fleet.world.names(command.id) == ["device_command.queued", "device_command.expired"]
    await fleet.beat(done(command))
    assert fleet.world.names(command.id)[-1] == "device_command.completed"


async def test_another_devices_command_is_no_command() -> None:
    fleet = Fleet()
    command = await fleet.queue()
    stranger = device(DeviceId(fleet.world.ids.uuid()))
    foreign = device(DEVICE, OTHER_TENANT)
    for who in (stranger, foreign):
        assert await fleet.commands().complete(who, [done(command)]) == [command.id]
        assert await fleet.commands().due(who) == []
    assert fleet.world.names(command.id) == ["device_command.queued"]
    other_stream = Result(command_id=DEVICE, result="done", detail=None)
    assert (await fleet.beat(other_stream)).unknown_results == [DEVICE]


async def test_the_same_key_queues_one_command() -> None:
    fleet = Fleet()
    key = "lock-the-till-0001"
    first = await fleet.queue("lock", key=key)
    fleet.world.clock.advance(5)
    assert (await fleet.queue("lock", key=key)).id == first.id
    assert fleet.world.names(DEVICE)[3:] == ["device.locked"]


async def test_a_device_takes_so_many_commands_and_only_while_it_is_paired() -> None:
    fleet = Fleet()
    for _ in range(50):
        await fleet.queue()
    with pytest.raises(Conflict, match="too_many_commands"):
        await fleet.queue()
    fleet.world.given(DEVICE, d.DeviceRevoked(reason="lost", fingerprints=()))
    with pytest.raises(Conflict, match="device_not_active"):
        await fleet.queue()
    with pytest.raises(NotFound, match="device_not_found"):
        await fleet.commands().queue(BACKEND, TENANT, "lock", message=None, ttl_s=60, key=None)


async def test_a_locked_device_is_refused_whether_or_not_it_has_heard() -> None:
    """The device here never sends a heartbeat: the lock is ours."""
    fleet = Fleet()
    await fleet.world.transact()
    lock = await fleet.queue("lock")
    with pytest.raises(Forbidden, match="device_locked"):
        await fleet.world.transact(asking(key="till-4-00000000002"))
    assert len(fleet.world.product.calls) == 1
    told = await fleet.beat()
    assert told.locked
    assert [each.queued.kind for each in told.commands] == ["lock"]
    await fleet.world.journal().look_up(TILL, "till-4-00000000001")
    await fleet.queue("unlock")
    assert (await fleet.beat(done(lock))).locked is False
    await fleet.world.transact(asking(key="till-4-00000000003"))
