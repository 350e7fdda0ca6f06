"""Sign-up at a device: a code to a mobile, a person behind it.

004 diagram 4.4; design §2 rows 6 and 7.
"""

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest

from application.identifiers import identifier_claim
from application.people.one_time_codes import CODE_LIFETIME_S, RESEND_AFTER_S, Challenged
from application.people.signups import (
    GRANT_S,
    PER_DEVICE,
    PER_MOBILE,
    Verified,
)
from application.ports import CommitFailed
from application.principals import DevicePrincipal
from domain import claim as k
from domain import user as u
from domain.errors import (
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    Refusal,
    TooMany,
    Unauthenticated,
    Unavailable,
)
from domain.ids import ChallengeId
from tests import builders
from tests.application.turns import race
from tests.application.world import (
    MOBILE,
    OTHER_DEVICE,
    OTHER_TENANT,
    TILL,
    Killed,
    World,
    device,
    kill,
    raising,
)
from tests.builders import DEVICE
from tests.spec import STREAM, TENANT

OTHER_MOBILE = "+966501234568"


async def sign_up(world: World, mobile: str = MOBILE, *, at: DevicePrincipal = TILL) -> Challenged:
    return await world.sign_ups().sign_up(at, mobile, "ar-SA")


async def verify(
    world: World,
    challenge_id: ChallengeId,
    code: str | None = None,
    *,
    at: DevicePrincipal = TILL,
) -> Verified:
    """Prove the code that was sent last, or another one."""
    return await world.sign_ups().verify(at, challenge_id, code or world.sender.sent[-1][1])


async def signed_up(world: World, mobile: str = MOBILE) -> Verified:
    return await verify(world, (await sign_up(world, mobile)).challenge_id)


def people(world: World) -> list[u.UserSignedUp]:
    """Everybody who signed up since the beginning."""
    found = [each.event for each in world.log.read_now()]
    return [event for event in found if isinstance(event, u.UserSignedUp)][1:]


def another_device(world: World) -> DevicePrincipal:
    world.given(OTHER_DEVICE, builders.device_registered())
    return device(OTHER_DEVICE)


async def test_a_code_is_sent_and_nothing_else_happens() -> None:
    world = World()
    before = world.log.read_now()
    challenged = await sign_up(world, "+966 50 123 4567")
    assert challenged == Challenged(
        challenge_id=challenged.challenge_id,
        expires_in_s=CODE_LIFETIME_S,
        resend_after_s=RESEND_AFTER_S,
        code_length=6,
    )
    ((destination, code, locale),) = world.sender.sent
    assert (destination, len(code), code.isdigit(), locale) == (MOBILE, 6, True, "ar-SA")
    assert world.log.read_now() == before
    assert world.vault.values == {}


async def test_a_known_mobile_is_answered_like_an_unknown_one() -> None:
    world = World()
    await signed_up(world)
    world.clock.advance(RESEND_AFTER_S)
    known, unknown = await sign_up(world), await sign_up(world, OTHER_MOBILE)
    assert known.challenge_id != unknown.challenge_id
    assert (known.expires_in_s, known.resend_after_s, known.code_length) == (
        unknown.expires_in_s,
        unknown.resend_after_s,
        unknown.code_length,
    )


async def test_a_repeat_within_half_a_minute_sends_nothing_and_says_what_is_left() -> None:
    world = World()
    first = await sign_up(world)
    world.clock.advance(RESEND_AFTER_S - 10)
    again = await sign_up(world, "+966-50-1234567")
    assert again.challenge_id == first.challenge_id
    assert (again.expires_in_s, again.resend_after_s) == (CODE_LIFETIME_S - 20, 10)
    assert len(world.sender.sent) == 1
    world.clock.advance(10.001)
    assert (await sign_up(world)).challenge_id != first.challenge_id
    assert len(world.sender.sent) == 2


async def test_another_device_gets_a_code_of_its_own() -> None:
    world = World()
    first = await sign_up(world)
    second = await sign_up(world, at=another_device(world))
    assert first.challenge_id != second.challenge_id


