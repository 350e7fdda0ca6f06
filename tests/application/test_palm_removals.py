"""A palm is taken away from its person: refused at once, gone when the vendor says so."""

from collections.abc import Coroutine
from typing import Any

import pytest

from application.palms.palm_intake import Enrolled
from application.palms.palm_removals import Palm
from application.palms.template_removal import GIVEN_UP_AFTER
from application.ports import CommitFailed, Delivered, PalmVendorFailed, RetryLater, Waits
from domain import claim as k
from domain import enrollment as e
from domain import user as u
from domain.errors import Conflict, Invalid, NotFound
from domain.ids import PalmRef, UserId, claim_id
from tests import builders
from tests.application.test_enrollments import BEA, enroll, granted
from tests.application.turns import race
from tests.application.world import (
    ALI,
    BACKEND,
    OTHER_USER,
    TENANT_KEY,
    Killed,
    World,
    asking,
    kill,
    raising,
    transaction,
)
from tests.builders import PALM, USER
from tests.spec import TENANT

HAND = claim_id(TENANT, k.PALM_HAND, f"{USER}:right")


async def remove(world: World, palm_ref: PalmRef = PALM, user_id: UserId = USER) -> Palm:
    palm, _ = await world.palm_removals().start(BACKEND, user_id, palm_ref, "requested")
    return palm


async def test_a_palm_is_refused_at_once_and_gone_when_the_vendor_says_so() -> None:
    world = World()
    workers = world.workers()
    palm = await remove(world)
    assert (palm.status, palm.removal_reason, palm.removed_at) == ("removing", "requested", None)
    assert world.palms.enrolled[TENANT_KEY, PALM] == ALI, "not yet"
    assert await workers.round() == [Delivered()]
    assert world.palms.enrolled == {}
    assert world.events(PALM)[2:] == [
        e.EnrollmentTemplateRemovalStarted(reason="requested"),
        e.EnrollmentTemplateRemoved(vendor_answer="deleted"),
    ]
    assert world.events(USER)[-2:] == [
        u.UserPalmRemovalStarted(palm_ref=PALM, reason="requested"),
        u.UserPalmRemoved(palm_ref=PALM),
    ]
    palm = await world.palm_removals().get(TENANT, USER, PALM)
    assert (palm.status, palm.vendor_answer) == ("removed", "deleted")
    assert palm.removed_position == world.log.stream(PALM)[-1].position
    assert await workers.round() == []


async def test_from_the_moment_it_began_nobody_is_recognised_by_the_palm() -> None:
    """The vendor still finds it. Seen to fail while recognition asked only whether the enrolment
    was completed."""
    world = World()
    assert (await world.transact()).answer.decision == "allow"
    await remove(world)
    reply = await world.transact(asking(key="till-4-00000000002"))
    assert reply.answer.decision == "not_recognized"
    assert world.names(transaction("till-4-00000000002"))[-1] == "transaction.not_recognized"
    assert len(world.product.calls) == 1


async def test_the_start_is_one_commit_with_the_hand() -> None:
    world = World()
    world.trace.clear()
    await remove(world)
    assert world.trace == [
        "committed enrollment.template_removal_started",
        "committed claim.released",
        "committed user.palm_removal_started",
    ]
    assert world.events(HAND)[-1] == k.ClaimReleased(kind=k.PALM_HAND)


async def test_the_hand_may_be_enrolled_anew_before_the_old_template_has_gone() -> None:
    world = granted()
    old = (await enroll(world)).palm_ref
    world.palms.can_delete = False
    await remove(world, old, OTHER_USER)
    new = await enroll(world, key="anew")
    assert isinstance(new, Enrolled)
    assert new.palm_ref != old
    palms = await world.palm_removals().of(TENANT, OTHER_USER)
    assert [(palm.palm_ref, palm.status) for palm in palms] == [
        (new.palm_ref, "enrolled"),
        (old, "removing"),
    ]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PalmVendorFailed("palm_vendor_timeout"), "palm_vendor_timeout"),
        (PalmVendorFailed("palm_vendor_error", 50000), "palm_vendor_error"),
        (None, "not_supported"),
    ],
)
async def test_a_vendor_that_fails_or_cannot_leaves_it_visibly_pending(
    error: PalmVendorFailed | None, reason: str
) -> None:
    """Said once for each reason, however often it is tried; and done when the vendor does it."""
    world = World()
    world.palms.delete_raises, world.palms.can_delete = error, error is not None
    await remove(world)
    workers = world.workers()
    for _ in range(3):
        assert await workers.round() == [RetryLater(reason)]
    palm = await world.palm_removals().get(TENANT, USER, PALM)
    assert (palm.status, palm.removal_delayed_by) == ("removing", reason)
    assert world.names(PALM).count("enrollment.template_removal_delayed") == 1
    assert "user.palm_removed" not in world.names(USER)
    assert await world.palm_removals().outstanding(TENANT, USER) == [PALM]
    world.palms.delete_raises, world.palms.can_delete = None, True
    assert await workers.round() == [Delivered()]
    palm = await world.palm_removals().get(TENANT, USER, PALM)
    assert (palm.status, palm.removal_delayed_by) == ("removed", None)
    assert await world.palm_removals().outstanding(TENANT, USER) == []


