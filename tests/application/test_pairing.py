"""A code and a key become a device, once; a lost answer does no harm (003 §3.9)."""

from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest

from application.fleet.certificates import Pairing
from application.fleet.pairing import (
    FAILURE_WINDOW_S,
    FAILURES_OF_PLATFORM,
    TRIES_PER_ADDRESS,
)
from application.fleet.pairing_codes import IssuedPairingCode
from application.ports import CommitFailed
from domain import claim as k
from domain import device as d
from domain.errors import Conflict, Malformed, NotFound, Refusal, TooMany
from domain.ids import PLATFORM, DeviceId, claim_id
from domain.pairing_code import LIFETIME_S
from tests import builders
from tests.application.turns import race
from tests.application.world import BACKEND, World, raising
from tests.spec import CORRELATION, TENANT

ADDRESS = "192.0.2.7"
INFO = {"model": "X1"}


async def expected(world: World, number: int = 1) -> tuple[DeviceId, IssuedPairingCode]:
    """A device that waits for its pairing, and its code."""
    registered = builders.device_registered(name=f"Till {number}")
    device, code, _ = await world.devices().register(BACKEND, registered, None)
    assert code is not None
    return device.id, code


async def pair(world: World, code: str, csr: str = "key K1", *, address: str = ADDRESS) -> Pairing:
    return await world.pairings().pair(code, csr, INFO, address=address, correlation_id=CORRELATION)


async def test_the_holder_of_the_key_is_the_device_from_now_on() -> None:
    world = World()
    world.settings(certificate_days=30, certificate_renew_percent=50)
    device_id, code = await expected(world)
    pairing = await pair(world, code.code)
    (issued,) = world.authority.issued.values()
    assert pairing == Pairing(
        tenant_id=TENANT,
        device_id=device_id,
        certificate_pem=issued.certificate_pem,
        chain_pem="chain",
        ca_bundle_pem="bundle",
        not_after=world.clock.now() + timedelta(days=30),
        renew_after=world.clock.now() + timedelta(days=15),
    )
    device = await world.devices().get(TENANT, device_id)
    assert device.status == "active"
    assert device.holds(issued.fingerprint_sha256, world.clock.now())
    paired = world.log.stream(device_id)[-1]
    assert paired.actor == f"device:dev_{device_id.hex}"
    assert paired.correlation_id == CORRELATION
    assert isinstance(paired.event, d.DevicePaired)
    assert paired.event.info == INFO


async def test_code_key_and_device_stand_in_one_commit() -> None:
    world = World()
    device_id, code = await expected(world)
    world.trace.clear()
    await pair(world, code.code)
    assert world.trace == [
        "committed pairing_code.redeemed",
        "committed claim.taken",
        "committed device.paired",
    ]
    key = world.authority.examine("key K1").spki_sha256
    assert world.events(claim_id(PLATFORM, k.DEVICE_KEY, key)) == [
        k.ClaimTaken(kind=k.DEVICE_KEY, owner=device_id)
    ]


@pytest.mark.parametrize("hyphen", ["-", " ", "", " - "])
@pytest.mark.parametrize("lower", [True, False])
async def test_a_code_is_read_as_people_type_it(hyphen: str, lower: bool) -> None:
    world = World()
    device_id, code = await expected(world)
    typed = code.code.replace("-", hyphen)
    assert (await pair(world, typed.lower() if lower else typed)).device_id == device_id


async def test_a_key_of_a_kind_that_the_tenant_does_not_want_leaves_the_code_as_it_was() -> None:
    """Seen to fail without the tenant's kinds asked about."""
    world = World()
    world.settings(certificate_key_types=("p256", "p384"))
    _, code = await expected(world)
    with pytest.raises(Malformed, match="key_policy_violation"):
        await pair(world, code.code, "key RSA1")
    assert (await pair(world, code.code, "key K1")).device_id


