"""A palm becomes a person's: granted, agreed to, once per hand, whatever dies in between."""

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest

from application.palms.enrollment_endings import LEASE
from application.palms.palm_intake import ABANDONED_AFTER, Enrolled
from application.ports import (
    CommitFailed,
    PalmQueryForbidden,
    PalmRejected,
    PalmVendorFailed,
    StaleStream,
)
from application.principals import DevicePrincipal
from domain import claim as k
from domain import enrollment as e
from domain import user as u
from domain.erasure import erasure_id
from domain.errors import Conflict, Forbidden, Invalid, Refusal, Unauthenticated, Unavailable
from domain.events import DomainEvent
from domain.ids import ClaimId, PalmRef, UserId, claim_id
from domain.palm import Hand
from tests import builders
from tests.application.turns import race
from tests.application.world import (
    ALI,
    BACKEND,
    OTHER_DEVICE,
    OTHER_TENANT,
    OTHER_USER,
    TENANT_KEY,
    TILL,
    Killed,
    World,
    device,
    kill,
    raising,
    scan,
)
from tests.builders import DEVICE, PALM, USER
from tests.spec import TENANT

BEA = b"the palm of bea"
KEY = "enrol-bea"
STARTED = builders.enrollment_started(user_id=OTHER_USER, hand="left", scan_sha256=scan(BEA).sha256)


def granted(*, consent: bool = True) -> World:
    """A world in which Bea proved a code at the till, and agreed."""
    world = World()
    world.given(OTHER_USER, builders.user_signed_up())
    if consent:
        world.given(OTHER_USER, builders.user_consent_granted())
    world.grants.until[TENANT, DEVICE, OTHER_USER] = world.clock.now() + timedelta(days=1)
    world.grants.until[TENANT, DEVICE, USER] = world.clock.now() + timedelta(days=1)
    return world


async def enroll(
    world: World,
    palm: bytes = BEA,
    *,
    user_id: UserId = OTHER_USER,
    hand: Hand = "left",
    key: str | None = KEY,
    at: DevicePrincipal = TILL,
) -> Enrolled:
    return await world.enrollments().enroll(at, user_id, hand, scan(palm), key)


def palm_ref(world: World) -> PalmRef:
    """The reference of the only enrolment that was started since the beginning."""
    (found,) = {
        each.stream_id
        for each in world.log.read_now()
        if isinstance(each.event, e.EnrollmentStarted) and each.stream_id != PALM
    }
    return PalmRef(found)


def hand_claim(user_id: UserId = OTHER_USER, hand: Hand = "left") -> ClaimId:
    return claim_id(TENANT, k.PALM_HAND, f"{user_id}:{hand}")


def story(world: World) -> list[DomainEvent]:
    return world.events(palm_ref(world))


async def test_a_palm_is_given_to_the_vendor_and_becomes_the_persons() -> None:
    world = granted()
    enrolled = await enroll(world)
    ref = palm_ref(world)
    assert enrolled == Enrolled(palm_ref=ref, hand="left")
    assert story(world) == [STARTED, e.EnrollmentCompleted(vendor_palm_id=f"palm-{ref.hex}")]
    assert world.events(OTHER_USER)[-1] == u.UserPalmAdded(palm_ref=ref, hand="left")
    assert world.events(hand_claim()) == [k.ClaimTaken(kind=k.PALM_HAND, owner=ref)]
    assert world.palms.enrolled[TENANT_KEY, ref] == BEA


async def test_the_intent_is_durable_before_the_vendor_gets_the_palm() -> None:
    world = granted()
    world.trace.clear()
    await enroll(world)
    assert world.trace == [
        "vendor identify",
        "committed enrollment.started",
        "committed claim.taken",
        "vendor enroll",
        "vendor identify",
        "committed enrollment.completed",
        "committed user.palm_added",
    ]


async def test_without_a_key_every_request_is_an_enrolment_of_its_own() -> None:
    world = granted()
    left = await enroll(world, key=None)
    right = await enroll(world, b"bea's other palm", hand="right", key=None)
    assert left.palm_ref != right.palm_ref


