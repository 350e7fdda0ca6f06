"""A palm takes the place of another of the same hand: one of them works at every moment."""

from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import Any

import pytest

from application.execute import Done
from application.palms.palm_intake import ABANDONED_AFTER, Enrolled
from application.palms.palm_removals import Palm
from application.people.erasures import ErasureReport
from application.ports import PalmRejected, PalmVendorFailed
from domain import claim as k
from domain import enrollment as e
from domain import user as u
from domain.errors import Conflict, Forbidden, Invalid, Unavailable
from domain.ids import PalmRef, claim_id
from tests.application.turns import race
from tests.application.world import (
    BACKEND,
    TENANT_KEY,
    TILL,
    Killed,
    World,
    asking,
    kill,
    scan,
    transaction,
)
from tests.builders import DEVICE, PALM, USER
from tests.spec import TENANT

ANEW = b"the palm of ali, years later"
HAND = claim_id(TENANT, k.PALM_HAND, f"{USER}:right")


def world_of_ali() -> World:
    """Ali's right palm is enrolled, and he proved a code at the till."""
    world = World()
    world.grants.until[TENANT, DEVICE, USER] = world.clock.now() + timedelta(days=1)
    return world


async def replace(world: World, *, key: str | None = "anew", replace: bool = True) -> Enrolled:
    return await world.enrollments().enroll(TILL, USER, "right", scan(ANEW), key, replace=replace)


def palms(world: World) -> u.User:
    user = u.rebuild(world.log.stream(USER))
    assert user is not None
    return user


def template(world: World, palm_ref: PalmRef) -> str:
    enrollment = e.rebuild(world.log.stream(palm_ref))
    assert enrollment is not None
    return enrollment.template


def holder(world: World) -> object:
    claim = k.rebuild(world.log.stream(HAND))
    assert claim is not None
    return claim.owner


async def test_the_old_palm_works_until_the_new_one_does_and_then_goes() -> None:
    world = world_of_ali()
    world.trace.clear()
    enrolled = await replace(world)
    assert enrolled.replaces == PALM
    assert world.trace == [
        "vendor identify",
        "committed enrollment.started",
        "committed claim.taken",
        "vendor enroll",
        "vendor identify",
        "committed enrollment.completed",
        "committed enrollment.template_removal_started",
        "committed user.palm_added",
        "committed user.palm_removal_started",
    ]
    assert world.events(USER)[-1] == u.UserPalmRemovalStarted(palm_ref=PALM, reason="replaced")
    assert dict(palms(world).palms) == {enrolled.palm_ref: "right"}
    assert holder(world) == enrolled.palm_ref
    await world.workers().round()
    assert template(world, PALM) == "removed"
    assert world.palms.enrolled == {(TENANT_KEY, enrolled.palm_ref): ANEW}


async def test_a_person_is_recognised_at_every_moment_of_it() -> None:
    """Asked while the vendor has both templates: the old one counts, the new one does not yet."""
    world = world_of_ali()

    async def meanwhile() -> None:
        assert (await world.transact()).answer.decision == "allow"

    world.palms.when_stored = meanwhile
    await replace(world)
    assert "answered" in world.trace
    refused = await world.transact(asking(key="till-4-00000000002"))
    assert refused.answer.decision == "not_recognized"
    again = await world.transact(asking(key="till-4-00000000003", palm=ANEW))
    assert again.answer.decision == "allow"
    assert world.names(transaction("till-4-00000000003"))[-1] == "transaction.allowed"


async def test_without_leave_to_replace_a_hand_is_enrolled_once() -> None:
    world = world_of_ali()
    with pytest.raises(Conflict, match="palm_already_enrolled"):
        await replace(world, replace=False)
    assert holder(world) == PALM


async def test_a_free_hand_is_enrolled_and_nothing_replaced() -> None:
    world = world_of_ali()
    enrolled = await world.enrollments().enroll(
        TILL, USER, "left", scan(b"ali's left palm"), "left", replace=True
    )
    assert enrolled.replaces is None
    assert set(palms(world).palms) == {PALM, enrolled.palm_ref}


