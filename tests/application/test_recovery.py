"""A device that is shut out is told why, and comes back by the key that it has."""

from datetime import timedelta
from uuid import UUID

import pytest

from application.fleet.certificates import Pairing
from application.fleet.recovery import Action, Recoveries, Standing
from application.ports.recovery import DeviceProof, ProofKind
from domain import device as d
from domain.errors import Conflict, Forbidden, Malformed, TooMany, Unauthenticated
from tests import builders
from tests.application.fleet import DAY_S, Fleet
from tests.application.test_renewals import fingerprint_of, speaking
from tests.application.world import TILL
from tests.builders import DEVICE
from tests.spec import CORRELATION, TENANT

ADDRESS = "192.0.2.7"


class Desk:
    """A fleet and whoever stands at the listener that wants no certificate."""

    def __init__(self) -> None:
        self.fleet = Fleet()
        self.nonces: set[str] = set()
        self.fingerprint = TILL.fingerprint
        self.slow = timedelta(0)
        self.csr: str | None = "key K1"
        self.attestation: tuple[str, ...] | None = None

    def read(self, proof: str, kind: ProofKind) -> DeviceProof:
        """`DeviceProofs`: a proof is its kind and its nonce."""
        said, _, nonce = proof.partition(" ")
        if said != kind:
            raise Unauthenticated("proof_invalid")
        return DeviceProof(
            tenant_id=TENANT,
            device_id=DEVICE,
            fingerprint=self.fingerprint,
            nonce=nonce,
            made_at=self.fleet.world.clock.now() - self.slow,
            csr=self.csr,
            attestation=self.attestation,
        )

    async def issue(self, now: object, lifetime_s: int) -> str:
        """`Nonces`."""
        del now, lifetime_s
        self.nonces.add(nonce := self.fleet.world.ids.uuid().hex)
        return nonce

    async def use(self, nonce: str, now: object) -> bool:
        del now
        known = nonce in self.nonces
        self.nonces.discard(nonce)
        return known

    def recoveries(self) -> Recoveries:
        world = self.fleet.world
        return Recoveries(
            world.log,
            self.fleet.renewals(),
            world.authority,
            self,
            self,
            world.limiter,
            world.clock,
        )

    async def standing(self) -> tuple[Standing, Action]:
        nonce = await self.recoveries().nonce(ADDRESS)
        found = await self.recoveries().status(f"device-cert-status+jwt {nonce}")
        assert found.server_time == self.fleet.world.clock.now()
        return found.status, found.action

    async def recover(self) -> Pairing:
        nonce = await self.recoveries().nonce(ADDRESS)
        proof = f"device-cert-recovery+jwt {nonce}"
        return await self.recoveries().recover(proof, UUID(int=CORRELATION.int))


async def test_a_device_is_told_where_its_certificate_stands() -> None:
    """The certificate of the till is good for 90 days."""
    desk = Desk()
    world = desk.fleet.world
    assert await desk.standing() == ("valid", "none")
    desk.slow = timedelta(minutes=3)
    assert await desk.standing() == ("clock_skew", "none")
    desk.slow = timedelta(0)
    await desk.fleet.queue("lock")
    assert await desk.standing() == ("locked", "contact_admin")
    await desk.fleet.queue("unlock")
    world.clock.advance(61 * DAY_S)
    assert await desk.standing() == ("valid", "renew")
    world.clock.advance(29 * DAY_S)
    assert await desk.standing() == ("expired_recoverable", "recover")
    world.clock.advance(30 * DAY_S)
    assert await desk.standing() == ("expired_recoverable", "recover")
    world.clock.advance(1)
    assert await desk.standing() == ("expired", "re_pair")
    world.given(DEVICE, d.DeviceRevoked(reason="lost", fingerprints=()))
    assert await desk.standing() == ("revoked", "contact_admin")
    world.given(DEVICE, builders.device_pairing_code_issued(code_number=2))
    assert await desk.standing() == ("revoked", "re_pair")
    world.given(DEVICE, builders.device_paired(code_number=2, fingerprint="f2" * 32))
    assert await desk.standing() == ("superseded", "re_pair")


