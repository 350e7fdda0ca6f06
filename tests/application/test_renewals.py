"""A device has a new certificate before the old one ends, and nobody is stranded."""

import asyncio
import hashlib
from datetime import timedelta

import msgspec
import pytest

from application.fleet.certificates import Pairing
from application.principals import DevicePrincipal
from domain import claim as k
from domain.errors import Conflict, Malformed, Unauthenticated
from domain.ids import PLATFORM, claim_id
from tests.application.fleet import DAY_S, Fleet
from tests.application.world import (
    BACKEND,
    TILL,
)
from tests.builders import DEVICE
from tests.spec import TENANT


def speaking(fingerprint: str) -> DevicePrincipal:
    return msgspec.structs.replace(TILL, fingerprint=fingerprint)


def fingerprint_of(pairing: Pairing) -> str:
    return hashlib.sha256(pairing.certificate_pem.encode()).hexdigest()


async def test_a_device_renews_when_it_is_time_and_the_same_request_gets_the_same() -> None:
    fleet = Fleet()
    fleet.world.settings(certificate_days=90, certificate_renew_percent=50)
    with pytest.raises(Conflict, match="renewal_too_early") as raised:
        await fleet.renewals().renew(TILL, "key K1")
    due = fleet.world.clock.now() + timedelta(days=45)
    assert raised.value.extra == {"renew_after": due.isoformat()}
    assert (await fleet.beat()).renew_after == due
    fleet.world.clock.advance(45 * DAY_S)
    renewed = await fleet.renewals().renew(TILL, "key K1")
    assert renewed.not_after == fleet.world.clock.now() + timedelta(days=90)
    assert await fleet.renewals().renew(TILL, "key K1") == renewed
    assert fleet.world.names(DEVICE)[3:] == ["device.certificate_renewed"]


async def test_a_command_to_rotate_lets_it_renew_early() -> None:
    fleet = Fleet()
    await fleet.queue("rotate_cert", ttl_s=60)
    await fleet.renewals().renew(TILL, "key K1")
    fleet.world.clock.advance(60)
    with pytest.raises(Conflict, match="renewal_too_early"):
        await fleet.renewals().renew(TILL, "key K2")


async def test_every_key_is_for_one_certificate() -> None:
    fleet = Fleet()
    fleet.world.clock.advance(70 * DAY_S)
    await fleet.renewals().renew(TILL, "key K1")
    with pytest.raises(Malformed, match="key_reuse_forbidden"):
        await fleet.renewals().renew(TILL, "key K1 code X")
    taken = claim_id(PLATFORM, k.DEVICE_KEY, hashlib.sha256(b"K9").hexdigest())
    other = k.ClaimTaken(kind=k.DEVICE_KEY, owner=fleet.world.ids.uuid())
    fleet.world.given(taken, other, tenant_id=PLATFORM)
    with pytest.raises(Conflict, match="key_already_used"):
        await fleet.renewals().renew(TILL, "key K9")


async def test_a_renewal_is_by_a_kind_of_key_that_the_tenant_wants() -> None:
    """Seen to fail without the tenant's kinds asked about."""
    fleet = Fleet()
    fleet.world.settings(certificate_key_types=("p256",))
    fleet.world.clock.advance(70 * DAY_S)
    with pytest.raises(Malformed, match="key_policy_violation"):
        await fleet.renewals().renew(TILL, "key RSA1")
    assert (await fleet.renewals().renew(TILL, "key K1")).device_id == DEVICE


async def test_the_one_before_ends_a_day_after_the_new_one_is_used_and_not_sooner() -> None:
    """The new key may never have been written down: the old one still opens the door."""
    fleet = Fleet()
    fleet.world.clock.advance(70 * DAY_S)
    lost = fingerprint_of(await fleet.renewals().renew(TILL, "key LOST"))
    fleet.world.clock.advance(5 * DAY_S)
    await fleet.beat()
    kept = fingerprint_of(await fleet.renewals().renew(TILL, "key KEPT"))
    state = await fleet.world.devices().get(TENANT, DEVICE)
    now = fleet.world.clock.now()
    assert [state.holds(each, now) for each in (TILL.fingerprint, lost, kept)] == [
        True,
        False,
        True,
    ]
    for _ in range(2):
        await fleet.renewals().used(speaking(kept))
        fleet.world.clock.advance(1)
    state = await fleet.world.devices().get(TENANT, DEVICE)
    ends = now + timedelta(hours=24)
    assert state.holds(TILL.fingerprint, ends - timedelta(seconds=1))
    assert not state.holds(TILL.fingerprint, ends)
    assert state.holds(kept, ends)
    assert fleet.world.names(DEVICE)[3:] == [
        "device.certificate_renewed",
        "device.certificate_renewed",
        "device.certificate_taken_into_use",
    ]
    fleet.world.clock.advance(DAY_S)
    with pytest.raises(Unauthenticated, match="device_unknown"):
        await fleet.renewals().renew(TILL, "key K3")


async def test_a_heartbeat_with_the_old_certificate_ends_nothing() -> None:
    fleet = Fleet()
    fleet.world.clock.advance(70 * DAY_S)
    await fleet.renewals().renew(TILL, "key K1")
    await fleet.beat()
    assert fleet.world.names(DEVICE)[3:] == ["device.certificate_renewed"]


async def test_two_renewals_at_once_with_one_request_are_one() -> None:
    fleet = Fleet()
    fleet.world.clock.advance(70 * DAY_S)
    both = await asyncio.gather(*(fleet.renewals().renew(TILL, "key K1") for _ in range(2)))
    assert both[0] == both[1]
    assert fleet.world.names(DEVICE)[3:] == ["device.certificate_renewed"]


async def test_a_revocation_takes_both_certificates() -> None:
    fleet = Fleet()
    fleet.world.clock.advance(70 * DAY_S)
    newest = fingerprint_of(await fleet.renewals().renew(TILL, "key K1"))
    await fleet.world.devices().revoke(BACKEND, DEVICE, "stolen", None)
    assert sorted(fleet.world.revocations.refused) == sorted([TILL.fingerprint, newest])
