"""Registering a device, its pairing codes, its end (003 §3.9; reference broker.md §3.1)."""

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest

from application.fleet.pairing_codes import IssuedPairingCode
from domain import device as d
from domain.errors import Conflict, Invalid, NotFound, PreconditionFailed
from domain.ids import DeviceId, pairing_code_id
from domain.pairing_code import LIFETIME_S, PairingCodeIssued, normalise
from tests import builders
from tests.application.turns import race
from tests.application.world import (
    BACKEND,
    OTHER_DEVICE,
    OTHER_TENANT,
    Killed,
    World,
    kill,
)
from tests.builders import DEVICE, SERVICE, USER

KEY = "register-till-5"


def till(**changes: object) -> d.DeviceRegistered:
    return builders.device_registered(name="Till 5", **changes)


def codes(world: World) -> list[PairingCodeIssued]:
    """The pairing codes that can be found by what is typed, in order."""
    return [
        each.event for each in world.log.read_now() if isinstance(each.event, PairingCodeIssued)
    ]


def found_by(world: World, code: IssuedPairingCode) -> PairingCodeIssued:
    """What the holder of this code would find."""
    typed = normalise(code.code)
    assert typed is not None
    (event,) = world.events(pairing_code_id(world.digests.digest("pairing_code", typed)))
    assert isinstance(event, PairingCodeIssued)
    return event


async def test_a_new_device_gets_a_code_that_lives_five_minutes() -> None:
    world = World()
    device, code, done = await world.devices().register(BACKEND, till(), None)
    assert (device.registered, device.status) == (till(), "pending_pairing")
    assert code is not None
    assert code.expires_at == world.clock.now() + timedelta(seconds=LIFETIME_S)
    assert found_by(world, code) == PairingCodeIssued(
        for_tenant=device.tenant_id,
        device_id=device.id,
        code_number=1,
        expires_at=code.expires_at,
    )
    assert done.position == len(world.log.read_now())
    assert world.names(device.id) == ["device.registered", "device.pairing_code_issued"]


async def test_the_code_itself_is_kept_nowhere() -> None:
    world = World()
    _, code, _ = await world.devices().register(BACKEND, till(), None)
    assert code is not None
    stored = repr(world.log.read_now())
    assert code.code not in stored
    assert code.code.replace("-", "") not in stored


async def test_every_registration_without_a_key_is_a_device_of_its_own() -> None:
    world = World()
    first, one, _ = await world.devices().register(BACKEND, till(), None)
    second, other, _ = await world.devices().register(BACKEND, till(), None)
    assert first.id != second.id
    assert one != other


async def test_a_repeat_under_the_same_key_shows_the_same_device_and_code() -> None:
    world = World()
    devices = world.devices()
    first = await devices.register(BACKEND, till(), KEY)
    world.clock.advance(60)
    again = await devices.register(BACKEND, till(), KEY)
    assert again[:2] == first[:2]
    assert len(codes(world)) == 1


async def test_a_repeat_after_the_pairing_shows_the_device_and_no_code() -> None:
    world = World()
    devices = world.devices()
    device, _, _ = await devices.register(BACKEND, till(), KEY)
    world.given(device.id, builders.device_paired())
    again, code, _ = await devices.register(BACKEND, till(), KEY)
    assert (again.status, code) == ("active", None)


async def test_another_device_under_the_same_key_is_refused() -> None:
    world = World()
    await world.devices().register(BACKEND, till(), KEY)
    with pytest.raises(Invalid, match="idempotency_key_reused"):
        await world.devices().register(BACKEND, till(serial="SN-2"), KEY)


async def test_a_registration_that_died_before_its_code_is_finished_by_its_repeat() -> None:
    world = World()
    world.log.before(d.DevicePairingCodeIssued, kill)
    with pytest.raises(Killed):
        await world.devices().register(BACKEND, till(), KEY)
    assert codes(world) == []
    device, code, _ = await world.devices().register(BACKEND, till(), KEY)
    assert code is not None
    assert found_by(world, code).device_id == device.id


