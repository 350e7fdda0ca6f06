"""A palm compared for a backend: with one person (1:1) or with all (1:N), and what it is told."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from application.palms.comparisons import PER_CLIENT, PER_TENANT, Compared
from application.ports import PalmQueryForbidden, PalmVendorFailed
from domain.comparison import IdentificationCompleted, VerificationCompleted
from domain.errors import Conflict, Invalid, NotFound, Refusal, TooMany, Unavailable
from domain.ids import PalmRef, UserId
from domain.matching import MatchPolicy
from tests import builders
from tests.application.turns import race
from tests.application.world import (
    ALI,
    BACKEND,
    OTHER_PALM,
    OTHER_TENANT,
    OTHER_USER,
    TENANT_KEY,
    World,
    scan,
)
from tests.builders import DEVICE, PALM, USER
from tests.spec import TENANT

KEY = "compare-1"


async def verify(
    world: World, palm: bytes = ALI, *, user_id: UserId = USER, key: str | None = KEY
) -> Compared:
    return await world.comparisons().verify(BACKEND, user_id, scan(palm), key)


async def identify(world: World, palm: bytes = ALI, *, key: str | None = KEY) -> Compared:
    return await world.comparisons().identify(BACKEND, scan(palm), key)


def twin(world: World) -> None:
    """Another person whose palm looks exactly like Ali's."""
    world.given(
        OTHER_USER,
        builders.user_signed_up(),
        builders.user_consent_granted(),
        builders.user_palm_added(palm_ref=OTHER_PALM),
    )
    world.given(
        OTHER_PALM,
        builders.enrollment_started(user_id=OTHER_USER),
        builders.enrollment_completed(),
    )
    world.palms.enrolled[TENANT_KEY, OTHER_PALM] = ALI


async def test_a_palm_of_the_person_named_is_a_match_with_its_confidence() -> None:
    world = World()
    compared = await verify(world)
    assert compared.confidence == 0.95
    event = compared.completed
    assert isinstance(event, VerificationCompleted)
    assert (event.user_id, event.result, event.reason, event.palm_ref) == (
        USER,
        "match",
        None,
        PALM,
    )
    assert event.compared_at == world.clock.now()
    assert world.events(compared.id) == [event]
    assert compared.position == world.log.read_now()[-1].position


async def test_a_palm_of_nobody_is_no_match_and_says_not_how_near_it_came() -> None:
    world = World()
    stranger = await verify(world, b"a stranger's palm")
    assert (stranger.completed.result, stranger.completed.reason) == ("no_match", "no_candidate")
    world.palms.scores[PALM] = (0.95, 0.95, 0.95, 0.1)
    weak = await verify(world, key="weak")
    assert (weak.completed.result, weak.completed.reason) == ("no_match", "low_confidence")
    assert weak.completed.scores == (0.95, 0.95, 0.95, 0.1)
    assert weak.confidence is None


async def test_a_palm_of_somebody_else_is_no_match_for_the_person_named() -> None:
    """Seen to fail while any match of the tenant counted as the named person's."""
    world = World()
    world.given(OTHER_USER, builders.user_signed_up(), builders.user_consent_granted())
    compared = await verify(world, user_id=OTHER_USER)
    assert (compared.completed.result, compared.completed.palm_ref) == ("no_match", None)


async def test_of_two_who_look_alike_each_is_verified_and_neither_identified() -> None:
    world = World()
    twin(world)
    for user_id in (USER, OTHER_USER):
        assert (await verify(world, user_id=user_id, key=None)).completed.result == "match"
    found = await identify(world)
    assert isinstance(found.completed, IdentificationCompleted)
    assert (found.completed.result, found.completed.reason) == ("no_match", "ambiguous")
    assert found.completed.user_id is None


async def test_a_palm_is_identified_among_all() -> None:
    world = World()
    found = await identify(world)
    assert (found.completed.result, found.completed.user_id) == ("match", USER)
    assert found.confidence == 0.95
    nobody = await identify(world, b"a stranger's palm", key="another")
    assert (nobody.completed.result, nobody.completed.user_id) == ("no_match", None)


def _suspended(world: World) -> None:
    world.given(USER, builders.user_suspended())


def _withdrawn(world: World) -> None:
    world.given(USER, builders.user_consent_withdrawn())


def _kyc(world: World) -> None:
    world.settings(kyc_required=True)


@pytest.mark.parametrize(
    ("arrange", "reason"),
    [
        (_suspended, "user_suspended"),
        (_withdrawn, "consent_withdrawn"),
        (_kyc, "kyc_required"),
    ],
)
async def test_who_may_not_be_served_is_refused_and_in_a_verification_not_compared(
    arrange: Callable[[World], None], reason: str
) -> None:
    world = World()
    arrange(world)
    verified = await verify(world)
    assert (verified.completed.result, verified.completed.reason) == ("refused", reason)
    assert world.palms.budgets_s == []
    found = await identify(world)
    assert (found.completed.result, found.completed.reason) == ("refused", reason)
    assert found.confidence is None
    assert found.completed.user_id == USER, "in the log, and nowhere else"