async def test_a_number_that_is_none_is_refused() -> None:
    world = World()
    with pytest.raises(Invalid, match="mobile_invalid"):
        await sign_up(world, "0501234567")
    assert world.sender.sent == []


@pytest.mark.parametrize(
    ("countries", "allowed"), [(("AE",), False), (("AE", "SA"), True), ((), True)]
)
async def test_a_tenant_sends_to_the_countries_it_chose(
    countries: tuple[str, ...], allowed: bool
) -> None:
    world = World()
    world.settings(allowed_countries=countries)
    if allowed:
        assert await sign_up(world)
    else:
        with pytest.raises(Invalid, match="mobile_country_not_allowed"):
            await sign_up(world)
    assert len(world.sender.sent) == allowed


async def test_a_mobile_gets_so_many_codes_and_no_more() -> None:
    limit, per_s = PER_MOBILE
    world = World()
    other = another_device(world)
    for _ in range(limit):
        await sign_up(world)
        world.clock.advance(RESEND_AFTER_S + 1)
    with pytest.raises(TooMany) as raised:
        await sign_up(world, at=other)
    assert (raised.value.code, raised.value.retry_after_s) == ("rate_limited", per_s)
    assert await sign_up(world, OTHER_MOBILE)
    world.clock.advance(2 * per_s)
    assert await sign_up(world)


async def test_a_device_sends_so_many_codes_and_no_more() -> None:
    limit, per_s = PER_DEVICE
    world = World()
    for number in range(limit):
        await sign_up(world, f"+9665012340{number:02}")
    with pytest.raises(TooMany) as raised:
        await sign_up(world)
    assert raised.value.retry_after_s == per_s
    assert await sign_up(world, at=another_device(world))


async def test_a_code_that_could_not_be_sent_is_sent_again_at_once() -> None:
    world = World()
    world.sender.raises = Unavailable("otp_not_sent")
    with pytest.raises(Unavailable, match="otp_not_sent"):
        await sign_up(world)
    assert world.challenges.kept == {}
    world.sender.raises = None
    await signed_up(world)
    assert len(people(world)) == 1


async def test_a_right_code_makes_the_person_and_opens_a_grant() -> None:
    world = World()
    verified = await signed_up(world)
    assert verified == Verified(
        user_id=verified.user_id,
        is_new_user=True,
        palms=(),
        consent_status="none",
        consent_version_required="1",
        kyc_status="none",
        enrollment_expires_in_s=GRANT_S,
    )
    claim = identifier_claim(world.digests, TENANT, k.MOBILE, MOBILE)
    assert people(world) == [
        u.UserSignedUp(
            method="otp_sms", device_id=DEVICE, fields=("mobile",), claims={k.MOBILE: claim}
        )
    ]
    until = world.grants.until[TENANT, DEVICE, verified.user_id]
    assert until == world.clock.now() + timedelta(seconds=GRANT_S)
    assert world.vault.values == {(TENANT, verified.user_id, "mobile"): MOBILE}


async def test_the_mobile_stands_nowhere_in_the_log() -> None:
    world = World()
    await signed_up(world)
    assert MOBILE.lstrip("+") not in repr(world.log.read_now())


async def test_the_same_mobile_is_the_same_person_within_its_tenant() -> None:
    world = World()
    first = await signed_up(world)
    world.given(first.user_id, builders.user_consent_granted())
    for hand in ("right", "left"):
        world.given(first.user_id, builders.user_palm_added(palm_ref=world.ids.uuid(), hand=hand))
    world.settings(consent_version="2")
    world.clock.advance(RESEND_AFTER_S + 1)
    again = await signed_up(world)
    assert (again.user_id, again.is_new_user) == (first.user_id, False)
    assert (again.palms, again.consent_status) == (("left", "right"), "outdated")
    assert again.consent_version_required == "2"
    assert len(people(world)) == 1


