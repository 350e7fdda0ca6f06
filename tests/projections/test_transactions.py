"""The transaction list: every outcome as one row."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from domain.events import DomainEvent
from domain.ids import DeviceId, TransactionId
from projections import transactions
from projections.transaction_row import TransactionRow
from tests.builders import (
    DEVICE,
    NOW,
    SERVICE,
    USER,
    transaction_allowed,
    transaction_authorization_requested,
    transaction_denied,
    transaction_failed_closed,
    transaction_failed_open,
    transaction_forbidden,
    transaction_identified,
    transaction_not_recognized,
    transaction_received,
    transaction_refused,
    transaction_relayed,
    transaction_vendor_failed,
)
from tests.projections.stage import Stage
from tests.spec import CORRELATION, TENANT

TRANSACTION = TransactionId(UUID("0198c000-0000-7000-8000-000000000071"))
SECOND = TransactionId(UUID("0198c000-0000-7000-8000-000000000072"))
THIRD = TransactionId(UUID("0198c000-0000-7000-8000-000000000073"))
GATE = DeviceId(UUID("0198c000-0000-7000-8000-0000000000b2"))


async def one(stage: Stage) -> TransactionRow:
    await stage.show(transactions.READ_MODEL)
    async with stage.as_tenant() as connection:
        row = await transactions.by_id(connection, TENANT, TRANSACTION)
    assert row is not None
    return row


async def test_an_intent_shows_what_was_about_to_be_asked(stage: Stage) -> None:
    await stage.record(
        TRANSACTION,
        transaction_received(),
        transaction_identified(),
        transaction_authorization_requested(),
    )
    row = await one(stage)
    assert (row.state, row.device_id, row.user_id) == ("authorizing", DEVICE, USER)
    assert (row.service_id, row.product_key, row.action) == (SERVICE, "wallet", "pay")
    assert (row.scores, row.thresholds) == ((0.93, 0.95, 0.91, 0.94), (0.8, 0.8, 0.8, 0.8))
    assert (row.policy_version, row.identify_ms, row.fail_mode) == (1, 850.5, "closed")
    assert (row.outcome, row.decision, row.decided_at) == (None, None, None)
    assert (row.correlation_id, row.received_at) == (CORRELATION, NOW)
    assert (row.position, row.last_position, row.version) == (1, 3, 3)


ASKED = (transaction_identified(), transaction_authorization_requested())
OUTCOMES: list[tuple[tuple[DomainEvent, ...], dict[str, Any]]] = [
    (
        (*ASKED, transaction_allowed()),
        {"outcome": "allow", "decision": "allow", "reason": None},
    ),
    (
        (*ASKED, transaction_denied()),
        {"outcome": "deny", "decision": "deny", "reason": "insufficient_funds"},
    ),
    (
        (transaction_not_recognized(),),
        {
            "outcome": "not_recognized",
            "decision": "not_recognized",
            "reason": "low_confidence",
            "user_id": None,
            "scores": (0.61, 0.5, 0.42, 0.55),
        },
    ),
    (
        (transaction_not_recognized(scores=None, reason="no_candidate"),),
        {"outcome": "not_recognized", "reason": "no_candidate", "scores": None},
    ),
    (
        (transaction_forbidden(),),
        {"outcome": "forbidden", "decision": "deny", "reason": "palm_type_not_allowed"},
    ),
    (
        (transaction_refused(),),
        {"outcome": "refused", "decision": "deny", "reason": "user_suspended", "user_id": USER},
    ),
    (
        (*ASKED, transaction_failed_closed()),
        {
            "outcome": "fail_closed",
            "decision": "deny",
            "reason": "authorize_timeout",
            "void_needed": True,
            "stand_in": False,
        },
    ),
    (
        (*ASKED, transaction_failed_open()),
        {
            "outcome": "fail_open",
            "decision": "allow",
            "reason": "connect_error",
            "stand_in": True,
            "advice_needed": True,
            "authorize_ms": 3.5,
        },
    ),
]


async def test_a_decision_shows_its_outcome_and_what_the_device_was_told(stage: Stage) -> None:
    for number, (events, _) in enumerate(OUTCOMES):
        await stage.record(UUID(int=number), transaction_received(), *events)
    await stage.show(transactions.READ_MODEL)
    for number, (events, expected) in enumerate(OUTCOMES):
        async with stage.as_tenant() as connection:
            row = await transactions.by_id(connection, TENANT, TransactionId(UUID(int=number)))
        assert row is not None
        assert {field: getattr(row, field) for field in expected} == expected
        decision: Any = events[-1]
        assert (row.state, row.decided_at, row.total_ms) == (
            "decided",
            decision.decided_at,
            decision.total_ms,
        )


async def test_a_relayed_answer_shows_when(stage: Stage) -> None:
    await stage.record(TRANSACTION, transaction_received(), *ASKED, transaction_allowed())
    await stage.show(transactions.READ_MODEL)
    await stage.record(TRANSACTION, transaction_relayed())
    row = await one(stage)
    assert (row.state, row.outcome, row.relayed_at) == (
        "relayed",
        "allow",
        transaction_relayed().relayed_at,
    )


async def test_a_second_attempt_begins_anew_in_its_old_place(stage: Stage) -> None:
    await stage.record(TRANSACTION, transaction_received(), transaction_vendor_failed())
    failed = await one(stage)
    assert (failed.state, failed.outcome, failed.decision) == (
        "vendor_failed",
        "vendor_error",
        None,
    )
    await stage.record(TRANSACTION, transaction_received(attempt=2))
    row = await one(stage)
    assert (row.state, row.attempt, row.outcome, row.reason) == ("received", 2, None, None)
    assert (row.position, row.last_position) == (1, 3)


async def test_listing_is_newest_first_pages_and_filters(stage: Stage) -> None:
    later = NOW + timedelta(minutes=1)
    await stage.record(TRANSACTION, transaction_received())
    await stage.record(SECOND, transaction_received(device_id=GATE), *ASKED)
    await stage.record(THIRD, transaction_received(received_at=later), transaction_forbidden())
    await stage.record(TRANSACTION, *ASKED, transaction_denied())
    await stage.show(transactions.READ_MODEL)
    async with stage.as_tenant() as connection:

        async def listed(**filters: Any) -> list[TransactionId]:
            page = await transactions.by_tenant(connection, TENANT, **filters)
            return [row.transaction_id for row in page.rows]

        first = await transactions.by_tenant(connection, TENANT, limit=2)
        assert [row.transaction_id for row in first.rows] == [THIRD, SECOND]
        assert await listed(after=first.next) == [TRANSACTION]
        assert await listed(device_id=GATE) == [SECOND]
        assert await listed(outcome="deny") == [TRANSACTION]
        assert await listed(state="authorizing") == [SECOND]
        assert await listed(product_key="wallet") == [SECOND, TRANSACTION]
        assert await listed(user_id=USER) == [SECOND, TRANSACTION]
        assert await listed(since=later) == [THIRD]
        assert await listed(until=later) == [SECOND, TRANSACTION]
