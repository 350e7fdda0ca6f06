"""`/v1/transactions`: what devices asked and what they were told (004 §10.6)."""

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from application.principals import Manager
from application.transactions.explanation import Basis, Determinant, Source, What
from domain.errors import NotFound
from domain.folding import fold
from domain.ids import DeviceId, TransactionId, UserId, wire
from domain.transaction import Debt, Shown, TransactionReceived
from interfaces.http.as_of import AS_OF, AsOf, folding, moment, told
from interfaces.http.parameters import (
    Cursor,
    Limit,
    MinPosition,
    cursor,
    opaque,
    path_id,
    query_id,
    reading,
)
from interfaces.http.refusals import FRESHNESS, PAGE, merged
from interfaces.http.services import Services
from projections import transactions as view
from projections.transaction_row import Outcome, TransactionRow, TransactionState, reduce

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]

PREFIX: Final = "txn"

DeviceFilter = Annotated[str | None, QueryParameter(name="device_id", max_length=64)]
UserFilter = Annotated[str | None, QueryParameter(name="user_id", max_length=64)]


class TransactionShown(msgspec.Struct, frozen=True, kw_only=True):
    """One transaction, latencies in milliseconds. Scores are personal data and not here.

    `void` and `advice` are what the product is owed; `shown` is what the device's journal says,
    and the only proof that anybody saw the decision.
    """

    id: str
    state: TransactionState
    outcome: Outcome | None
    decision: Literal["allow", "deny", "not_recognized"] | None
    reason: str | None
    stand_in: bool
    device_id: FromPath[str]
    user_id: str | None
    match_source: Literal["server", "device"] | None
    linked_service_id: str | None
    product_key: str | None
    action: str | None
    attempt: int
    policy_version: int | None
    void_needed: bool
    advice_needed: bool
    void: Debt
    advice: Debt
    shown: Shown | None
    shown_at: datetime | None
    journal_conflict: bool
    identify_ms: float | None
    authorize_ms: float | None
    total_ms: float | None
    received_at: datetime
    decided_at: datetime | None
    relayed_at: datetime | None
    correlation_id: str
    position: int


class DeterminedBy(msgspec.Struct, frozen=True, kw_only=True):
    """One event that the decision rested on.

    `href` shows the resource as it was read. `basis` is `recorded` when the transaction's own
    events name the version that was read, `position` when it was found from their position.
    """

    what: What
    event: str
    resource_id: str
    version: int
    position: int
    recorded_at: datetime
    basis: Basis
    href: str


class TransactionExplained(TransactionShown, frozen=True, kw_only=True):
    """One transaction with what it rests on."""

    determined_by: list[DeterminedBy]


class TransactionPage(msgspec.Struct, frozen=True, kw_only=True):
    items: list[TransactionShown]
    next: str | None


def transaction_shown(row: TransactionRow) -> TransactionShown:
    service = row.service_id
    return TransactionShown(
        id=wire(PREFIX, row.transaction_id),
        state=row.state,
        outcome=row.outcome,
        decision=row.decision,
        reason=row.reason,
        stand_in=row.stand_in,
        device_id=wire("dev", row.device_id),
        user_id=wire("usr", row.user_id) if row.user_id is not None else None,
        match_source=row.match_source,
        linked_service_id=wire("lsvc", service) if service is not None else None,
        product_key=row.product_key,
        action=row.action,
        attempt=row.attempt,
        policy_version=row.policy_version,
        void_needed=row.void_needed,
        advice_needed=row.advice_needed,
        void=row.void,
        advice=row.advice,
        shown=row.shown,
        shown_at=row.shown_at,
        journal_conflict=row.journal_conflict,
        identify_ms=row.identify_ms,
        authorize_ms=row.authorize_ms,
        total_ms=row.total_ms,
        received_at=row.received_at,
        decided_at=row.decided_at,
        relayed_at=row.relayed_at,
        correlation_id=str(row.correlation_id),
        position=row.last_position,
    )