async def test_the_same_key_gets_the_same_certificate_again_while_the_code_lives() -> None:
    world = World()
    _, code = await expected(world)
    first = await pair(world, code.code)
    world.clock.advance(LIFETIME_S - 1)
    assert await pair(world, code.code) == first
    assert len(world.authority.issued) == 1
    world.clock.advance(1)
    with pytest.raises(NotFound, match="pairing_code_invalid"):
        await pair(world, code.code)


async def test_an_answer_lost_between_commit_and_reply_is_given_again() -> None:
    world = World()
    _, code = await expected(world)
    world.log.after(d.DevicePaired, raising(CommitFailed("the line was cut")))
    with pytest.raises(CommitFailed):
        await pair(world, code.code)
    (issued,) = world.authority.issued.values()
    assert (await pair(world, code.code)).certificate_pem == issued.certificate_pem


async def _revoked(world: World, device_id: DeviceId) -> None:
    await world.devices().revoke(BACKEND, device_id, "lost", None)


async def _given_a_newer_code(world: World, device_id: DeviceId) -> None:
    await world.devices().issue_pairing_code(BACKEND, device_id, None)


async def _left_until_the_end(world: World, device_id: DeviceId) -> None:
    del device_id
    world.clock.advance(LIFETIME_S)


@pytest.mark.parametrize("happens", [_revoked, _given_a_newer_code, _left_until_the_end])
async def test_a_code_that_ended_is_no_code(
    happens: Callable[[World, DeviceId], Awaitable[None]],
) -> None:
    world = World()
    device_id, code = await expected(world)
    await happens(world, device_id)
    with pytest.raises(NotFound) as raised:
        await pair(world, code.code)
    assert raised.value.code == "pairing_code_invalid"
    assert world.authority.issued == {}


async def test_a_revoked_device_gets_no_answer_again() -> None:
    world = World()
    device_id, code = await expected(world)
    await pair(world, code.code)
    await _revoked(world, device_id)
    with pytest.raises(NotFound, match="pairing_code_invalid"):
        await pair(world, code.code)


async def test_a_device_paired_anew_is_not_told_by_its_old_code() -> None:
    world = World()
    device_id, old = await expected(world)
    await pair(world, old.code)
    await _revoked(world, device_id)
    new, _ = await world.devices().issue_pairing_code(BACKEND, device_id, None)
    assert (await pair(world, new.code, "key K2")).device_id == device_id
    with pytest.raises(NotFound, match="pairing_code_invalid"):
        await pair(world, old.code)


@pytest.mark.parametrize("code", ["", "K7Q-2ZM-9XP", "K7Q", "K7Q-2ZM-9XP-1", "\u212a7Q-2ZM-9XP"])
async def test_wrong_and_malformed_codes_are_the_same_refusal(code: str) -> None:
    world = World()
    await expected(world)
    with pytest.raises(NotFound, match="pairing_code_invalid"):
        await pair(world, code)


async def test_another_key_does_not_get_a_used_code() -> None:
    world = World()
    _, code = await expected(world)
    await pair(world, code.code)
    with pytest.raises(NotFound, match="pairing_code_invalid"):
        await pair(world, code.code, "key K2")


async def test_a_key_is_one_device_for_ever() -> None:
    """Whatever the tenant, and whether or not the device still lives; the code stays good."""
    world = World()
    first, code = await expected(world)
    await pair(world, code.code)
    await _revoked(world, first)
    second, other = await expected(world, 2)
    with pytest.raises(Conflict, match="key_already_used"):
        await pair(world, other.code)
    assert (await pair(world, other.code, "key K2")).device_id == second


async def test_a_csr_that_is_none_does_not_use_the_code_up() -> None:
    world = World()
    device_id, code = await expected(world)
    with pytest.raises(Malformed, match="csr_invalid"):
        await pair(world, code.code, "nonsense")
    assert (await pair(world, code.code)).device_id == device_id


