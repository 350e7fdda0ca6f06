"""The device CA changes under a till: it renews early, is told when, and is never stranded."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from uuid import uuid4

import msgspec
import pytest

from application.fleet.device_cas import REGENERATE, DeviceCAs
from application.ports import StaleStream
from application.ports.pki import CertificateHolder
from application.principals import Caller, OperatorPrincipal, operator
from domain import device_ca as ca
from domain.errors import Conflict, Forbidden, Invalid, PreconditionFailed
from domain.ids import PLATFORM, OperatorId, OperatorSessionId
from tests.application.test_recovery import Desk
from tests.application.test_renewals import fingerprint_of
from tests.application.world import BACKEND, TILL
from tests.builders import DEVICE, NOW
from tests.spec import CORRELATION

OPERATOR = operator(PLATFORM, CORRELATION)


def platform_admin() -> OperatorPrincipal:
    """A console person."""
    operator_id = OperatorId(uuid4())
    return OperatorPrincipal(
        tenant_id=PLATFORM,
        actor=f"operator:opr_{operator_id.hex}",
        correlation_id=CORRELATION,
        operator_id=operator_id,
        session_id=OperatorSessionId(uuid4()),
        authenticated_at=NOW,
        home=PLATFORM,
        role="platform_admin",
    )


class Rotation:
    """A desk with a fleet behind it, and whoever changes its CA; `on` counts devices by CA."""

    def __init__(self) -> None:
        self.desk = Desk()
        self.fleet = self.desk.fleet
        self.world = self.fleet.world
        self.on: dict[int, int] = {1: 1}
        self.made = 1
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    async def make(self, above: int) -> ca.MadeAuthority:
        """`AuthorityMaker`."""
        self.made = max(self.made, above) + 1
        return ca.MadeAuthority(
            authority=self.made,
            certificate_pem=f"chain {self.made}",
            fingerprint="ca" * 32,
            not_after=self.world.clock.now() + timedelta(days=3650),
        )

    async def counts(self) -> Mapping[int, int]:
        """`CertificateHolders`; what is to happen `meanwhile` has happened before they answer."""
        counted, meanwhile, self.meanwhile = dict(self.on), self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return counted

    async def of_others(self, authority: int, limit: int) -> Sequence[CertificateHolder]:
        del authority, limit
        return []

    @property
    def cas(self) -> DeviceCAs:
        return DeviceCAs(self.world.log, self, self, self.world.approvals(), self.world.ids)

    async def followed(self) -> ca.DeviceCA:
        """The process hears of it."""
        self.world.authority.state = ca.rebuild(await self.world.log.load(PLATFORM, ca.DEVICE_CA))
        return self.world.authority.state

    async def agreed(self, caller: Caller) -> Caller:
        """The caller, with what a console person agreed to."""
        asked = await self.cas.ask_regeneration(caller, REGENERATE)
        await self.world.approvals().give(platform_admin(), asked.id)
        return msgspec.structs.replace(caller, approval_id=asked.id)

    async def issuing(self, *, spread_s: int = 0) -> None:
        await self.cas.announce(OPERATOR)
        await self.cas.issue(OPERATOR, spread_s=spread_s)
        await self.followed()


async def test_a_device_on_the_old_ca_renews_at_any_time_and_is_told_when() -> None:
    rotation = Rotation()
    fleet = rotation.fleet
    with pytest.raises(Conflict, match="renewal_too_early"):
        await fleet.renewals().renew(TILL, "key K1")
    await rotation.issuing(spread_s=7200)
    told = (await fleet.beat()).renew_after
    assert told == rotation.world.authority.state.renewal_from(DEVICE)
    renewed = await fleet.renewals().renew(TILL, "key K1")
    assert rotation.world.authority.issued[renewed.certificate_pem].authority == 2
    assert renewed.renew_after > told + timedelta(days=30)


async def test_the_old_ca_stays_while_somebody_is_on_it() -> None:
    rotation = Rotation()
    await rotation.issuing()
    with pytest.raises(Conflict, match="devices_left_behind"):
        await rotation.cas.finalize(OPERATOR)
    rotation.on = {2: 1}
    await rotation.cas.finalize(OPERATOR)
    assert (await rotation.followed()).trusted == (2,)
    standing = await rotation.cas.standing()
    assert (standing.on_issuing, standing.devices) == (1, {2: 1})


async def test_a_device_that_was_left_behind_comes_back_by_its_key() -> None:
    rotation = Rotation()
    await rotation.issuing()
    await rotation.cas.finalize(OPERATOR, force=True)
    await rotation.followed()
    assert await rotation.desk.standing() == ("ca_retired", "recover")
    recovered = await rotation.desk.recover()
    assert rotation.world.authority.issued[recovered.certificate_pem].authority == 2
    rotation.desk.fingerprint = fingerprint_of(recovered)
    assert await rotation.desk.standing() == ("valid", "none")


async def test_after_a_regeneration_there_is_no_way_but_to_pair_anew() -> None:
    rotation = Rotation()
    with pytest.raises(Invalid, match="confirmation_wrong"):
        await rotation.cas.regenerate(OPERATOR, "yes")
    with pytest.raises(Conflict, match="device_already_paired"):
        await rotation.world.devices().issue_pairing_code(BACKEND, DEVICE, None)
    agreed = await rotation.agreed(OPERATOR)
    await rotation.cas.regenerate(agreed, REGENERATE)
    await rotation.followed()
    assert await rotation.desk.standing() == ("ca_retired", "re_pair")
    with pytest.raises(Forbidden, match="device_ca_distrusted"):
        await rotation.desk.recover()
    await rotation.world.devices().issue_pairing_code(BACKEND, DEVICE, None)
    assert await rotation.desk.standing() == ("revoked", "re_pair")


@pytest.mark.parametrize("who", ["console", "command line"])
async def test_what_is_regenerated_another_agreed_to_and_once(who: str) -> None:
    """Seen to fail without the approval in the commit, and with another operation's name there."""
    rotation = Rotation()
    approvals = rotation.world.approvals()
    one: Caller = platform_admin() if who == "console" else OPERATOR
    other = platform_admin()
    with pytest.raises(Forbidden, match="approval_required"):
        await rotation.cas.regenerate(one, REGENERATE)
    asked = await approvals.ask(one, "ca.regenerate", PLATFORM)
    agreed = msgspec.structs.replace(one, approval_id=asked.id)
    with pytest.raises(Forbidden, match="approval_required"):
        await rotation.cas.regenerate(agreed, REGENERATE)
    with pytest.raises(Forbidden, match="approval_needs_another_person"):
        await approvals.give(one, asked.id)
    await approvals.give(other, asked.id)
    assert (await rotation.followed()).trusted == (1,)
    await rotation.cas.regenerate(agreed, REGENERATE)
    assert (await rotation.followed()).trusted == (2,)
    assert (await approvals.get(PLATFORM, asked.id)).decision == "carried_out"
    with pytest.raises(Conflict, match="approval_decided"):
        await rotation.cas.regenerate(agreed, REGENERATE)
    assert (await rotation.followed()).trusted == (2,)