async def test_a_repeat_under_the_same_key_says_the_same_and_asks_nobody() -> None:
    world = granted()
    first = await enroll(world)
    world.trace.clear()
    assert await enroll(world) == first
    assert world.trace == []


@pytest.mark.parametrize(
    "otherwise", [{"palm": b"another palm"}, {"hand": "right"}, {"user_id": USER}]
)
async def test_another_enrolment_under_the_same_key_is_refused(otherwise: dict[str, Any]) -> None:
    world = granted()
    await enroll(world)
    with pytest.raises(Invalid, match="idempotency_key_reused"):
        await enroll(world, **otherwise)


def _no_grant(world: World) -> None:
    world.grants.until.clear()


def _grant_over(world: World) -> None:
    world.clock.advance(86_400)


def _grant_at_another_device(world: World) -> None:
    until = world.grants.until.pop((TENANT, DEVICE, OTHER_USER))
    world.grants.until[TENANT, OTHER_DEVICE, OTHER_USER] = until


def _no_consent(world: World) -> None:
    world.given(OTHER_USER, builders.user_consent_withdrawn())


def _suspended(world: World) -> None:
    world.given(OTHER_USER, builders.user_suspended())


def _consent_outdated(world: World) -> None:
    world.settings(consent_version="2")


def _kyc_wanted(world: World) -> None:
    world.settings(kyc_required=True)


@pytest.mark.parametrize(
    ("arrange", "code", "extra"),
    [
        (_no_grant, "enrollment_not_granted", {}),
        (_grant_over, "enrollment_not_granted", {}),
        (_grant_at_another_device, "enrollment_not_granted", {}),
        (_suspended, "user_suspended", {}),
        (_no_consent, "consent_required", {"consent_status": "withdrawn"}),
        (_consent_outdated, "consent_required", {"consent_status": "outdated"}),
        (_kyc_wanted, "kyc_required", {}),
    ],
)
async def test_whoever_may_not_enrol_gives_the_vendor_nothing(
    arrange: Callable[[World], None], code: str, extra: dict[str, str]
) -> None:
    world = granted()
    arrange(world)
    with pytest.raises(Forbidden) as raised:
        await enroll(world)
    assert (raised.value.code, raised.value.extra) == (code, extra)
    assert world.palms.budgets_s == []
    assert world.events(hand_claim()) == []


async def test_a_consent_taken_back_enrols_nobody_where_none_is_needed_either() -> None:
    """Seen to fail while only the setting was asked."""
    world = granted()
    world.settings(consent_required=False)
    world.given(OTHER_USER, builders.user_consent_withdrawn())
    with pytest.raises(Forbidden) as raised:
        await enroll(world)
    assert raised.value.extra == {"consent_status": "withdrawn"}
    assert world.palms.budgets_s == []


async def test_where_no_consent_is_needed_none_is_recorded() -> None:
    world = granted(consent=False)
    world.settings(consent_required=False)
    await enroll(world)
    started = story(world)[0]
    assert isinstance(started, e.EnrollmentStarted)
    assert started.consent_version is None


@pytest.mark.parametrize(
    ("arrange", "at", "refusal", "code"),
    [
        ("scanner", device(OTHER_DEVICE), Forbidden, "device_type_not_allowed"),
        ("nothing", device(OTHER_DEVICE), Unauthenticated, "device_unknown"),
        ("no tenant", device(OTHER_DEVICE, OTHER_TENANT), Unauthenticated, "device_unknown"),
    ],
)
async def test_a_device_that_may_not_enrol_is_refused(
    arrange: str, at: DevicePrincipal, refusal: type[Refusal], code: str
) -> None:
    world = granted()
    if arrange != "nothing":
        scanner = builders.device_registered(type="personal_scanner", bound_product=None)
        world.given(OTHER_DEVICE, scanner, tenant_id=at.tenant_id)
    with pytest.raises(refusal, match=code):
        await enroll(world, at=at)


@pytest.mark.parametrize("hand", ["left", "right"])
async def test_a_hand_is_enrolled_once(hand: Hand) -> None:
    world = granted()
    await enroll(world)
    if hand == "left":
        with pytest.raises(Conflict, match="palm_already_enrolled"):
            await enroll(world, b"the same hand again", hand=hand, key="again")
    else:
        assert await enroll(world, b"the other hand", hand=hand, key="again")