async def test_two_registrations_with_one_key_show_one_device_and_one_code_in_every_order() -> None:
    async def check(world: World, first: object, second: object) -> None:
        assert isinstance(first, tuple), first
        assert isinstance(second, tuple), second
        assert first[:2] == second[:2]
        assert len(codes(world)) == 1

    async def scene() -> tuple[World, list[Coroutine[Any, Any, object]]]:
        world = World()
        return world, [world.devices().register(BACKEND, till(), KEY) for _ in range(2)]

    await race(scene, check, steps=16)


def _suspended(world: World) -> None:
    world.given(SERVICE, builders.linked_service_suspended())


def _as_it_is(world: World) -> None:
    del world


@pytest.mark.parametrize(
    ("arrange", "registered", "code"),
    [
        (_as_it_is, till(bound_product="parking"), "linked_service_not_found"),
        (_suspended, till(), "linked_service_not_found"),
        (_as_it_is, till(bound_action="open"), "action_not_allowed"),
        (_as_it_is, till(bound_product=None), "binding_required"),
        (
            _as_it_is,
            till(type="kiosk", bound_product=None, bound_action="pay"),
            "binding_required",
        ),
        (_as_it_is, till(type="personal_scanner"), "binding_forbidden"),
    ],
)
async def test_a_binding_that_makes_no_sense_registers_nothing(
    arrange: Callable[[World], None], registered: d.DeviceRegistered, code: str
) -> None:
    world = World()
    arrange(world)
    before = len(world.log.read_now())
    with pytest.raises(Invalid) as raised:
        await world.devices().register(BACKEND, registered, None)
    assert raised.value.code == code
    assert len(world.log.read_now()) == before


@pytest.mark.parametrize("actions", [(), ("pay",)])
async def test_a_device_may_be_bound_to_what_the_service_allows(actions: tuple[str, ...]) -> None:
    world = World()
    world.routing(allowed_actions=actions)
    device, _, _ = await world.devices().register(BACKEND, till(), None)
    assert device.registered.bound_product == "wallet"


async def test_a_device_without_a_product_needs_no_binding() -> None:
    world = World()
    scanner = till(type="personal_scanner", bound_product=None, bound_action=None)
    device, code, _ = await world.devices().register(BACKEND, scanner, None)
    assert device.registered == scanner
    assert code is not None


async def test_a_new_code_ends_the_one_before() -> None:
    world = World()
    devices = world.devices()
    device, first, _ = await devices.register(BACKEND, till(), None)
    second, done = await devices.issue_pairing_code(BACKEND, device.id, None)
    assert first is not None
    assert first.code != second.code
    assert found_by(world, second).code_number == 2
    assert (await devices.get(BACKEND.tenant_id, device.id)).code_number == 2
    assert done.position == len(world.log.read_now())


async def test_a_repeat_shows_the_code_that_was_issued_and_ends_nothing() -> None:
    world = World()
    devices = world.devices()
    device, _, _ = await devices.register(BACKEND, till(), None)
    code, done = await devices.issue_pairing_code(BACKEND, device.id, "second code")
    again, repeated = await devices.issue_pairing_code(BACKEND, device.id, "second code")
    assert again == code
    assert len(codes(world)) == 2
    assert repeated.events == ()
    assert done.position is not None


async def test_a_key_is_each_devices_own() -> None:
    world = World()
    devices = world.devices()
    one, _, _ = await devices.register(BACKEND, till(), None)
    other, _, _ = await devices.register(BACKEND, till(), None)
    first, _ = await devices.issue_pairing_code(BACKEND, one.id, "a code")
    second, _ = await devices.issue_pairing_code(BACKEND, other.id, "a code")
    assert first.code != second.code


async def test_a_revoked_device_may_get_a_code_again_and_an_active_one_not() -> None:
    world = World()
    with pytest.raises(Conflict, match="device_already_paired"):
        await world.devices().issue_pairing_code(BACKEND, DEVICE, None)
    await world.devices().revoke(BACKEND, DEVICE, "lost", None)
    code, _ = await world.devices().issue_pairing_code(BACKEND, DEVICE, None)
    assert found_by(world, code).code_number == 2