async def test_one_mobile_is_another_person_in_another_tenant() -> None:
    world = World()
    here = await signed_up(world)
    world.given(OTHER_TENANT, builders.tenant_created(), tenant_id=OTHER_TENANT)
    world.given(OTHER_DEVICE, builders.device_registered(), tenant_id=OTHER_TENANT)
    there = device(OTHER_DEVICE, OTHER_TENANT)
    challenged = await sign_up(world, at=there)
    assert (await verify(world, challenged.challenge_id, at=there)).user_id != here.user_id


async def test_a_suspended_person_proves_the_code_and_gets_nothing() -> None:
    """Seen to fail before: a suspended person got a grant, and with it consent."""
    world = World()
    user_id = (await signed_up(world)).user_id
    world.given(user_id, builders.user_suspended())
    world.grants.until.clear()
    world.clock.advance(RESEND_AFTER_S)
    challenged = await sign_up(world)
    for _ in range(2):
        with pytest.raises(Forbidden, match="user_suspended"):
            await verify(world, challenged.challenge_id)
    assert world.grants.until == {}
    world.given(user_id, builders.user_resumed())
    assert (await verify(world, challenged.challenge_id)).user_id == user_id


async def test_wrong_codes_are_counted_and_then_lock() -> None:
    world = World()
    challenged = await sign_up(world)
    code = world.sender.sent[0][1]
    wrong = f"{(int(code) + 1) % 1_000_000:06}"
    for left in (4, 3, 2, 1, 0):
        with pytest.raises(Invalid) as raised:
            await verify(world, challenged.challenge_id, wrong)
        assert (raised.value.code, raised.value.extra) == (
            "code_incorrect",
            {"attempts_left": left},
        )
    with pytest.raises(Conflict, match="challenge_locked"):
        await verify(world, challenged.challenge_id, code)
    assert people(world) == []
    assert world.grants.until == {}


async def test_a_code_ends_after_its_lifetime() -> None:
    world = World()
    challenged = await sign_up(world)
    world.clock.advance(CODE_LIFETIME_S)
    with pytest.raises(Gone, match="challenge_expired"):
        await verify(world, challenged.challenge_id)


@pytest.mark.parametrize("whose", ["nobody's", "another device's", "another tenant's"])
async def test_a_challenge_of_anybody_else_does_not_exist(whose: str) -> None:
    world = World()
    challenged = await sign_up(world)
    challenge_id, at = challenged.challenge_id, TILL
    if whose == "nobody's":
        challenge_id = ChallengeId(STREAM)
    elif whose == "another device's":
        at = another_device(world)
    else:
        world.given(OTHER_TENANT, builders.tenant_created(), tenant_id=OTHER_TENANT)
        world.given(OTHER_DEVICE, builders.device_registered(), tenant_id=OTHER_TENANT)
        at = device(OTHER_DEVICE, OTHER_TENANT)
    with pytest.raises(NotFound, match="challenge_not_found"):
        await verify(world, challenge_id, world.sender.sent[0][1], at=at)
    assert people(world) == []


@pytest.mark.parametrize("known", [False, True])
async def test_a_repeat_with_the_right_code_says_the_same_for_a_minute(known: bool) -> None:
    world = World()
    if known:
        await signed_up(world)
        world.clock.advance(RESEND_AFTER_S + 1)
    challenged = await sign_up(world)
    first = await verify(world, challenged.challenge_id)
    world.clock.advance(59)
    assert await verify(world, challenged.challenge_id) == first
    assert first.is_new_user is not known
    world.clock.advance(1)
    with pytest.raises(Gone, match="challenge_expired"):
        await verify(world, challenged.challenge_id)
    assert len(people(world)) == 1


def _dies_before_the_vault(world: World) -> None:
    world.vault.when_storing = kill


def _dies_before_the_person(world: World) -> None:
    world.log.before(u.UserSignedUp, kill)