async def test_a_step_back_makes_the_old_ca_issue_again() -> None:
    rotation = Rotation()
    await rotation.issuing()
    rotation.on = {1: 1, 2: 3}
    await rotation.cas.roll_back(OPERATOR)
    state = await rotation.followed()
    assert (state.phase, state.trusted) == ("announced", (1, 2))
    with pytest.raises(Conflict, match="devices_left_behind"):
        await rotation.cas.roll_back(OPERATOR)
    rotation.on = {1: 4}
    await rotation.cas.roll_back(OPERATOR)
    assert (await rotation.followed()).trusted == (1,)
    await rotation.cas.announce(OPERATOR)
    assert (await rotation.followed()).other == 3


async def test_of_two_steps_back_at_once_one_is_taken() -> None:
    """Before, the second withdrew the CA of the whole fleet: it had counted the holders of the
    other one, and decided again on what the first had left."""
    rotation = Rotation()
    await rotation.issuing()
    rotation.on = {2: 40}
    rotation.meanwhile = lambda: rotation.cas.roll_back(OPERATOR)
    with pytest.raises(StaleStream):
        await rotation.cas.roll_back(OPERATOR)
    state = await rotation.followed()
    assert (state.phase, state.trusted) == ("announced", (1, 2))


async def test_a_step_back_that_is_asked_for_again_is_taken_once() -> None:
    """Fails where `if_version` is not looked at: nobody is on either CA, so nothing else holds."""
    rotation = Rotation()
    await rotation.issuing()
    rotation.on = {}
    version = (await rotation.followed()).version
    await rotation.cas.roll_back(OPERATOR, if_version=version)
    with pytest.raises(PreconditionFailed, match="version_mismatch"):
        await rotation.cas.roll_back(OPERATOR, if_version=version)
    assert (await rotation.followed()).phase == "announced"


async def test_no_key_is_made_for_a_rotation_that_is_refused() -> None:
    rotation = Rotation()
    await rotation.issuing()
    with pytest.raises(Conflict, match="rotation_under_way"):
        await rotation.cas.announce(OPERATOR)
    assert rotation.made == 2