async def test_a_palm_of_somebody_else_is_refused_and_not_told_whose_it_is() -> None:
    world = granted()
    with pytest.raises(Conflict) as raised:
        await enroll(world, ALI)
    assert (raised.value.code, raised.value.detail, raised.value.extra) == (
        "duplicate_palm",
        None,
        {},
    )
    started = builders.enrollment_started(
        user_id=OTHER_USER, hand="left", scan_sha256=scan(ALI).sha256
    )
    assert story(world) == [started, e.EnrollmentRejected(reason="duplicate_palm")]
    assert "vendor enroll" not in world.trace
    assert world.events(hand_claim()) == []


async def test_a_refused_palm_is_refused_again_under_the_same_key_without_asking() -> None:
    world = granted()
    for _ in range(2):
        with pytest.raises(Conflict, match="duplicate_palm"):
            await enroll(world, ALI)
    assert world.trace.count("vendor identify") == 1
    assert await enroll(world, BEA, key="her own palm")


def _weak(world: World) -> None:
    world.palms.scores[PALM] = (0.95, 0.95, 0.95, 0.1)


def _ended(world: World) -> None:
    ended = PalmRef(OTHER_TENANT)
    world.given(ended, STARTED, builders.enrollment_failed())
    world.palms.enrolled = {(TENANT_KEY, ended): ALI}


def _unheard_of(world: World) -> None:
    world.palms.enrolled = {(TENANT_KEY, PalmRef(OTHER_TENANT)): ALI}


def _not_checked(world: World) -> None:
    world.settings(duplicate_palm_check=False)


@pytest.mark.parametrize("arrange", [_weak, _ended, _unheard_of, _not_checked])
async def test_what_does_not_match_a_completed_enrolment_is_no_duplicate(
    arrange: Callable[[World], None],
) -> None:
    world = granted()
    arrange(world)
    assert await enroll(world, ALI)


async def test_both_hands_of_one_person_may_look_alike() -> None:
    world = granted()
    assert await enroll(world, ALI, user_id=USER)


@pytest.mark.parametrize("call", ["identify", "enroll"])
async def test_a_vendor_that_may_not_be_asked_is_a_conflict(call: str) -> None:
    world = granted()
    if call == "identify":
        world.palms.identify_raises = PalmQueryForbidden()
        with pytest.raises(Conflict, match="palm_type_not_allowed"):
            await enroll(world)
        assert world.events(hand_claim()) == []
    else:
        world.palms.enroll_raises = PalmRejected("low_quality", ["too_far", "too_dark"])
        with pytest.raises(Invalid) as raised:
            await enroll(world)
        assert raised.value.code == "low_quality"
        assert raised.value.extra == {"hints": ["too_far", "too_dark"]}


async def test_a_poor_picture_is_refused_with_hints_and_frees_the_hand() -> None:
    world = granted()
    world.palms.enroll_raises = PalmRejected("low_quality", ["too_far"])
    for _ in range(2):
        with pytest.raises(Invalid, match="low_quality"):
            await enroll(world)
    assert world.trace.count("vendor enroll") == 1
    assert story(world)[-1] == e.EnrollmentRejected(reason="low_quality", hints=("too_far",))
    assert world.events(hand_claim())[-1] == k.ClaimReleased(kind=k.PALM_HAND)
    world.palms.enroll_raises = None
    assert await enroll(world, b"a better picture", key="again")


@pytest.mark.parametrize("reason", ["palm_vendor_error", "palm_vendor_timeout"])
async def test_a_failed_search_leaves_nothing_and_may_be_tried_again(reason: Any) -> None:
    world = granted()
    world.palms.identify_raises = PalmVendorFailed(reason)
    with pytest.raises(Unavailable) as raised:
        await enroll(world)
    assert (raised.value.code, raised.value.retry_after_s) == (reason, 1)
    assert world.events(hand_claim()) == []
    world.palms.identify_raises = None
    assert await enroll(world)