async def test_a_csr_bound_to_a_code_is_good_for_that_code_alone() -> None:
    world = World()
    device_id, code = await expected(world)
    with pytest.raises(Malformed, match="code_binding_mismatch"):
        await pair(world, code.code, "key K1 code ABCDEFGHI")
    with pytest.raises(Malformed, match="code_binding_mismatch"):
        await pair(world, code.code, "key K1 code nonsense")
    typed = code.code.lower()
    assert (await pair(world, typed, f"key K1 code {code.code}")).device_id == device_id


async def test_an_address_has_so_many_tries_a_minute() -> None:
    world = World()
    device_id, code = await expected(world)
    for _ in range(TRIES_PER_ADDRESS):
        with pytest.raises(NotFound):
            await pair(world, "AAA-AAA-AAA")
    with pytest.raises(TooMany) as raised:
        await pair(world, code.code)
    assert (raised.value.code, raised.value.retry_after_s) == ("rate_limited", 60)
    assert (await pair(world, code.code, address="192.0.2.8")).device_id == device_id


async def test_the_platform_pauses_pairing_when_too_much_fails() -> None:
    world = World()
    _, code = await expected(world)
    for number in range(FAILURES_OF_PLATFORM):
        with pytest.raises(NotFound):
            await pair(world, "AAA-AAA-AAA", address=f"address {number}")
    with pytest.raises(TooMany) as raised:
        await pair(world, code.code)
    assert (raised.value.code, raised.value.retry_after_s) == ("pairing_paused", FAILURE_WINDOW_S)
    world.clock.advance(2 * FAILURE_WINDOW_S)
    _, other = await expected(world, 2)
    assert await pair(world, other.code)


async def test_what_succeeds_does_not_count_as_failing() -> None:
    world = World()
    _, code = await expected(world)
    for number in range(FAILURES_OF_PLATFORM + 1):
        await pair(world, code.code, address=f"address {number}")


async def _same_device(world: World, first: object, second: object) -> None:
    """Both are told the same, and nobody's budget was touched."""
    assert isinstance(first, Pairing), first
    assert first == second
    names = [each.event.NAME for each in world.log.read_now()]
    assert names.count("pairing_code.redeemed") == 1
    failures = ("pairing.failures", "platform")
    assert await world.limiter.room(*failures, limit=1, per_s=FAILURE_WINDOW_S)


async def test_one_key_sent_twice_at_once_is_told_the_same_in_every_order() -> None:
    async def scene() -> tuple[World, list[Coroutine[Any, Any, Pairing]]]:
        world = World()
        _, code = await expected(world)
        return world, [pair(world, code.code) for _ in range(2)]

    await race(scene, _same_device, steps=10)


def _one_of_two(first: object, second: object, refusal: str) -> None:
    told = [each for each in (first, second) if isinstance(each, Pairing)]
    refused = [each for each in (first, second) if isinstance(each, Refusal)]
    assert (len(told), [str(each) for each in refused]) == (1, [refusal])


async def test_of_two_keys_with_one_code_one_becomes_the_device_in_every_order() -> None:
    async def scene() -> tuple[World, list[Coroutine[Any, Any, Pairing]]]:
        world = World()
        _, code = await expected(world)
        return world, [pair(world, code.code, f"key K{number}") for number in range(2)]

    async def check(world: World, first: object, second: object) -> None:
        _one_of_two(first, second, "pairing_code_invalid")
        names = [each.event.NAME for each in world.log.read_now()]
        assert names.count("pairing_code.redeemed") == 1

    await race(scene, check, steps=10)


async def test_of_two_codes_with_one_key_one_becomes_a_device_in_every_order() -> None:
    async def scene() -> tuple[World, list[Coroutine[Any, Any, Pairing]]]:
        world = World()
        codes = [(await expected(world, number))[1].code for number in range(2)]
        return world, [pair(world, code) for code in codes]

    async def check(world: World, first: object, second: object) -> None:
        _one_of_two(first, second, "key_already_used")
        names = [each.event.NAME for each in world.log.read_now()]
        assert names.count("pairing_code.redeemed") == 1

    await race(scene, check, steps=10)