@pytest.mark.parametrize("dies", [_dies_before_the_vault, _dies_before_the_person])
async def test_a_proof_that_died_before_the_person_leads_to_one_by_signing_up_again(
    dies: Callable[[World], None],
) -> None:
    """For a minute it looks like a request that is still at it; then the code is used up."""
    world = World()
    challenged = await sign_up(world)
    dies(world)
    with pytest.raises(Killed):
        await verify(world, challenged.challenge_id)
    with pytest.raises(Conflict, match="request_in_progress"):
        await verify(world, challenged.challenge_id)
    world.clock.advance(60)
    with pytest.raises(Gone, match="challenge_expired"):
        await verify(world, challenged.challenge_id)
    assert world.grants.until == {}
    verified = await signed_up(world)
    assert len(people(world)) == 1
    assert await world.vault.read(TENANT, verified.user_id, "mobile") == MOBILE


@pytest.mark.parametrize("dies", [kill, raising(CommitFailed("the line was cut"))])
async def test_a_proof_that_died_after_the_person_is_finished_by_its_repeat(
    dies: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    world = World()
    challenged = await sign_up(world)
    world.log.after(u.UserSignedUp, dies)
    with pytest.raises((Killed, CommitFailed)):
        await verify(world, challenged.challenge_id)
    verified = await verify(world, challenged.challenge_id)
    assert verified.is_new_user
    assert len(people(world)) == 1
    assert (TENANT, DEVICE, verified.user_id) in world.grants.until
    assert await world.vault.read(TENANT, verified.user_id, "mobile") == MOBILE


async def test_two_codes_for_one_mobile_at_once_are_one_person_in_every_order() -> None:
    """And what the slower one had put into the vault is gone."""

    async def scene() -> tuple[World, list[Coroutine[Any, Any, Verified]]]:
        world = World()
        other = another_device(world)
        first, second = await sign_up(world), await sign_up(world, at=other)
        codes = [code for _, code, _ in world.sender.sent]
        return world, [
            verify(world, first.challenge_id, codes[0]),
            verify(world, second.challenge_id, codes[1], at=other),
        ]

    async def check(world: World, first: object, second: object) -> None:
        assert isinstance(first, Verified), first
        assert isinstance(second, Verified), second
        assert first.user_id == second.user_id
        assert sorted([first.is_new_user, second.is_new_user]) == [False, True]
        assert len(people(world)) == 1
        assert world.vault.values == {(TENANT, first.user_id, "mobile"): MOBILE}

    await race(scene, check, steps=10)


async def test_one_code_sent_twice_at_once_is_right_once_in_every_order() -> None:
    async def scene() -> tuple[World, list[Coroutine[Any, Any, Verified]]]:
        world = World()
        challenged = await sign_up(world)
        return world, [verify(world, challenged.challenge_id) for _ in range(2)]

    async def check(world: World, first: object, second: object) -> None:
        told = [each for each in (first, second) if isinstance(each, Verified)]
        assert told
        assert all(each == told[0] for each in told)
        refused = [str(each) for each in (first, second) if isinstance(each, Refusal)]
        assert set(refused) <= {"request_in_progress"}
        assert len(people(world)) == 1

    await race(scene, check, steps=10)


@pytest.mark.parametrize("call", ["sign_up", "verify"])
@pytest.mark.parametrize(
    ("arrange", "at", "refusal", "code"),
    [
        ("scanner", device(OTHER_DEVICE), Forbidden, "device_type_not_allowed"),
        ("nothing", device(OTHER_DEVICE), Unauthenticated, "device_unknown"),
        ("no tenant", device(OTHER_DEVICE, OTHER_TENANT), Unauthenticated, "device_unknown"),
    ],
)
async def test_a_device_that_may_not_sign_up_is_refused(
    call: str, arrange: str, at: DevicePrincipal, refusal: type[Refusal], code: str
) -> None:
    world = World()
    if arrange != "nothing":
        scanner = builders.device_registered(type="personal_scanner", bound_product=None)
        world.given(OTHER_DEVICE, scanner, tenant_id=at.tenant_id)
    calls: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
        "sign_up": lambda: sign_up(world, at=at),
        "verify": lambda: verify(world, ChallengeId(STREAM), "123456", at=at),
    }
    with pytest.raises(refusal, match=code):
        await calls[call]()