@pytest.mark.parametrize("delete_fails", [False, True])
async def test_after_a_failed_vendor_the_same_key_begins_anew_at_once(delete_fails: bool) -> None:
    """What the vendor may have kept is taken back, as far as it listens, and nothing is ever given
    to it again under the same reference: a late answer to the taking back would meet it there."""
    world = granted()
    world.palms.enroll_raises = PalmVendorFailed("palm_vendor_error", 50000, "internal_error")
    if delete_fails:
        world.palms.delete_raises = PalmVendorFailed("palm_vendor_timeout")
    with pytest.raises(Unavailable, match="palm_vendor_error"):
        await enroll(world)
    ref = palm_ref(world)
    assert story(world)[1:] == [
        e.EnrollmentFailed(
            reason="palm_vendor_error",
            vendor_code=50000,
            vendor_message="internal_error",
            template_left=True,
        ),
        e.EnrollmentTemplateRemovalDelayed(reason="palm_vendor_timeout")
        if delete_fails
        else e.EnrollmentTemplateRemoved(vendor_answer="absent"),
    ]
    assert world.events(hand_claim())[-1] == k.ClaimReleased(kind=k.PALM_HAND)
    assert world.trace.count("vendor delete") == 1
    world.palms.enroll_raises = None
    enrolled = await enroll(world)
    assert enrolled.palm_ref != ref
    assert await enroll(world) == enrolled
    assert world.names(enrolled.palm_ref) == ["enrollment.started", "enrollment.completed"]
    assert world.events(hand_claim())[-1] == k.ClaimTaken(kind=k.PALM_HAND, owner=enrolled.palm_ref)


@pytest.mark.parametrize("failures", [2, 3, 7, 8, 9])
async def test_however_often_the_vendor_failed_the_same_key_goes_on(failures: int) -> None:
    world = granted()
    world.palms.enroll_raises = PalmVendorFailed("palm_vendor_error")
    for _ in range(failures):
        with pytest.raises(Unavailable):
            await enroll(world)
    with pytest.raises(Invalid, match="idempotency_key_reused"):
        await enroll(world, b"another palm")
    world.palms.enroll_raises = None
    enrolled = await enroll(world)
    assert await enroll(world) == enrolled
    assert len(set(world.palms.deleted)) == failures
    assert world.names(OTHER_USER).count("user.palm_added") == 1


def _dies_before_the_vendor(world: World) -> None:
    world.log.after(e.EnrollmentStarted, kill)


def _dies_after_the_vendors_add(world: World) -> None:
    world.palms.when_stored = kill


def _dies_before_the_commit(world: World) -> None:
    world.log.before(e.EnrollmentCompleted, kill)


@pytest.mark.parametrize(
    "dies", [_dies_before_the_vendor, _dies_after_the_vendors_add, _dies_before_the_commit]
)
async def test_an_enrolment_that_died_is_finished_by_its_repeat_when_the_lease_is_over(
    dies: Callable[[World], None],
) -> None:
    world = granted()
    dies(world)
    with pytest.raises(Killed):
        await enroll(world)
    world.clock.advance(LEASE.total_seconds() - 0.001)
    with pytest.raises(Conflict) as raised:
        await enroll(world)
    assert (raised.value.code, raised.value.retry_after_s) == ("request_in_progress", 15)
    world.clock.advance(0.001)
    enrolled = await enroll(world)
    assert [event.NAME for event in story(world)] == [
        "enrollment.started",
        "enrollment.completed",
    ]
    assert world.palms.enrolled[TENANT_KEY, enrolled.palm_ref] == BEA
    assert world.names(OTHER_USER).count("user.palm_added") == 1


async def test_an_enrolment_that_died_after_its_commit_is_completed() -> None:
    world = granted()
    world.log.after(e.EnrollmentCompleted, kill)
    with pytest.raises(Killed):
        await enroll(world)
    assert (await enroll(world)).palm_ref == palm_ref(world)
    assert world.trace.count("vendor enroll") == 1


