"""What a key must prove to be a device's: at the pairing, and never less afterwards.

Bugs that were planted and caught here: a refusal that used the code up, a renewal without a look at
the floor, a recovery that did not pass the chain on.
"""

import hashlib
from collections.abc import Coroutine
from typing import Any

import pytest

from application.fleet.certificates import Pairing
from application.fleet.pairing_codes import IssuedPairingCode
from domain import device as d
from domain.attestation import Attestation, AttestationPolicy, RequiredLevel
from domain.errors import Invalid
from domain.ids import DeviceId
from tests import builders
from tests.application.fleet import DAY_S, Fleet
from tests.application.test_pairing import ADDRESS
from tests.application.test_recovery import Desk
from tests.application.turns import race
from tests.application.world import BACKEND, TILL, World
from tests.builders import DEVICE
from tests.spec import CORRELATION, TENANT

KEY = hashlib.sha256(b"K1").hexdigest()


async def expected(
    world: World, least: RequiredLevel = "none", kind: d.DeviceType = "kiosk"
) -> tuple[DeviceId, IssuedPairingCode]:
    registered = d.DeviceRegistered(type=kind, name="A kiosk", attestation=least)
    device, code, _ = await world.devices().register(BACKEND, registered, None)
    assert code is not None
    return device.id, code


def attested(code: IssuedPairingCode | str, level: str) -> tuple[str, str]:
    drawn = code if isinstance(code, str) else code.code.replace("-", "")
    return level, hashlib.sha256(f"link-pair-v1:{drawn}".encode()).hexdigest()


async def pair(
    world: World, code: IssuedPairingCode, chain: tuple[str, str] | None, csr: str = "key K1"
) -> Pairing:
    return await world.pairings().pair(
        code.code, csr, {}, chain, address=ADDRESS, correlation_id=CORRELATION
    )


async def test_what_was_proved_is_part_of_the_device() -> None:
    world = World()
    device_id, code = await expected(world, "tee")
    await pair(world, code, attested(code, "strongbox"))
    assert world.attestations.asked == [KEY]
    device = await world.devices().get(TENANT, device_id)
    assert device.attestation == Attestation(level="strongbox", boot="verified", locked=True)
    assert device.assurance == "strongbox"


async def test_nothing_is_asked_for_unless_somebody_asks() -> None:
    world = World()
    device_id, code = await expected(world)
    await pair(world, code, None)
    assert (await world.devices().get(TENANT, device_id)).assurance == "unattested"


@pytest.mark.parametrize(
    ("policy", "own", "level", "refusal"),
    [
        ({"kiosk": "software"}, "none", None, ("attestation_required", None)),
        ({}, "software", None, ("attestation_required", None)),
        ({"gate": "strongbox"}, "none", None, None),
        ({"kiosk": "tee"}, "none", "software", ("attestation_invalid", "level_too_low")),
        ({"kiosk": "tee"}, "software", "software", ("attestation_invalid", "level_too_low")),
        ({"kiosk": "software"}, "tee", "software", ("attestation_invalid", "level_too_low")),
        ({"kiosk": "strongbox"}, "none", "tee", ("attestation_invalid", "level_too_low")),
        ({"kiosk": "strongbox"}, "tee", "strongbox", None),
        ({"kiosk": "software"}, "none", "software", None),
    ],
)
async def test_the_stricter_of_tenant_and_device_decides(
    policy: dict[str, Any],
    own: RequiredLevel,
    level: str | None,
    refusal: tuple[str, str | None] | None,
) -> None:
    world = World()
    world.settings(attestation=AttestationPolicy(**policy))
    device_id, code = await expected(world, own)
    chain = None if level is None else attested(code, level)
    if refusal is None:
        await pair(world, code, chain)
        return
    with pytest.raises(Invalid) as caught:
        await pair(world, code, chain)
    assert (caught.value.code, caught.value.extra.get("attestation_reason")) == refusal
    assert (await world.devices().get(TENANT, device_id)).status == "pending_pairing"
    assert world.authority.issued == {}, "nothing was signed"
    await pair(world, code, attested(code, "strongbox"))  # the code is still good


async def test_a_key_that_was_attested_for_another_code_is_refused() -> None:
    world = World()
    _, code = await expected(world)
    with pytest.raises(Invalid) as caught:
        await pair(world, code, attested("AAAAAAAAA", "tee"))
    assert caught.value.extra == {"attestation_reason": "challenge_mismatch"}