async def test_a_repeat_says_the_same_and_asks_nobody() -> None:
    world = world_of_ali()
    first = await replace(world)
    world.trace.clear()
    assert await replace(world) == first
    assert world.trace == []


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PalmRejected("low_quality", ["press_less"]), Invalid),
        (PalmVendorFailed("palm_vendor_timeout"), Unavailable),
    ],
)
async def test_what_comes_to_nothing_leaves_the_old_palm_and_its_hand(
    error: Exception, told: type[Exception]
) -> None:
    world = world_of_ali()
    world.palms.enroll_raises = error
    with pytest.raises(told):
        await replace(world)
    assert holder(world) == PALM
    assert template(world, PALM) == "kept"
    assert dict(palms(world).palms) == {PALM: "right"}
    world.palms.enroll_raises = None
    assert (await replace(world, key="again")).replaces == PALM


async def test_one_whose_process_died_is_given_up_and_the_hand_given_back() -> None:
    world = world_of_ali()
    world.palms.when_stored = kill
    with pytest.raises(Killed):
        await replace(world)
    assert template(world, PALM) == "kept"
    with pytest.raises(Conflict, match="palm_already_enrolled"):
        await replace(world, key="too early")
    world.clock.advance(ABANDONED_AFTER.total_seconds())
    enrolled = await replace(world, key="later")
    assert enrolled.replaces == PALM
    await world.workers().round()
    assert world.palms.enrolled == {(TENANT_KEY, enrolled.palm_ref): ANEW}


def left_at_the_vendor(world: World) -> set[PalmRef]:
    return {ref for _, ref in world.palms.enrolled}


async def test_two_replacements_at_once_leave_one_palm_in_every_order() -> None:
    async def scene() -> tuple[World, Sequence[Coroutine[Any, Any, Enrolled]]]:
        world = world_of_ali()
        return world, [replace(world, key="one"), replace(world, key="two")]

    async def check(world: World, one: object, two: object) -> None:
        won = [each for each in (one, two) if isinstance(each, Enrolled)]
        assert won, (one, two)
        # Both succeed when the second began after the first had ended: it then replaces that one.
        assert all(isinstance(each, Enrolled | Conflict) for each in (one, two))
        (works,) = palms(world).palms
        assert holder(world) == works
        await world.workers().round()
        assert left_at_the_vendor(world) == {works}

    await race(scene, check, steps=9)


async def test_a_palm_taken_away_while_it_is_replaced_is_gone_in_every_order() -> None:
    async def scene() -> tuple[
        World, Sequence[Coroutine[Any, Any, Enrolled | tuple[Palm, Done | None]]]
    ]:
        world = world_of_ali()
        removal = world.palm_removals().start(BACKEND, USER, PALM, "requested")
        return world, [replace(world), removal]

    async def check(world: World, enrolled: object, removed: object) -> None:
        assert isinstance(removed, tuple), removed
        assert isinstance(enrolled, Enrolled), enrolled
        assert set(palms(world).palms) == {enrolled.palm_ref}
        assert holder(world) == enrolled.palm_ref
        await world.workers().round()
        assert left_at_the_vendor(world) == {enrolled.palm_ref}

    await race(scene, check, steps=11)


async def test_a_hand_is_not_given_back_to_a_palm_that_is_taken_away_in_that_moment() -> None:
    """Seen to fail, with a hand that belonged to a palm that was gone for good, while a removal
    left another's claim as it was."""
    world = world_of_ali()
    world.palms.enroll_raises = PalmVendorFailed("palm_vendor_error")

    async def remove() -> None:
        await world.palm_removals().start(BACKEND, USER, PALM, "requested")

    world.log.before(e.EnrollmentFailed, remove)
    with pytest.raises(Unavailable):
        await replace(world)
    assert holder(world) is None
    assert dict(palms(world).palms) == {}


async def test_an_erasure_leaves_no_template_in_every_order() -> None:
    async def scene() -> tuple[World, Sequence[Coroutine[Any, Any, Enrolled | ErasureReport]]]:
        world = world_of_ali()
        return world, [replace(world), world.erasures().request(BACKEND, USER)]

    async def check(world: World, enrolled: object, report: object) -> None:
        assert isinstance(report, ErasureReport), report
        assert isinstance(enrolled, Enrolled | Forbidden), enrolled
        world.clock.advance(ABANDONED_AFTER.total_seconds())
        await world.workers().round()
        done = await world.erasures().request(BACKEND, USER)
        assert done.erasure.status == "completed"
        assert left_at_the_vendor(world) == set()

    await race(scene, check, steps=9)