async def test_a_palm_that_is_being_removed_matches_nobody() -> None:
    world = World()
    await world.palm_removals().start(BACKEND, USER, PALM, "requested")
    assert (await verify(world)).completed.result == "no_match"
    assert (await identify(world)).completed.result == "no_match"


async def test_the_same_key_gets_the_same_answer_and_asks_nobody() -> None:
    world = World()
    first, found = await verify(world), await identify(world)
    world.palms.enrolled.clear()
    again, found_again = await verify(world), await identify(world)
    assert (again.id, again.completed, again.position) == (first.id, first.completed, None)
    assert (found_again.id, found_again.completed) == (found.id, found.completed)
    assert world.trace.count("vendor identify") == 2
    for refused in (
        verify(world, b"another"),
        verify(world, user_id=OTHER_USER),
        identify(world, b"another"),
    ):
        with pytest.raises(Invalid, match="idempotency_key_reused"):
            await refused


async def test_one_verification_sent_twice_at_once_is_one_answer_in_every_order() -> None:
    async def scene() -> tuple[World, list[Coroutine[Any, Any, Compared]]]:
        world = World()
        return world, [verify(world) for _ in range(2)]

    async def check(world: World, first: object, second: object) -> None:
        assert isinstance(first, Compared), first
        assert isinstance(second, Compared), second
        assert (first.id, first.completed) == (second.id, second.completed)
        assert world.names(first.id) == ["verification.completed"]

    await race(scene, check, steps=10)


@pytest.mark.parametrize(
    ("error", "refusal", "code"),
    [
        (PalmVendorFailed("palm_vendor_timeout"), Unavailable, "palm_vendor_timeout"),
        (PalmVendorFailed("palm_vendor_error", 50000), Unavailable, "palm_vendor_error"),
        (PalmQueryForbidden(), Conflict, "palm_type_not_allowed"),
    ],
)
async def test_a_vendor_that_fails_is_never_a_no_and_the_same_key_asks_again(
    error: Exception, refusal: type[Refusal], code: str
) -> None:
    world = World()
    before = len(world.log.read_now())
    world.palms.identify_raises = error
    for asked in (verify, identify):
        with pytest.raises(refusal, match=code):
            await asked(world)
    assert len(world.log.read_now()) == before
    world.palms.identify_raises = None
    for asked in (verify, identify):
        assert (await asked(world)).completed.result == "match"


@pytest.mark.parametrize("user_id", [OTHER_USER, UserId(DEVICE), UserId(PalmRef(PALM))])
async def test_a_person_whom_nobody_knows_is_not_found(user_id: UserId) -> None:
    world = World()
    with pytest.raises(NotFound, match="user_not_found"):
        await verify(world, user_id=user_id)
    assert world.palms.budgets_s == []


async def test_a_picture_that_is_not_good_enough_is_not_compared() -> None:
    world = World()
    world.settings(match_policy=MatchPolicy(min_quality=99))
    for asked in (verify, identify):
        with pytest.raises(Invalid, match="low_quality"):
            await asked(world)
    assert world.palms.budgets_s == []


async def test_a_comparison_is_shown_to_its_own_tenant_under_its_own_kind() -> None:
    world = World()
    comparisons = world.comparisons()
    verified, found = await verify(world), await identify(world)
    assert (await comparisons.verification(TENANT, verified.id)).completed == verified.completed
    assert (await comparisons.identification(TENANT, found.id)).completed == found.completed
    for tenant_id, comparison_id in ((OTHER_TENANT, verified.id), (TENANT, found.id)):
        with pytest.raises(NotFound, match="verification_not_found"):
            await comparisons.verification(tenant_id, comparison_id)
    for tenant_id, comparison_id in ((OTHER_TENANT, found.id), (TENANT, verified.id)):
        with pytest.raises(NotFound, match="identification_not_found"):
            await comparisons.identification(tenant_id, comparison_id)


async def test_a_backend_compares_so_often_a_minute_and_a_repeat_is_not_counted() -> None:
    world = World()
    first = await identify(world)
    limit, per_s = PER_CLIENT
    for _ in range(limit - 1):
        assert await world.limiter.hit(
            "comparison.client", f"{TENANT}:{BACKEND.actor}", limit=limit, per_s=per_s
        )
    with pytest.raises(TooMany, match="rate_limited"):
        await verify(world, key="another")
    assert (await identify(world)).id == first.id
    world.clock.advance(2 * per_s)
    await verify(world, key="another")


async def test_the_backends_of_a_tenant_have_a_budget_together() -> None:
    world = World()
    limit, per_s = PER_TENANT
    assert await world.limiter.hit(
        "comparison.tenant", str(TENANT), limit=limit, per_s=per_s, cost=limit
    )
    with pytest.raises(TooMany, match="rate_limited"):
        await identify(world)