@pytest.mark.parametrize("event", [e.EnrollmentStarted, e.EnrollmentCompleted])
async def test_a_commit_that_nobody_knows_of_is_said_and_mended_by_the_repeat(
    event: type[DomainEvent],
) -> None:
    world = granted()
    world.log.after(event, raising(CommitFailed("the line was cut")))
    with pytest.raises(CommitFailed):
        await enroll(world)
    world.clock.advance(LEASE.total_seconds())
    await enroll(world)
    assert [each.NAME for each in story(world)] == ["enrollment.started", "enrollment.completed"]


async def test_an_enrolment_that_nobody_finishes_frees_its_hand_after_half_a_minute() -> None:
    world = granted()
    world.palms.when_stored = kill
    with pytest.raises(Killed):
        await enroll(world)
    ref = palm_ref(world)
    world.clock.advance(ABANDONED_AFTER.total_seconds() - 0.001)
    with pytest.raises(Conflict, match="palm_already_enrolled"):
        await enroll(world, b"a new picture", key="a new request")
    world.clock.advance(0.001)
    enrolled = await enroll(world, b"a new picture", key="a new request")
    assert world.events(ref)[1:] == [e.EnrollmentFailed(reason="abandoned", template_left=True)]
    await world.workers().round()
    assert world.events(ref)[2:] == [e.EnrollmentTemplateRemoved(vendor_answer="deleted")]
    assert world.palms.deleted == [ref]
    assert world.events(hand_claim())[-1] == k.ClaimTaken(kind=k.PALM_HAND, owner=enrolled.palm_ref)
    assert world.names(OTHER_USER).count("user.palm_added") == 1


async def test_one_who_wakes_up_after_it_was_given_up_leaves_nothing_behind() -> None:
    """Its picture reached the vendor after the other had cleaned up."""
    world = granted()

    async def sleep() -> None:
        world.clock.advance(ABANDONED_AFTER.total_seconds())
        await enroll(world, b"a new picture", key="a new request")
        await world.workers().round()

    world.log.after(e.EnrollmentStarted, _then_before_the_next_call(world, sleep))
    with pytest.raises(Conflict, match="request_in_progress"):
        await enroll(world)
    (given_up,) = set(world.palms.deleted)
    assert world.names(given_up) == [
        "enrollment.started",
        "enrollment.failed",
        "enrollment.template_removed",
        "enrollment.template_arrived_late",
        "enrollment.template_removed",
    ]
    kept = [rgb for (_, ref), rgb in world.palms.enrolled.items() if ref != PALM]
    assert kept == [b"a new picture"]
    assert world.names(OTHER_USER).count("user.palm_added") == 1


async def test_one_whose_vendor_failed_too_late_takes_nothing_from_the_one_who_finished() -> None:
    """Paused beyond its lease; meanwhile the repeat stored the same palm and completed."""
    world = granted()

    async def sleep() -> None:
        world.clock.advance(LEASE.total_seconds())
        await enroll(world)
        raise PalmVendorFailed("palm_vendor_timeout")

    world.log.after(e.EnrollmentStarted, _then_before_the_next_call(world, sleep))
    with pytest.raises(Conflict, match="request_in_progress"):
        await enroll(world)
    assert world.palms.deleted == []
    assert world.palms.enrolled[TENANT_KEY, palm_ref(world)] == BEA
    assert story(world)[-1].NAME == "enrollment.completed"


def _then_before_the_next_call(
    world: World, hook: Callable[[], Coroutine[Any, Any, None]]
) -> Callable[[], Coroutine[Any, Any, None]]:
    async def arm() -> None:
        world.palms.before = hook

    return arm


async def test_a_person_who_changes_meanwhile_is_no_reason_to_fail() -> None:
    world = granted()

    async def consent() -> None:
        world.given(OTHER_USER, builders.user_consent_granted(consent_type="palm_payment"))

    world.log.before(e.EnrollmentCompleted, consent)
    await enroll(world)
    assert world.names(OTHER_USER)[-1] == "user.palm_added"


async def test_a_person_who_changes_all_the_time_is_finished_by_the_repeat() -> None:
    """The template stays: the enrolment is still ours to finish."""
    world = granted()

    async def consent() -> None:
        world.given(OTHER_USER, builders.user_consent_granted(consent_type="palm_payment"))

    for _ in range(3):
        world.log.before(e.EnrollmentCompleted, consent)
    with pytest.raises(StaleStream):
        await enroll(world)
    assert world.palms.deleted == []
    world.clock.advance(LEASE.total_seconds())
    await enroll(world)