async def test_somebody_may_stand_for_a_vendor_that_never_answers_once_it_was_asked() -> None:
    world = World()
    world.palms.can_delete = False
    workers, templates = world.workers(), world.templates()
    await remove(world)
    with pytest.raises(Conflict, match="template_removal_not_delayed"):
        await templates.attest(BACKEND, PALM, "deleted_by_hand", "TICKET-17")
    assert await workers.round() == [RetryLater("not_supported")]
    with pytest.raises(Invalid, match="reference_invalid"):
        await templates.attest(BACKEND, PALM, "deleted_by_hand", "Sara said so")
    with pytest.raises(NotFound, match="palm_not_found"):
        await templates.attest(BACKEND, PalmRef(USER), "deleted_by_hand", "TICKET-17")
    await templates.attest(BACKEND, PALM, "deleted_by_hand", "TICKET-17")
    palm = await world.palm_removals().get(TENANT, USER, PALM)
    assert (palm.status, palm.vendor_answer) == ("removed", None)
    assert (palm.attested, palm.attested_under) == ("deleted_by_hand", "TICKET-17")
    assert palm.removed_position == world.log.stream(PALM)[-1].position
    assert world.names(USER)[-1] == "user.palm_removed"
    assert await world.palm_removals().outstanding(TENANT, USER) == []
    await templates.attest(BACKEND, PALM, "vendor_closed", "TICKET-18")
    assert world.names(PALM).count("enrollment.template_removal_attested") == 1
    assert await workers.round() == [Delivered()], "the vendor is not asked again"


async def test_an_erasure_ends_when_somebody_stands_for_a_silent_vendor() -> None:
    world = World()
    world.palms.can_delete = False
    workers = world.workers()
    assert (await world.erasures().request(BACKEND, USER)).erasure.status != "completed"
    await workers.round()
    await world.templates().attest(BACKEND, PALM, "vendor_closed", "contract/2026-11")
    assert (await world.erasures().request(BACKEND, USER)).erasure.status == "completed"


async def test_a_template_that_was_never_there_is_as_good_as_destroyed() -> None:
    world = World()
    world.palms.enrolled.clear()
    await remove(world)
    await world.workers().round()
    palm = await world.palm_removals().get(TENANT, USER, PALM)
    assert (palm.status, palm.vendor_answer) == ("removed", "absent")


async def test_again_it_says_how_far_it_has_come() -> None:
    world = World()
    await remove(world)
    before = world.names(USER)
    assert (await remove(world)).status == "removing"
    await world.workers().round()
    assert (await remove(world)).status == "removed"
    assert world.names(USER) == [*before, "user.palm_removed"]


@pytest.mark.parametrize("whose", ["nobody's", "another's", "a rejected one", "no palm at all"])
async def test_a_palm_of_anybody_else_is_not_found(whose: str) -> None:
    world = World()
    world.given(OTHER_USER, builders.user_signed_up())
    ref, user_id = PALM, OTHER_USER
    if whose == "nobody's":
        ref, user_id = PalmRef(world.ids.uuid()), USER
    if whose == "no palm at all":
        ref, user_id = PalmRef(USER), USER
    if whose == "a rejected one":
        ref = PalmRef(world.ids.uuid())
        world.given(
            ref,
            builders.enrollment_started(user_id=OTHER_USER),
            builders.enrollment_rejected(),
        )
    with pytest.raises(NotFound, match="palm_not_found"):
        await remove(world, ref, user_id)
    assert world.palms.deleted == []


async def test_two_workers_at_once_record_one_end_in_every_order() -> None:
    async def scene() -> tuple[World, list[Coroutine[Any, Any, object]]]:
        world = World()
        await remove(world)
        return world, [world.workers().round() for _ in range(2)]

    async def check(world: World, first: object, second: object) -> None:
        assert not isinstance(first, BaseException), first
        assert not isinstance(second, BaseException), second
        assert world.names(PALM).count("enrollment.template_removed") == 1
        assert world.names(USER).count("user.palm_removed") == 1

    await race(scene, check, steps=10)


