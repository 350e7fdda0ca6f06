"""`/v1/simulate/transactions`: a transaction without a device, in sandbox tenants only."""

from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from application.principals import Manager
from application.transactions.simulation import Palm, Simulated
from domain import transaction as x
from domain.errors import Malformed, NotFound
from domain.ids import UserId, parse, wire
from interfaces.http.context import bounded
from interfaces.http.integrator.explanation import TransactionExplanation, explained
from interfaces.http.json_body import StrictJSON
from interfaces.http.parameters import IdempotencyKey, header_key
from interfaces.http.refusals import BODY, KEY, merged
from interfaces.http.services import Services

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]

PREFIX: Final = "txn"
ProductKey = Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_-]{0,62}$")]
Action = Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_.-]{0,62}$")]
User = Annotated[str, msgspec.Meta(pattern="^usr_[0-9a-f]{32}$")]
Deadline = Annotated[int, msgspec.Meta(ge=500, le=10_000)]


class Simulation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A palm that is taken to have been held over a device that is bound to this product.

    `user_id` is whose palm it is, and belongs to `match` alone.
    """

    product_key: ProductKey
    action: Action
    palm: Palm = "match"
    user_id: User | None = None
    context: dict[str, Any] = {}
    deadline_ms: Deadline | None = None


class SimulationShown(msgspec.Struct, frozen=True, kw_only=True):
    """What a device would have been told (null where it would have been told to try again), and
    the whole of what happened."""

    transaction_id: str
    answer: x.Answer | None
    explanation: TransactionExplanation


@post(
    "/v1/simulate/transactions",
    operation_id="simulateTransaction",
    tags=["Transactions"],
    summary="Run a transaction without a device or a palm, in a sandbox tenant",
    description="The product is really called, with a real assertion whose claim `simulated` is "
    "true. The same Idempotency-Key is the same transaction.",
    dto=StrictJSON[Simulation],
    return_dto=None,
    permission="transactions.simulate",
    status_code=200,
    request_max_body_size=16_384,
    refusals=merged(
        BODY,
        KEY,
        {
            400: ("context_too_large", "context_too_deep"),
            403: ("tenant_not_sandbox",),
            404: ("user_not_found",),
            409: ("request_in_progress", "conflict"),
            422: ("context_not_canonical", "low_quality", "liveness_failed"),
            503: ("commit_failed",),
        },
    ),
)
async def simulate(
    request: Request[Any, Any, Any],
    data: JSONBody[Simulation],
    integrator: Integrator,
    services: Given,
    idempotency_key: IdempotencyKey = None,
) -> Response[SimulationShown]:
    del idempotency_key  # declared for OpenAPI; read from the raw headers to see a second one
    if (data.user_id is None) is (data.palm == "match"):
        raise Malformed("invalid_request", "user_id belongs to palm match, and to no other")
    user = None if data.user_id is None else parse("usr", data.user_id)
    if data.user_id is not None and user is None:
        raise NotFound("user_not_found")
    found = await services.simulations.transact(
        integrator,
        Simulated(
            idempotency_key=header_key(request) or services.ids.uuid().hex,
            product_key=data.product_key,
            action=data.action,
            palm=data.palm,
            user_id=None if user is None else UserId(user),
            context=bounded(data.context),
            deadline_ms=data.deadline_ms,
        ),
    )
    name = wire(PREFIX, found.transaction_id)
    explanation = await explained(services, integrator, name)
    return Response(
        SimulationShown(transaction_id=name, answer=found.answer, explanation=explanation)
    )


HANDLERS = (simulate,)