async def test_a_hand_taken_at_the_last_moment_is_refused() -> None:
    world = granted()

    async def the_other() -> None:
        await enroll(world, b"the other request's picture", key="the other")

    world.log.before(e.EnrollmentStarted, the_other)
    with pytest.raises(Conflict, match="palm_already_enrolled"):
        await enroll(world)


async def _one_enrolment(world: World, first: object, second: object) -> None:
    done = {each for each in (first, second) if isinstance(each, Enrolled)}
    assert len(done) == 1, (first, second)
    (enrolled,) = done
    assert world.names(OTHER_USER).count("user.palm_added") == 1
    assert world.events(enrolled.palm_ref)[-1].NAME == "enrollment.completed"
    kept = [ref for _, ref in world.palms.enrolled if ref != PALM]
    assert kept == [enrolled.palm_ref]
    refused = [str(each) for each in (first, second) if isinstance(each, Refusal)]
    assert set(refused) <= {"request_in_progress", "palm_already_enrolled"}


async def test_one_enrolment_sent_twice_at_once_is_one_in_every_order() -> None:
    async def scene() -> tuple[World, list[Coroutine[Any, Any, Enrolled]]]:
        world = granted()
        return world, [enroll(world) for _ in range(2)]

    await race(scene, _one_enrolment, steps=14)


async def test_two_enrolments_of_one_hand_at_once_are_one_in_every_order() -> None:
    async def scene() -> tuple[World, list[Coroutine[Any, Any, Enrolled]]]:
        world = granted()
        return world, [enroll(world, b"picture %d" % n, key=f"request {n}") for n in range(2)]

    await race(scene, _one_enrolment, steps=14)


async def test_a_vendor_that_fails_one_of_two_requests_takes_nothing_from_the_other() -> None:
    """In every order: whatever is completed has its template, and nothing else has one.

    Seen to fail without the taking back, and when the lease was left out and the template taken
    back before the failure was in the log: the first took back, after its time-out, what the
    second had stored and completed. Of these two the one makes up for the other.
    """

    async def scene() -> tuple[World, list[Coroutine[Any, Any, Enrolled]]]:
        world = granted()

        async def fail_once() -> None:
            world.palms.when_stored = None
            raise PalmVendorFailed("palm_vendor_timeout")

        world.palms.when_stored = fail_once
        return world, [enroll(world) for _ in range(2)]

    async def check(world: World, first: object, second: object) -> None:
        del first, second
        stored = {ref for _, ref in world.palms.enrolled} - {PALM}
        completed = {
            each.stream_id
            for each in world.log.read_now()
            if isinstance(each.event, e.EnrollmentCompleted)
        } - {PALM}
        assert stored == completed

    await race(scene, check, steps=14)


def left_at_the_vendor(world: World) -> set[PalmRef]:
    return {ref for _, ref in world.palms.enrolled} - {PALM}


async def test_a_person_erased_during_the_search_gives_the_vendor_nothing() -> None:
    """Seen to fail while the person was looked at before the search alone: the erasure was
    complete, and the vendor got the palm afterwards."""
    world = granted()

    async def erase() -> None:
        report = await world.erasures().request(BACKEND, OTHER_USER)
        assert report.erasure.status == "completed"

    world.palms.before = erase
    with pytest.raises(Forbidden, match="user_erased"):
        await enroll(world)
    assert "vendor enroll" not in world.trace
    assert left_at_the_vendor(world) == set()
    assert world.events(hand_claim()) == [
        k.ClaimTaken(kind=k.PALM_HAND, owner=erasure_id(OTHER_USER))
    ]


