"""That somebody read the audit is noted once a minute for each client and way of reading."""

from datetime import timedelta

import msgspec
import pytest

from application.audit.audit_readings import AuditReadings
from application.ports import CommitFailed
from domain.audit import AuditRead
from tests.application.world import BACKEND, OTHER_TENANT, World, raising


def noted(world: World) -> list[tuple[str, str]]:
    return [
        (each.actor, each.event.kind)
        for each in world.log.read_now()
        if isinstance(each.event, AuditRead)
    ]


async def test_a_minute_is_noted_once_for_each_client_and_way() -> None:
    world = World()
    readings = AuditReadings(world.log, world.clock, world.ids)
    other = msgspec.structs.replace(BACKEND, actor="client:cli_2")
    for _ in range(3):
        await readings.note(BACKEND, "search")
        await readings.note(BACKEND, "stream")
        await readings.note(other, "search")
    assert sorted(noted(world)) == [
        ("client:cli_1", "search"),
        ("client:cli_1", "stream"),
        ("client:cli_2", "search"),
    ]
    world.clock.advance(60)
    await readings.note(BACKEND, "search")
    assert noted(world).count(("client:cli_1", "search")) == 2


async def test_two_processes_share_the_minute() -> None:
    world = World()
    for _ in range(2):
        await AuditReadings(world.log, world.clock, world.ids).note(BACKEND, "search")
    assert noted(world) == [("client:cli_1", "search")]
    (event,) = [each.event for each in world.log.read_now() if isinstance(each.event, AuditRead)]
    assert event.minute <= world.clock.now() < event.minute + timedelta(minutes=1)


async def test_tenants_do_not_share_it() -> None:
    world = World()
    readings = AuditReadings(world.log, world.clock, world.ids)
    await readings.note(BACKEND, "search")
    await readings.note(msgspec.structs.replace(BACKEND, tenant_id=OTHER_TENANT), "search")
    assert len(noted(world)) == 2


async def test_what_could_not_be_noted_is_tried_again_and_not_taken_for_noted() -> None:
    world = World()
    readings = AuditReadings(world.log, world.clock, world.ids)
    world.log.before(AuditRead, raising(CommitFailed("nobody knows")))
    with pytest.raises(CommitFailed):
        await readings.note(BACKEND, "search")
    await readings.note(BACKEND, "search")
    assert noted(world) == [("client:cli_1", "search")]
