"""What is told of one transaction besides what it rested on: how the breaker stood at the time."""

from collections.abc import Sequence
from typing import cast
from uuid import UUID

from application.ports import AuthorizeFailed, DeliveryRecord, DeliveryRecords
from application.transactions.explanation import Explanations
from application.transactions.full_explanation import CircuitThen, Explanation, FullExplanations
from domain.ids import TenantId, circuit_id
from tests import builders
from tests.application.world import ISSUER, World, transaction
from tests.builders import SERVICE
from tests.spec import TENANT


class NoDeliveries:
    async def about(self, tenant_id: TenantId, stream_id: UUID) -> Sequence[DeliveryRecord]:
        del tenant_id, stream_id
        return ()


async def explained(world: World) -> Explanation:
    explanations = FullExplanations(
        world.log,
        Explanations(world.log),
        cast("DeliveryRecords", NoDeliveries()),
        ISSUER,
    )
    return await explanations.explain(TENANT, transaction(), scores=True)


async def test_the_breaker_is_shown_as_it_stood_then_and_not_as_it_stands() -> None:
    """Seen to fail with the circuit as it stands now: the opening afterwards was shown."""
    world = World()
    await world.transact()
    world.given(circuit_id(SERVICE), builders.circuit_opened(openings=1, open_s=30.0))
    found = await explained(world)
    assert found.breaker == "let_through"
    assert found.circuit == CircuitThen(state="closed", openings=0, open_until=None)


async def test_an_open_circuit_and_one_that_is_tried_again_are_told_apart() -> None:
    for waited, state in ((1.0, "open"), (40.0, "half_open")):
        world = World()
        world.given(circuit_id(SERVICE), builders.circuit_opened(openings=2, open_s=30.0))
        world.clock.advance(waited)
        world.product.says = AuthorizeFailed("circuit_open", reached=False)
        await world.transact()
        found = await explained(world)
        assert found.breaker == "open"
        assert found.circuit is not None
        assert (found.circuit.state, found.circuit.openings) == (state, 2)


async def test_who_was_never_asked_had_no_breaker_before_it() -> None:
    world = World()
    world.palms.enrolled.clear()
    await world.transact()
    found = await explained(world)
    assert (found.breaker, found.circuit, found.claims) == ("not_asked", None, None)