@pytest.mark.parametrize("dies", ["before the vendor", "before the commit", "after the commit"])
async def test_a_worker_that_dies_is_followed_by_one_that_finishes(dies: str) -> None:
    world = World()
    await remove(world)
    match dies:
        case "before the vendor":
            world.palms.before = kill
        case "before the commit":
            world.log.before(e.EnrollmentTemplateRemoved, kill)
        case _:
            world.log.after(e.EnrollmentTemplateRemoved, kill)
    with pytest.raises(Killed):
        await world.workers().round()
    assert await world.workers().round() == [Delivered()]
    palm = await world.palm_removals().get(TENANT, USER, PALM)
    expected = "absent" if dies == "before the commit" else "deleted"
    assert (palm.status, palm.vendor_answer) == ("removed", expected)
    assert world.names(USER).count("user.palm_removed") == 1


async def test_a_person_who_changes_meanwhile_is_no_reason_to_fail() -> None:
    world = World()
    await remove(world)

    async def suspend() -> None:
        world.given(USER, builders.user_suspended())

    world.log.before(e.EnrollmentTemplateRemoved, suspend)
    assert await world.workers().round() == [Delivered()]
    assert world.names(USER)[-1] == "user.palm_removed"


async def test_a_commit_that_nobody_knows_of_is_mended_by_the_next_try() -> None:
    world = World()
    await remove(world)
    world.log.after(e.EnrollmentTemplateRemoved, raising(CommitFailed("the line was cut")))
    workers = world.workers()
    assert await workers.round() == [RetryLater("CommitFailed")]
    assert await workers.round() == [Delivered()]
    assert world.names(USER).count("user.palm_removed") == 1


async def test_what_a_failed_enrolment_left_is_destroyed_by_the_workers() -> None:
    world = granted()
    world.palms.enroll_raises = PalmVendorFailed("palm_vendor_timeout")
    world.palms.delete_raises = PalmVendorFailed("palm_vendor_timeout")
    with pytest.raises(Exception, match="palm_vendor_timeout"):
        await enroll(world)
    workers = world.workers()
    assert await workers.round() == [RetryLater("palm_vendor_timeout")]
    world.palms.delete_raises = None
    assert await workers.round() == [Delivered()]
    assert await world.palm_removals().outstanding(TENANT, OTHER_USER) == []
    assert "user.palm_removed" not in world.names(OTHER_USER), "it never was the person's"


async def test_an_enrolment_whose_process_died_is_given_up_and_cleaned_up() -> None:
    world = granted()
    world.palms.when_stored = kill
    with pytest.raises(Killed):
        await enroll(world)
    sweepers = world.sweepers()
    assert await sweepers.round() == [
        Delivered(),
        Waits(GIVEN_UP_AFTER.total_seconds(), holds=False),
    ]
    assert await world.palm_removals().outstanding(TENANT, OTHER_USER) != []
    world.clock.advance(GIVEN_UP_AFTER.total_seconds())
    assert await sweepers.round() == [Delivered()]
    assert await world.workers().round() == [Delivered()]
    assert await world.palm_removals().outstanding(TENANT, OTHER_USER) == []
    assert [rgb for rgb in world.palms.enrolled.values() if rgb == BEA] == []
    assert isinstance(await enroll(world, key="anew"), Enrolled)


async def test_whoever_erases_a_person_has_every_palm_and_enrolment_of_theirs_go() -> None:
    """One palm that works, one that a dead process left half way, one that failed."""
    world = granted()
    works = (await enroll(world)).palm_ref
    world.palms.enroll_raises = PalmVendorFailed("palm_vendor_timeout")
    world.palms.delete_raises = PalmVendorFailed("palm_vendor_timeout")
    with pytest.raises(Exception, match="palm_vendor_timeout"):
        await enroll(world, b"failed", hand="right", key="failed")
    world.palms.enroll_raises = None
    world.palms.when_stored = kill
    with pytest.raises(Killed):
        await enroll(world, b"half way", hand="right", key="half way")
    removals = world.palm_removals()
    for _ in range(2):
        left = await removals.start_all(BACKEND, OTHER_USER, "erasure")
        assert len(left) == 3
        assert works in left
    assert await removals.of(TENANT, USER) != [], "another person's stay"
    world.palms.delete_raises = None
    await world.workers().round()
    assert await removals.outstanding(TENANT, OTHER_USER) == []
    assert list(world.palms.enrolled) == [(TENANT_KEY, PALM)]
    assert await removals.start_all(BACKEND, OTHER_USER, "erasure") == []


async def test_an_enrolment_given_up_under_its_process_leaves_nothing_behind() -> None:
    """The person is erased while the vendor is being asked."""
    world = granted()

    async def erase() -> None:
        await world.palm_removals().start_all(BACKEND, OTHER_USER, "erasure")
        await world.workers().round()

    world.palms.before = None
    world.palms.when_stored = erase
    with pytest.raises(Exception, match="request_in_progress"):
        await enroll(world)
    await world.workers().round()
    assert [rgb for rgb in world.palms.enrolled.values() if rgb == BEA] == []
    assert await world.palm_removals().outstanding(TENANT, OTHER_USER) == []
