"""A transaction without a device: the real way to a real product, and never a palm vendor."""

from typing import Any

import pytest

from application.ports import AuthorizeFailed
from application.principals import IntegratorPrincipal
from application.transactions.authorization import Authorization
from application.transactions.decisions import Decisions
from application.transactions.simulation import Palm, Played, Simulated, Simulations
from application.transactions.stand_in import StandIns
from application.transactions.voids import Voids
from domain import transaction as x
from domain.errors import Forbidden, Invalid, NotFound
from domain.ids import OAuthClientId, UserId
from domain.matching import MatchPolicy
from tests import builders
from tests.application.deliveries import Deliveries
from tests.application.test_voids import Notices
from tests.application.world import ISSUER, World
from tests.builders import USER
from tests.spec import CORRELATION, STREAM, TENANT

CALLER = IntegratorPrincipal(
    tenant_id=TENANT,
    actor="client:cli_1",
    correlation_id=CORRELATION,
    client_id=OAuthClientId(STREAM),
    scopes=frozenset({"transactions:simulate"}),
)


def simulations(world: World) -> Simulations:
    decisions = Decisions(
        world.log,
        Authorization(world.product, world.signer, ISSUER),
        StandIns(world.limiter),
        world.contexts,
        world.texts,
        world.clock,
        world.ids,
    )
    return Simulations(
        world.log,
        world.log,
        decisions,
        world.canonical,
        world.commitments,
        world.texts,
        world.clock,
        world.ids,
    )


async def play(world: World, palm: Palm = "match", **given: Any) -> Played:
    asked: dict[str, Any] = {
        "idempotency_key": "a-simulation-0000001",
        "product_key": "wallet",
        "action": "pay",
        "palm": palm,
        "user_id": USER if palm == "match" else None,
        "context": {"amount": "5.00", "currency": "SAR"},
        "deadline_ms": None,
    }
    return await simulations(world).transact(CALLER, Simulated(**(asked | given)))


def received(world: World, played: Played) -> x.TransactionReceived:
    event = world.events(played.transaction_id)[0]
    assert isinstance(event, x.TransactionReceived)
    return event


async def test_a_palm_that_matches_asks_the_product_and_says_that_nothing_was_there() -> None:
    world = World(sandbox=True)
    played = await play(world)
    assert played.answer is not None
    assert (played.answer.decision, played.answer.display_message) == ("allow", "Approved")
    assert world.names(played.transaction_id) == [
        "transaction.received",
        "transaction.identified",
        "transaction.authorization_requested",
        "transaction.allowed",
    ]
    assert received(world, played).simulated
    (claims,) = world.signer.claims
    assert (claims["simulated"], claims["action"]) == (True, "pay")
    assert len(world.product.calls) == 1
    assert not world.palms.budgets_s, "no palm vendor is ever asked"


@pytest.mark.parametrize(
    ("palm", "decision", "reason"),
    [
        ("no_match", "not_recognized", "no_candidate"),
        ("low_confidence", "not_recognized", "low_confidence"),
        ("ambiguous", "not_recognized", "ambiguous"),
        ("forbidden", "deny", "palm_type_not_allowed"),
    ],
)
async def test_what_the_vendor_might_have_said_needs_no_product(
    palm: Palm, decision: str, reason: str
) -> None:
    world = World(sandbox=True)
    played = await play(world, palm)
    assert played.answer is not None
    assert (played.answer.decision, played.answer.reason) == (decision, reason)
    assert not world.product.calls
    assert not world.palms.budgets_s


@pytest.mark.parametrize("palm", ["vendor_error", "vendor_timeout"])
async def test_a_vendor_that_fails_leaves_it_undecided_and_recorded(palm: Palm) -> None:
    world = World(sandbox=True)
    played = await play(world, palm)
    assert played.answer is None
    (_, failed) = world.events(played.transaction_id)
    assert isinstance(failed, x.TransactionVendorFailed)
    assert failed.reason == f"palm_{palm}"
    assert await play(world, palm) == played


async def test_the_same_key_is_the_same_transaction() -> None:
    world = World(sandbox=True)
    first = await play(world)
    assert await play(world) == first
    assert len(world.product.calls) == 1
    with pytest.raises(Invalid, match="idempotency_key_reused"):
        await play(world, context={"amount": "6.00", "currency": "SAR"})


async def test_a_live_tenant_simulates_nothing() -> None:
    """Seen to fail without the look at the tenant: an assertion for a real person's money."""
    world = World()
    with pytest.raises(Forbidden, match="tenant_not_sandbox"):
        await play(world)
    assert not world.product.calls
    assert not world.trace


async def test_the_person_is_checked_as_anybody_is() -> None:
    world = World(sandbox=True)
    with pytest.raises(NotFound, match="user_not_found"):
        await play(world, user_id=UserId(STREAM))
    world.given(USER, builders.user_suspended())
    played = await play(world)
    assert played.answer is not None
    assert (played.answer.decision, played.answer.reason) == ("deny", "user_suspended")


async def test_a_strict_policy_is_no_hindrance() -> None:
    world = World(sandbox=True)
    world.settings(match_policy=MatchPolicy(min_quality=50, min_liveness=0.5))
    played = await play(world)
    assert played.answer is not None
    assert played.answer.decision == "allow"


async def test_what_is_owed_afterwards_is_marked_as_well() -> None:
    world = World(sandbox=True)
    world.routing(void_path="/void")
    world.product.says = AuthorizeFailed("authorize_timeout", reached=True)
    played = await play(world)
    assert played.answer is not None
    assert played.answer.reason == "authorize_timeout"
    notices = Notices()
    kind = Voids(world.log, notices, world.texts, world.signer, ISSUER, world.clock, world.ids)
    await Deliveries(world.log, kind).round()
    assert len(notices.calls) == 1
    assert world.signer.claims[-1]["action"] == "void"
    assert world.signer.claims[-1]["simulated"] is True
