"""All there is to say of one transaction, for whoever must answer for it (broker.md §5.3)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import msgspec

from application.execute import stream_of
from application.ports import DeliveryRecord, DeliveryRecords, EventLog
from application.transactions.authorization import recorded_claims
from application.transactions.explanation import Determinant, Explanations
from domain import circuit as c
from domain import transaction as x
from domain.errors import NotFound
from domain.events import Recorded
from domain.ids import TenantId, circuit_id
from domain.matching import SCORE_NAMES

_rebuild: Final = stream_of(x.TransactionReceived, x.rebuild)


class ScoreShown(msgspec.Struct, frozen=True, kw_only=True):
    """One of the scores by its name, against the threshold in force.

    The figures are personal data; None for whoever may only know which passed.
    """

    name: str
    passed: bool
    score: float | None
    threshold: float | None


class Matched(msgspec.Struct, frozen=True, kw_only=True):
    """How the palm was judged. `compared` is how many enrolled palms it was held against."""

    source: Literal["server", "device"] | None
    policy_version: int
    compared: int
    scores: tuple[ScoreShown, ...]


BreakerState = Literal["not_asked", "let_through", "open"]


class CircuitThen(msgspec.Struct, frozen=True, kw_only=True):
    """How the breaker stood when the product was about to be asked, as the log had noted it by
    then. `openings` counts those of the outage that it was in, 0 for none."""

    state: c.CircuitState
    openings: int
    open_until: datetime | None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """All there is to say of one transaction. `claims` are those of the assertion that the log
    can say again; the assertion itself is kept nowhere."""

    past: Sequence[Recorded]
    transaction: x.Transaction
    matched: Matched | None
    breaker: BreakerState
    circuit: CircuitThen | None
    claims: dict[str, Any] | None
    deliveries: Sequence[DeliveryRecord]
    determined_by: Sequence[Determinant]


class FullExplanations:
    def __init__(
        self,
        log: EventLog,
        determinants: Explanations,
        deliveries: DeliveryRecords,
        issuer: str,
    ) -> None:
        self._log = log
        self._determinants = determinants
        self._deliveries = deliveries
        self._issuer = issuer

    async def explain(
        self, tenant_id: TenantId, transaction_id: UUID, *, scores: bool
    ) -> Explanation:
        """From the log, so that it is as of now. `scores`: whether the figures are shown.

        Raises NotFound (`transaction_not_found`).
        """
        past = await self._log.load(tenant_id, transaction_id)
        transaction = _rebuild(past)
        if transaction is None:
            raise NotFound("transaction_not_found")
        return Explanation(
            past=past,
            transaction=transaction,
            matched=_matched(transaction, figures=scores),
            breaker=_breaker(transaction),
            circuit=await self._circuit(tenant_id, transaction, past),
            claims=self._claims(transaction),
            deliveries=await self._deliveries.about(tenant_id, transaction_id),
            determined_by=await self._determinants.determined_by(tenant_id, past),
        )

    async def _circuit(
        self, tenant_id: TenantId, transaction: x.Transaction, past: Sequence[Recorded]
    ) -> CircuitThen | None:
        if transaction.intent is None:
            return None
        asked = [each for each in past if each.event == transaction.intent][-1]
        noted = await self._log.load(tenant_id, circuit_id(transaction.intent.service_id))
        circuit = c.rebuild(each for each in noted if each.position < asked.position)
        if circuit is None or not circuit.openings:
            return CircuitThen(state="closed", openings=0, open_until=None)
        still = asked.recorded_at < circuit.open_until
        return CircuitThen(
            state="open" if still else "half_open",
            openings=circuit.openings,
            open_until=circuit.open_until,
        )

    def _claims(self, transaction: x.Transaction) -> dict[str, Any] | None:
        identified, intent = transaction.identified, transaction.intent
        if identified is None or intent is None:
            return None
        said = recorded_claims(
            self._issuer,
            transaction.tenant_id,
            transaction.received.device_id,
            transaction.id,
            identified,
            intent,
            simulated=transaction.received.simulated,
        )
        return {"iss": self._issuer, **said}


def _matched(transaction: x.Transaction, *, figures: bool) -> Matched | None:
    """None where no palm was judged: the vendor failed, refused, or has yet to answer."""
    judged: x.TransactionIdentified | x.TransactionNotRecognized | None = transaction.identified
    if isinstance(transaction.decision, x.TransactionNotRecognized):
        judged = transaction.decision
    if judged is None:
        return None
    pairs = zip(SCORE_NAMES, judged.scores or (), judged.thresholds, strict=False)
    return Matched(
        source=judged.match_source if isinstance(judged, x.TransactionIdentified) else None,
        policy_version=judged.policy_version,
        compared=len(judged.candidates),
        scores=tuple(
            ScoreShown(
                name=name,
                passed=score >= least,
                score=score if figures else None,
                threshold=least if figures else None,
            )
            for name, score, least in pairs
        ),
    )


def _breaker(transaction: x.Transaction) -> BreakerState:
    """What the breaker before the product did with the question, if there was one."""
    decision = transaction.decision
    # Where the lane's own budget was the reason, the failure stands in the detail.
    if isinstance(
        decision, x.TransactionFailedClosed | x.TransactionFailedOpen
    ) and "circuit_open" in (decision.reason, decision.detail):
        return "open"
    return "not_asked" if transaction.intent is None else "let_through"