async def test_a_person_erased_just_before_the_enrolment_starts_is_never_begun_with() -> None:
    """The enrolment has read an active person and a free hand, and then the whole erasure happens.

    Seen to fail while an erasure took no hands: the enrolment started after the certificate, and
    the palm went to the vendor.
    """
    world = granted()

    async def erase() -> None:
        report = await world.erasures().request(BACKEND, OTHER_USER)
        assert report.erasure.status == "completed"

    world.log.before(e.EnrollmentStarted, erase)
    with pytest.raises(Forbidden, match="user_erased"):
        await enroll(world)
    assert "vendor enroll" not in world.trace
    begun = [each for each in world.log.read_now() if isinstance(each.event, e.EnrollmentStarted)]
    assert {each.stream_id for each in begun} == {PALM}


def certified_after_everything(world: World) -> bool:
    """Whether the erasure's last word comes after all that happened to the person's palms."""
    last = world.log.stream(erasure_id(OTHER_USER))[-1]
    assert last.event.NAME == "erasure.completed"
    return last.position > max(each.position for each in world.log.stream(palm_ref(world)))


async def test_an_erasure_waits_for_a_palm_that_is_on_its_way() -> None:
    """Seen to fail while an erasure gave up what was under way: it was certified, and then the
    template arrived and was destroyed."""
    world = granted()
    told: list[str] = []

    async def erase() -> None:
        report = await world.erasures().request(BACKEND, OTHER_USER)
        told.append(report.erasure.status)

    world.log.after(e.EnrollmentStarted, _then_before_the_next_call(world, erase))
    with pytest.raises(Forbidden, match="user_erased"):
        await enroll(world)
    assert told == ["pending"]
    assert left_at_the_vendor(world) == set()
    assert world.names(palm_ref(world)) == [
        "enrollment.started",
        "enrollment.failed",
        "enrollment.template_removed",
    ]
    done = await world.erasures().request(BACKEND, OTHER_USER)
    assert done.erasure.status == "completed"
    assert certified_after_everything(world)


@pytest.mark.parametrize("stored", [False, True], ids=["lost", "stored"])
async def test_an_erasure_gives_up_an_enrolment_whose_process_died(stored: bool) -> None:
    """Once nobody can be on the way to the vendor any more."""
    world = granted()
    if stored:
        world.palms.when_stored = kill
    else:
        world.log.after(e.EnrollmentStarted, kill)
    with pytest.raises(Killed):
        await enroll(world)
    waiting = await world.erasures().request(BACKEND, OTHER_USER)
    assert (waiting.erasure.status, waiting.erasure.pending) == ("pending", (palm_ref(world),))
    world.clock.advance(ABANDONED_AFTER.total_seconds())
    done = await world.erasures().request(BACKEND, OTHER_USER)
    assert done.erasure.status == "completed"
    assert left_at_the_vendor(world) == set()
    assert certified_after_everything(world)


async def test_a_repeat_that_the_erasure_overtakes_sends_no_palm() -> None:
    """The process died before the vendor was asked; the repeat has just looked at the person.

    Seen to fail while a repeat went on with what had started without another look.
    """
    world = granted()
    world.log.after(e.EnrollmentStarted, kill)
    with pytest.raises(Killed):
        await enroll(world)
    world.clock.advance(LEASE.total_seconds())

    async def erase() -> None:
        report = await world.erasures().request(BACKEND, OTHER_USER)
        assert report.erasure.status == "pending"

    world.log.before_load(palm_ref(world), erase)
    with pytest.raises(Forbidden, match="user_erased"):
        await enroll(world)
    assert "vendor enroll" not in world.trace
    assert (await world.erasures().request(BACKEND, OTHER_USER)).erasure.status == "completed"
    assert certified_after_everything(world)


async def test_an_erasure_that_has_only_begun_ends_the_enrolment_and_its_template() -> None:
    world = granted()

    async def begin() -> None:
        world.given(OTHER_USER, builders.user_erasure_started())

    world.log.before(e.EnrollmentCompleted, begin)
    with pytest.raises(Forbidden, match="user_erased"):
        await enroll(world)
    assert story(world)[1:] == [
        e.EnrollmentFailed(reason="abandoned", template_left=True),
        e.EnrollmentTemplateRemoved(vendor_answer="deleted"),
    ]
    assert left_at_the_vendor(world) == set()
    assert world.events(hand_claim())[-1] == k.ClaimReleased(kind=k.PALM_HAND)