async def test_a_lapsed_device_comes_back_and_the_same_request_gets_the_same() -> None:
    desk = Desk()
    desk.fleet.world.clock.advance(100 * DAY_S)
    recovered = await desk.recover()
    assert await desk.recover() == recovered
    (told,) = desk.fleet.world.events(DEVICE)[3:]
    assert isinstance(told, d.DeviceCertificateRenewed)
    assert (told.recovered, told.replaces) == (True, TILL.fingerprint)
    state = await desk.fleet.world.devices().get(TENANT, DEVICE)
    now = desk.fleet.world.clock.now()
    assert state.holds(fingerprint_of(recovered), now)
    assert not state.holds(TILL.fingerprint, now)


async def test_a_device_that_lost_its_new_key_before_using_it_comes_back_too() -> None:
    desk = Desk()
    desk.fleet.world.clock.advance(89 * DAY_S)
    await desk.fleet.renewals().renew(TILL, "key LOST")
    desk.fleet.world.clock.advance(5 * DAY_S)
    assert await desk.standing() == ("expired_recoverable", "recover")
    await desk.recover()
    assert desk.fleet.world.names(DEVICE)[3:] == ["device.certificate_renewed"] * 2


async def test_who_has_a_newer_certificate_in_use_does_not_come_back_with_the_old() -> None:
    desk = Desk()
    desk.fleet.world.clock.advance(88 * DAY_S)
    kept = fingerprint_of(await desk.fleet.renewals().renew(TILL, "key KEPT"))
    await desk.fleet.renewals().used(speaking(kept))
    desk.fleet.world.clock.advance(5 * DAY_S)
    with pytest.raises(Conflict, match="certificate_superseded"):
        await desk.recover()
    assert await desk.standing() == ("superseded", "re_pair")


async def test_a_certificate_that_is_good_renews_itself() -> None:
    with pytest.raises(Conflict, match="certificate_not_expired"):
        await Desk().recover()


async def test_the_window_closes_as_the_tenant_says() -> None:
    desk = Desk()
    desk.fleet.world.settings(certificate_lapsed_days=2)
    desk.fleet.world.clock.advance(92 * DAY_S + 1)
    with pytest.raises(Forbidden, match="recovery_window_passed"):
        await desk.recover()


async def test_a_revoked_device_does_not_come_back() -> None:
    desk = Desk()
    desk.fleet.world.clock.advance(91 * DAY_S)
    desk.fleet.world.given(DEVICE, d.DeviceRevoked(reason="lost", fingerprints=()))
    with pytest.raises(Forbidden, match="device_revoked"):
        await desk.recover()


async def test_a_proof_counts_once_and_for_what_it_was_made() -> None:
    desk = Desk()
    desk.fleet.world.clock.advance(91 * DAY_S)
    nonce = await desk.recoveries().nonce(ADDRESS)
    proof = f"device-cert-status+jwt {nonce}"
    with pytest.raises(Unauthenticated, match="proof_invalid"):
        await desk.recoveries().recover(proof, CORRELATION)
    await desk.recoveries().status(proof)
    with pytest.raises(Unauthenticated, match="proof_invalid"):
        await desk.recoveries().status(proof)


async def test_a_proof_without_a_request_and_an_address_without_end() -> None:
    desk = Desk()
    desk.fleet.world.clock.advance(91 * DAY_S)
    desk.csr = None
    with pytest.raises(Malformed, match="csr_invalid"):
        await desk.recover()
    for _ in range(29):
        await desk.recoveries().nonce(ADDRESS)
    with pytest.raises(TooMany, match="rate_limited"):
        await desk.recoveries().nonce(ADDRESS)