async def test_a_code_that_a_newer_one_ended_at_once_is_not_shown() -> None:
    """Another request paired the device before this one could show what it issued."""
    world = World()
    device, _, _ = await world.devices().register(BACKEND, till(), None)

    async def pair() -> None:
        world.given(device.id, builders.device_paired(code_number=2))

    world.log.after(d.DevicePairingCodeIssued, pair)
    with pytest.raises(Conflict, match="pairing_code_superseded"):
        await world.devices().issue_pairing_code(BACKEND, device.id, None)


async def test_a_revoked_device_is_refused_here_at_once() -> None:
    world = World()
    done = await world.devices().revoke(BACKEND, DEVICE, "stolen", None)
    fingerprint = builders.device_paired.default.fingerprint
    assert world.events(DEVICE)[-1] == d.DeviceRevoked(reason="stolen", fingerprints=(fingerprint,))
    assert world.revocations.refused == [fingerprint]
    assert done.position == len(world.log.read_now())


async def test_nobody_is_refused_before_the_revocation_is_durable() -> None:
    """And a revocation that is not, refuses nobody."""
    world = World()
    world.log.before(d.DeviceRevoked, kill)
    with pytest.raises(Killed):
        await world.devices().revoke(BACKEND, DEVICE, "lost", None)
    assert world.revocations.refused == []
    assert "device.revoked" not in world.names(DEVICE)


async def test_revoking_twice_says_nothing_twice() -> None:
    world = World()
    await world.devices().revoke(BACKEND, DEVICE, "lost", None)
    done = await world.devices().revoke(BACKEND, DEVICE, "retired", None)
    assert (done.events, done.position) == ([], None)
    assert world.names(DEVICE).count("device.revoked") == 1


async def test_a_device_that_was_never_paired_holds_nothing_to_refuse() -> None:
    world = World()
    device, _, _ = await world.devices().register(BACKEND, till(), None)
    await world.devices().revoke(BACKEND, device.id, "replaced", None)
    assert world.events(device.id)[-1] == d.DeviceRevoked(reason="replaced", fingerprints=())
    assert world.revocations.refused == []


@pytest.mark.parametrize(("if_version", "revoked"), [(3, True), (None, True), (2, False)])
async def test_a_caller_who_looked_at_an_older_version_is_told(
    if_version: int | None, revoked: bool
) -> None:
    world = World()
    if revoked:
        await world.devices().revoke(BACKEND, DEVICE, "lost", if_version)
    else:
        with pytest.raises(PreconditionFailed, match="version_mismatch"):
            await world.devices().revoke(BACKEND, DEVICE, "lost", if_version)
    assert ("device.revoked" in world.names(DEVICE)) == revoked


async def test_a_revocation_that_meets_another_decides_again() -> None:
    world = World()

    async def the_other() -> None:
        await world.devices().revoke(BACKEND, DEVICE, "stolen", None)

    world.log.before(d.DeviceRevoked, the_other)
    await world.devices().revoke(BACKEND, DEVICE, "lost", None)
    assert world.names(DEVICE).count("device.revoked") == 1


@pytest.mark.parametrize(
    "device_id", [OTHER_DEVICE, DeviceId(USER), DeviceId(SERVICE)], ids=["none", "user", "service"]
)
@pytest.mark.parametrize("theirs", [False, True])
async def test_unknown_foreign_and_other_things_ids_all_look_the_same(
    device_id: DeviceId, theirs: bool
) -> None:
    world = World()
    if theirs and device_id == OTHER_DEVICE:
        world.given(OTHER_DEVICE, builders.device_registered(), tenant_id=OTHER_TENANT)
    devices = world.devices()
    for asked in (
        devices.get(BACKEND.tenant_id, device_id),
        devices.issue_pairing_code(BACKEND, device_id, None),
        devices.revoke(BACKEND, device_id, "lost", None),
    ):
        with pytest.raises(NotFound) as raised:
            await asked
        assert raised.value.code == "device_not_found"
