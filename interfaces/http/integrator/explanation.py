"""`/v1/transactions/{id}/explanation`: one transaction from end to end (broker.md §5.3)."""

from datetime import datetime
from typing import Any, Final, Literal

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath

from application.permissions import may
from application.ports import DeliveryRecord
from application.principals import Manager
from application.transactions.authorization import NOT_RECORDED
from application.transactions.full_explanation import BreakerState, CircuitThen, Matched
from domain import transaction as x
from domain.fail_mode import FailMode
from domain.folding import fold
from domain.ids import wire
from interfaces.http.integrator.transactions import (
    PREFIX,
    DeterminedBy,
    TransactionShown,
    determined_by_shown,
    transaction_shown,
)
from interfaces.http.integrator.webhook_shapes import WebhookTry, tries_shown
from interfaces.http.parameters import path_id
from interfaces.http.services import Services
from projections.transaction_row import reduce

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]

DESTINATIONS: Final = {"webhook": "whe", "void": "lsvc", "advice": "lsvc"}
"""What the destination of a kind of delivery is, by the prefix of its id."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """How the product was asked: the intent, as it was written down before.

    `breaker` is what the breaker did with this very question, `circuit` how it stood.
    """

    linked_service_id: str
    linked_service_version: int
    product_key: str
    action: str
    url: str
    timeout_ms: int
    fail_mode: FailMode
    idempotency_key: str
    attempt: int
    lease_until: datetime
    breaker: BreakerState
    circuit: CircuitThen


class AssertionShown(msgspec.Struct, frozen=True, kw_only=True):
    """The claims that rest on recorded events; the token itself is kept nowhere. `not_recorded`
    are the claims that came of the request's context and of the moment of signing."""

    claims: dict[str, Any]
    not_recorded: tuple[str, ...]


class DeliveryShown(msgspec.Struct, frozen=True, kw_only=True):
    """What was owed to another system because of this transaction, and every try."""

    kind: str
    event_id: str
    event: str
    destination: str
    state: Literal["pending", "delivered", "dead"]
    reason: str | None
    owed_at: datetime
    due_at: datetime
    finished_at: datetime | None
    attempts: int
    tries: list[WebhookTry]


class ShadowSaid(msgspec.Struct, frozen=True, kw_only=True):
    """`reason` is why it would have allowed, or the bound that it met."""

    would: Literal["allow", "deny"]
    reason: str | None


class TransactionExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """One transaction from end to end, durations in milliseconds.

    `sentence` says what became of it in English and in Arabic. `waterfall` has its steps in the
    order of their times, and `own_ms` what the platform took of the wait for itself. `shadow` is
    what the service's shadow policy would have decided, where the product gave no answer. Scores
    and thresholds are shown to whoever may evaluate match policies; others see which passed.
    """

    transaction: TransactionShown
    simulated: bool
    sentence: x.Sentence
    waterfall: list[x.Step]
    own_ms: float | None
    match: Matched | None
    question: Question | None
    assertion: AssertionShown | None
    shadow: ShadowSaid | None
    deliveries: list[DeliveryShown]
    determined_by: list[DeterminedBy]


@get(
    "/v1/transactions/{transaction_id:str}/explanation",
    operation_id="explainTransaction",
    tags=["Transactions"],
    summary="One transaction from end to end, and in one sentence",
    description="As of now, from the log itself. Scores and thresholds need the scope "
    "match_policies:evaluate besides; without it they are null.",
    permission="transactions.read",
    refusals={404: ("transaction_not_found",)},
)
async def explain(
    transaction_id: FromPath[str], integrator: Integrator, services: Given
) -> TransactionExplanation:
    return await explained(services, integrator, transaction_id)


async def explained(
    services: Services, integrator: Manager, transaction_id: str
) -> TransactionExplanation:
    """The answer, for whoever may read transactions. Raises NotFound."""
    found = await services.full_explanations.explain(
        integrator.tenant_id,
        path_id(PREFIX, transaction_id, "transaction_not_found"),
        scores=may(integrator, "match_policies.evaluate"),
    )
    row = fold(reduce, found.past)
    assert row is not None, "a transaction that was found has begun"
    intent, shadow = found.transaction.intent, x.shadow_of(found.transaction)
    return TransactionExplanation(
        transaction=transaction_shown(row),
        simulated=found.transaction.received.simulated,
        sentence=x.sentence(found.transaction),
        waterfall=x.course(found.past),
        own_ms=x.own_ms(found.past),
        match=found.matched,
        question=(
            None
            if intent is None or found.circuit is None
            else _question(intent, found.breaker, found.circuit)
        ),
        assertion=(
            None
            if found.claims is None
            else AssertionShown(claims=found.claims, not_recorded=NOT_RECORDED)
        ),
        shadow=(None if shadow is None else ShadowSaid(would=shadow.would, reason=shadow.reason)),
        deliveries=[_delivery(each) for each in found.deliveries],
        determined_by=[determined_by_shown(each) for each in found.determined_by],
    )


def _question(
    intent: x.TransactionAuthorizationRequested, breaker: BreakerState, circuit: CircuitThen
) -> Question:
    return Question(
        linked_service_id=wire("lsvc", intent.service_id),
        linked_service_version=intent.service_version,
        product_key=intent.product_key,
        action=intent.action,
        url=intent.base_url.rstrip("/") + intent.authorize_path,
        timeout_ms=intent.timeout_ms,
        fail_mode=intent.fail_mode,
        idempotency_key=intent.product_idempotency_key,
        attempt=intent.epoch,
        lease_until=intent.lease_until,
        breaker=breaker,
        circuit=circuit,
    )


def _delivery(found: DeliveryRecord) -> DeliveryShown:
    prefix = DESTINATIONS.get(found.kind)
    return DeliveryShown(
        kind=found.kind,
        event_id=wire("evt", found.event.id),
        event=found.event.name,
        destination=str(found.destination) if prefix is None else wire(prefix, found.destination),
        state=found.state,
        reason=found.reason,
        owed_at=found.owed_at,
        due_at=found.due_at,
        finished_at=found.finished_at,
        attempts=found.attempts,
        tries=tries_shown(found),
    )


HANDLERS = (explain,)