@get(
    "/v1/transactions",
    operation_id="listTransactions",
    tags=["Transactions"],
    summary="List transactions, newest first",
    permission="transactions.read",
    refusals=merged(PAGE, AS_OF),
)
async def index(
    integrator: Integrator,
    services: Given,
    device_id: DeviceFilter = None,
    user_id: UserFilter = None,
    outcome: FromQuery[Outcome | None] = None,
    page: Cursor = None,
    limit: Limit = 50,
    min_position: MinPosition = None,
    as_of: AsOf = None,
) -> Response[TransactionPage]:
    device, user = query_id("dev", device_id), query_id("usr", user_id)
    after = cursor(page)
    up_to = await moment(services, as_of)
    if up_to is not None:
        past = await services.history.page(
            integrator.tenant_id,
            TransactionReceived,
            folding(reduce),
            up_to=up_to,
            after=after,
            limit=limit,
            keep=lambda row: (
                device in (None, row.device_id)
                and user in (None, row.user_id)
                and outcome in (None, row.outcome)
            ),
        )
        items = [transaction_shown(row) for row in past.states]
        return Response(TransactionPage(items=items, next=opaque(past.next)), headers=told(up_to))
    async with reading(services, integrator.tenant_id, view.READ_MODEL, min_position) as connection:
        found = await view.by_tenant(
            connection,
            integrator.tenant_id,
            device_id=DeviceId(device) if device is not None else None,
            user_id=UserId(user) if user is not None else None,
            outcome=outcome,
            after=after,
            limit=limit,
        )
    return Response(
        TransactionPage(
            items=[transaction_shown(row) for row in found.rows], next=opaque(found.next)
        )
    )


@get(
    "/v1/transactions/{transaction_id:str}",
    operation_id="getTransaction",
    tags=["Transactions"],
    summary="One transaction, with the events that determined it",
    permission="transactions.read",
    refusals=merged(FRESHNESS, AS_OF, {404: ("transaction_not_found",)}),
)
async def show(
    transaction_id: FromPath[str],
    integrator: Integrator,
    services: Given,
    min_position: MinPosition = None,
    as_of: AsOf = None,
) -> Response[TransactionExplained]:
    found = path_id(PREFIX, transaction_id, "transaction_not_found")
    tenant_id = integrator.tenant_id
    up_to = await moment(services, as_of)
    row: TransactionRow | None
    if up_to is None:
        async with reading(services, tenant_id, view.READ_MODEL, min_position) as connection:
            row = await view.by_id(connection, tenant_id, TransactionId(found))
        shown_to = row.last_position if row is not None else 0
        past = await services.history.stream(tenant_id, found, TransactionReceived, shown_to)
    else:
        past = await services.history.stream(tenant_id, found, TransactionReceived, up_to)
        row = fold(reduce, past)
    if row is None:
        raise NotFound("transaction_not_found")
    determinants = await services.explanations.determined_by(tenant_id, past)
    explained = TransactionExplained(
        **msgspec.structs.asdict(transaction_shown(row)),
        determined_by=[determined_by_shown(each) for each in determinants],
    )
    return Response(explained, headers=told(up_to))


RESOURCES: Final[dict[Source, tuple[str, str]]] = {
    "device": ("dev", "/v1/devices/{id}"),
    "tenant": ("ten", "/v1/tenant"),
    "user": ("usr", "/v1/users/{id}"),
    "enrollment": ("plm", "/v1/enrollments/{id}"),
    "linked_service": ("lsvc", "/v1/linked-services/{id}"),
}
"""Where what a decision rested on is shown, and the prefix of its id."""


def determined_by_shown(found: Determinant) -> DeterminedBy:
    prefix, path = RESOURCES[found.source]
    resource_id = wire(prefix, found.event.stream_id)
    return DeterminedBy(
        what=found.what,
        event=found.event.event.NAME,
        resource_id=resource_id,
        version=found.event.version,
        position=found.event.position,
        recorded_at=found.event.recorded_at,
        basis=found.basis,
        href=f"{path.format(id=resource_id)}?as_of={found.read_as_of}",
    )


HANDLERS = (index, show)
