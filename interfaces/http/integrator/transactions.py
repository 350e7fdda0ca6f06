"""`/v1/transactions`: what devices asked and what they were told (004 §10.6)."""

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from application.principals import IntegratorPrincipal
from domain.errors import NotFound
from domain.ids import DeviceId, TransactionId, UserId, wire
from interfaces.http.parameters import (
    Cursor,
    Limit,
    MinPosition,
    cursor,
    fresh,
    opaque,
    path_id,
    query_id,
)
from interfaces.http.refusals import FRESHNESS, PAGE, merged
from interfaces.http.services import Services
from projections import transactions as view
from projections.transactions import Outcome, TransactionState

Given = NamedDependency[Services]
Integrator = NamedDependency[IntegratorPrincipal]

PREFIX: Final = "txn"

DeviceFilter = Annotated[str | None, QueryParameter(name="device_id", max_length=64)]
UserFilter = Annotated[str | None, QueryParameter(name="user_id", max_length=64)]


class TransactionShown(msgspec.Struct, frozen=True, kw_only=True):
    """One transaction, latencies in milliseconds. Scores are personal data and not here."""

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
    product_reference: str | None
    attempt: int
    policy_version: int | None
    void_needed: bool
    advice_needed: bool
    identify_ms: float | None
    authorize_ms: float | None
    total_ms: float | None
    received_at: datetime
    decided_at: datetime | None
    relayed_at: datetime | None
    correlation_id: str
    position: int


class TransactionPage(msgspec.Struct, frozen=True, kw_only=True):
    items: list[TransactionShown]
    next: str | None


def _shown(row: view.TransactionRow) -> TransactionShown:
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
        product_reference=row.reference_id,
        attempt=row.attempt,
        policy_version=row.policy_version,
        void_needed=row.void_needed,
        advice_needed=row.advice_needed,
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
    refusals=PAGE,
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
) -> TransactionPage:
    device, user = query_id("dev", device_id), query_id("usr", user_id)
    after = cursor(page)
    await fresh(services.read_models, integrator.tenant_id, view.READ_MODEL.name, min_position)
    async with services.read_models.scope(integrator.tenant_id) as connection:
        found = await view.by_tenant(
            connection,
            integrator.tenant_id,
            device_id=DeviceId(device) if device is not None else None,
            user_id=UserId(user) if user is not None else None,
            outcome=outcome,
            after=after,
            limit=limit,
        )
    return TransactionPage(items=[_shown(row) for row in found.rows], next=opaque(found.next))


@get(
    "/v1/transactions/{transaction_id:str}",
    operation_id="getTransaction",
    tags=["Transactions"],
    summary="One transaction",
    permission="transactions.read",
    refusals=merged(FRESHNESS, {404: ("transaction_not_found",)}),
)
async def show(
    transaction_id: FromPath[str],
    integrator: Integrator,
    services: Given,
    min_position: MinPosition = None,
) -> TransactionShown:
    found = path_id(PREFIX, transaction_id, "transaction_not_found")
    await fresh(services.read_models, integrator.tenant_id, view.READ_MODEL.name, min_position)
    async with services.read_models.scope(integrator.tenant_id) as connection:
        row = await view.by_id(connection, integrator.tenant_id, TransactionId(found))
    if row is None:
        raise NotFound("transaction_not_found")
    return _shown(row)


HANDLERS = (index, show)