@pytest.mark.parametrize(
    ("boot", "locked", "reason"),
    [
        ("unverified", True, "boot_not_verified"),
        ("self_signed", True, "boot_not_verified"),
        ("verified", False, "device_unlocked"),
    ],
)
async def test_an_attested_device_runs_a_verified_system_unless_the_tenant_says_otherwise(
    boot: Any, locked: bool, reason: str
) -> None:
    world = World()
    world.attestations.boot, world.attestations.locked = boot, locked
    device_id, code = await expected(world)
    with pytest.raises(Invalid) as caught:
        await pair(world, code, attested(code, "tee"))
    assert caught.value.extra == {"attestation_reason": reason}
    world.settings(attestation=AttestationPolicy(verified_boot=False))
    await pair(world, code, attested(code, "tee"))
    device = await world.devices().get(TENANT, device_id)
    assert device.attestation == Attestation(level="tee", boot=boot, locked=locked)


async def test_of_two_attested_keys_one_becomes_the_device_in_every_order() -> None:
    async def scene() -> tuple[World, list[Coroutine[Any, Any, Pairing]]]:
        world = World()
        _, code = await expected(world, "tee")
        chains = (attested(code, "tee"), attested(code, "strongbox"))
        return world, [
            pair(world, code, chain, f"key K{number}") for number, chain in enumerate(chains)
        ]

    async def check(
        world: World, first: Pairing | BaseException, second: Pairing | BaseException
    ) -> None:
        (won,) = [each for each in (first, second) if isinstance(each, Pairing)]
        device = await world.devices().get(TENANT, won.device_id)
        assert device.assurance == ("tee" if won is first else "strongbox")

    await race(scene, check, steps=6)


async def test_a_lost_answer_is_given_again_without_another_look() -> None:
    world = World()
    _, code = await expected(world, "tee")
    first = await pair(world, code, attested(code, "tee"))
    assert await pair(world, code, None) == first


def renewing(level: str, fingerprint: str = TILL.fingerprint) -> tuple[str, str]:
    return level, hashlib.sha256(f"link-renew-v1:{fingerprint}".encode()).hexdigest()


def fleet_paired_with(attestation: Attestation | None) -> Fleet:
    fleet = Fleet()
    fleet.world.given(DEVICE, builders.device_pairing_code_issued(code_number=2))
    fleet.world.given(DEVICE, builders.device_paired(code_number=2, attestation=attestation))
    fleet.world.clock.advance(80 * DAY_S)
    return fleet


TEE = Attestation(level="tee", boot="verified", locked=True)


@pytest.mark.parametrize("level", ["tee", "strongbox"])
async def test_a_renewal_proves_as_much_as_the_pairing_did(level: str) -> None:
    fleet = fleet_paired_with(TEE)
    await fleet.renewals().renew(TILL, "key K1", renewing(level))
    (renewed,) = [
        each for each in fleet.world.events(DEVICE) if isinstance(each, d.DeviceCertificateRenewed)
    ]
    assert renewed.attestation is not None
    assert renewed.attestation.level == level
    device = await fleet.world.devices().get(TENANT, DEVICE)
    assert device.assurance == "tee", "as at the pairing"


@pytest.mark.parametrize("chain", [None, renewing("software")])
async def test_less_than_at_the_pairing_is_a_downgrade(chain: tuple[str, str] | None) -> None:
    fleet = fleet_paired_with(TEE)
    with pytest.raises(Invalid) as caught:
        await fleet.renewals().renew(TILL, "key K1", chain)
    assert caught.value.code == "attestation_downgrade"
    desk = Desk()
    desk.fleet, desk.attestation = fleet, chain
    fleet.world.clock.advance(15 * DAY_S)
    with pytest.raises(Invalid) as caught:
        await desk.recover()
    assert caught.value.code == "attestation_downgrade"
    desk.attestation = renewing("tee")
    await desk.recover()


async def test_a_key_attested_for_another_certificate_renews_nothing() -> None:
    fleet = fleet_paired_with(TEE)
    with pytest.raises(Invalid) as caught:
        await fleet.renewals().renew(TILL, "key K1", renewing("tee", "ab" * 32))
    assert caught.value.extra == {"attestation_reason": "challenge_mismatch"}


async def test_what_a_tenant_requires_of_new_devices_strands_none_that_it_has() -> None:
    fleet = fleet_paired_with(None)
    fleet.world.settings(attestation=AttestationPolicy(pos="strongbox"))
    await fleet.renewals().renew(TILL, "key K1")
