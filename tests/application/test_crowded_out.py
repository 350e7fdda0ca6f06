"""Templates that only wait to be destroyed hide nobody: not who is recognised, not a duplicate."""

from uuid import UUID

import pytest

from application.palms.recognition import CANDIDATES_SOUGHT
from domain import transaction as x
from domain.errors import Conflict
from domain.ids import PalmRef
from tests import builders
from tests.application.world import (
    ALI,
    BACKEND,
    OTHER_PALM,
    OTHER_USER,
    TENANT_KEY,
    TILL,
    World,
    scan,
    transaction,
)
from tests.builders import DEVICE, NOW, PALM, USER
from tests.spec import TENANT


def crowded(dead: int = CANDIDATES_SOUGHT) -> World:
    """Ali's palm, behind templates of the same hand that the vendor has not destroyed yet."""
    world = World()
    before = [PalmRef(UUID(int=number)) for number in range(1, dead + 1)]
    for palm_ref in before:
        world.given(
            palm_ref,
            builders.enrollment_started(),
            builders.enrollment_completed(),
            builders.enrollment_template_removal_started(),
        )
    world.palms.enrolled = {(TENANT_KEY, ref): ALI for ref in (*before, PALM)}
    return world


def with_a_double(world: World) -> World:
    """Somebody else's palm looks the same, and comes last."""
    world.given(OTHER_USER, builders.user_signed_up(), builders.user_consent_granted())
    started = builders.enrollment_started(user_id=OTHER_USER)
    world.given(OTHER_PALM, started, builders.enrollment_completed())
    world.palms.enrolled[TENANT_KEY, OTHER_PALM] = ALI
    return world


async def test_who_stands_behind_the_dead_is_recognised() -> None:
    """Seen to fail (`not_recognized`) while five were asked for and no more."""
    world = crowded()
    assert (await world.transact()).answer.decision == "allow"
    identified = world.events(transaction())[1]
    assert isinstance(identified, x.TransactionIdentified)
    assert (identified.palm_ref, len(identified.candidates)) == (PALM, 1)
    first, second = world.palms.budgets_s[:2]
    assert second == first, "the clock stood still"


async def test_two_people_are_still_told_apart_behind_the_dead() -> None:
    """Seen to fail (`allow`) while the one who was seen was taken for the only one."""
    world = with_a_double(crowded(dead=CANDIDATES_SOUGHT - 1))
    answer = (await world.transact()).answer
    assert (answer.decision, answer.reason) == ("not_recognized", "ambiguous")


async def test_a_person_who_is_named_is_verified_behind_the_dead() -> None:
    world = crowded()
    compared = await world.comparisons().verify(BACKEND, USER, scan(ALI), None)
    assert compared.completed.result == "match"


@pytest.mark.parametrize("dead", [0, 1, CANDIDATES_SOUGHT - 1])
async def test_the_vendor_is_asked_once_where_nobody_can_be_hidden(dead: int) -> None:
    world = crowded(dead)
    if dead == 0:
        with_a_double(world)
    else:
        world.palms.enrolled.pop((TENANT_KEY, PalmRef(UUID(int=dead))))
    await world.transact()
    assert world.trace.count("vendor identify") == 1


async def test_both_questions_share_one_budget() -> None:
    world = crowded()
    world.palms.takes_s = 0.5
    await world.transact()
    first, second = world.palms.budgets_s[:2]
    assert second == pytest.approx(first - 0.5)


async def test_a_duplicate_behind_the_dead_is_found() -> None:
    """Seen to fail while five were asked for and no more."""
    world = crowded()
    world.given(OTHER_USER, builders.user_signed_up(), builders.user_consent_granted())
    await world.grants.open(TENANT, DEVICE, OTHER_USER, NOW.replace(year=2027))
    with pytest.raises(Conflict, match="duplicate_palm"):
        await world.enrollments().enroll(TILL, OTHER_USER, "left", scan(ALI), None)
