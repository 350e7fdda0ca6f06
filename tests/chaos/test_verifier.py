"""Each kind of violation, made by hand, is found by the verifier and named for what it is."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import msgspec
import psycopg
import pytest

from domain import transaction as x
from domain.catalogue import EVENTS, UPCASTERS
from domain.events import DomainEvent, Origin, StreamAppend
from domain.ids import TransactionId, transaction_id, wire
from infrastructure.event_log.log import PostgresEventLog
from infrastructure.event_log.mapper import EventMapper
from infrastructure.projections import rebuild, tables
from projections.catalogue import READ_MODELS
from tests import builders
from tests.builders import DEVICE
from tests.chaos.findings import Findings
from tests.chaos.journal import (
    Answered,
    Called,
    Charged,
    Done,
    GaveUp,
    Journaled,
    Refused,
    Seen,
    Voided,
)
from tests.chaos.verifier import Order, Verifier
from tests.spec import TENANT

KEY = "till-4-00000000001"
TILL = wire("dev", DEVICE)
TRANSACTION = transaction_id(DEVICE, KEY)
NAME = wire("txn", TRANSACTION)

RECEIVED = builders.transaction_received(idempotency_key=KEY)
INTENT = builders.transaction_authorization_requested(jti="jti-1")
BEGUN = (RECEIVED, builders.transaction_identified(), INTENT)
ALLOWED = builders.transaction_allowed()
CALLED = Called(NAME, NAME, "jti-1", 1)
CHARGED = Charged(NAME, NAME)
VOIDED = Voided(NAME, NAME, "voided")


class Bench:
    """A log, two journals, and the verifier that compares them."""

    def __init__(self, dsn: str, log: PostgresEventLog, folder: Path) -> None:
        self.dsn = dsn
        self.log = log
        self._devices, self._product = folder / "devices", folder / "product"
        self.verifier = Verifier(
            Order(dsn=dsn, devices=str(self._devices), product=str(self._product))
        )

    async def logged(self, *events: DomainEvent, after: int = 0) -> None:
        append = StreamAppend(
            tenant_id=TENANT, stream_id=TRANSACTION, expected_version=after, events=events
        )
        origin = Origin(actor="device:dev_1", correlation_id=uuid4(), command_id=uuid4())
        await self.log.append(origin, [append])

    def told(self, *lines: Seen) -> None:
        _append(self._devices, lines)

    def done(self, *lines: Done) -> None:
        _append(self._product, lines)

    def tamper(self, statement: str) -> None:
        """As a superuser would who has the triggers out of the way."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute("ALTER TABLE events DISABLE TRIGGER append_only")
            connection.execute("ALTER TABLE event_blocks DISABLE TRIGGER append_only")
            assert connection.execute(statement.encode()).rowcount > 0

    def broken(self) -> dict[str, int]:
        return self.verifier.check().violations()


def _append(path: Path, lines: tuple[msgspec.Struct, ...]) -> None:
    with path.open("ab") as file:
        file.writelines(msgspec.json.encode(line) + b"\n" for line in lines)


@pytest.fixture
async def bench(database: str, tmp_path: Path) -> AsyncIterator[Bench]:
    log = await PostgresEventLog.open(database, EventMapper(EVENTS, UPCASTERS))
    yield Bench(database, log, tmp_path)
    await log.close()


def answered(decision: x.Decision, *, sends: int = 1, replayed: bool = False) -> Answered:
    """What a device hears when the log holds `decision`."""
    transaction = x.Transaction(
        id=TransactionId(TRANSACTION),
        tenant_id=TENANT,
        version=4,
        received=RECEIVED,
        identified=builders.transaction_identified(),
        decision=decision,
    )
    body = msgspec.json.encode(x.answer(transaction)).decode()
    return Answered(TILL, KEY, sends, replayed, again=False, body=body)


async def test_a_transaction_as_it_should_be_breaks_nothing(bench: Bench) -> None:
    await bench.logged(*BEGUN)
    bench.done(CALLED, CHARGED)
    undecided = bench.verifier.check()
    assert (undecided.violations(), undecided.orphans_undecided) == ({}, 1)
    await bench.logged(ALLOWED, after=3)
    bench.told(answered(ALLOWED), answered(ALLOWED, sends=2, replayed=True))
    found = bench.verifier.check()
    assert found.violations() == {}
    assert (found.acknowledged, found.allowed, found.charges, found.orphan_charges) == (1, 1, 1, 0)
    assert (found.events, found.transactions) == (4, 1)


async def test_an_answer_that_is_not_in_the_log_is_lost(bench: Bench) -> None:
    await bench.logged(*BEGUN)
    bench.done(CALLED, CHARGED)
    bench.told(answered(ALLOWED))
    assert bench.broken() == {"lost": 1, "uncommitted_allows": 1}


async def test_an_answer_of_which_nothing_at_all_is_in_the_log_is_lost(bench: Bench) -> None:
    bench.told(answered(builders.transaction_denied()))
    assert bench.broken() == {"lost": 1}


async def test_an_answer_that_differs_by_a_byte_is_changed(bench: Bench) -> None:
    await bench.logged(*BEGUN, ALLOWED)
    bench.done(CALLED, CHARGED)
    bench.told(answered(builders.transaction_allowed(ttl_seconds=ALLOWED.ttl_seconds + 1)))
    assert bench.broken() == {"changed": 1}


async def test_an_allow_where_the_log_says_deny_is_changed_and_not_committed(bench: Bench) -> None:
    await bench.logged(*BEGUN, builders.transaction_denied())
    bench.told(answered(ALLOWED))
    bench.done(CALLED)
    assert bench.broken() == {"changed": 1, "uncommitted_allows": 1}


async def test_a_call_needs_the_intent_of_its_own_attempt(bench: Bench) -> None:
    await bench.logged(*BEGUN)
    bench.done(CALLED, Called(NAME, NAME, "jti-2", 2))
    assert bench.broken() == {"calls_without_intent": 1}


async def test_two_keys_for_one_transaction_are_two_charges(bench: Bench) -> None:
    await bench.logged(*BEGUN)
    bench.done(CALLED, CHARGED, Charged(NAME, f"{NAME}-2"))
    assert bench.broken() == {"extra_charges": 1}


async def test_an_allow_without_the_products_yes_is_found(bench: Bench) -> None:
    await bench.logged(*BEGUN, ALLOWED)
    bench.told(answered(ALLOWED))
    bench.done(CALLED)
    assert bench.broken() == {"allows_without_charge": 1}


@pytest.mark.parametrize("void_needed", [True, False])
async def test_a_charge_behind_a_deny_must_be_marked_for_a_void(
    bench: Bench, void_needed: bool
) -> None:
    closed = builders.transaction_failed_closed(void_needed=void_needed)
    await bench.logged(*BEGUN, closed)
    bench.done(CALLED, CHARGED)
    bench.told(answered(closed))
    found = bench.verifier.check()
    assert found.orphan_charges == 1
    assert found.violations() == ({} if void_needed else {"unmarked_orphans": 1})


async def test_a_charge_for_somebody_who_never_came_back_is_an_orphan(bench: Bench) -> None:
    await bench.logged(*BEGUN, ALLOWED)
    bench.done(CALLED, CHARGED)
    bench.told(GaveUp(TILL, KEY))
    found = bench.verifier.check()
    assert (found.violations(), found.given_up) == ({}, 1)
    assert (found.orphan_charges, found.orphans_allowed) == (1, 1)


async def test_a_charge_that_was_voided_is_no_orphan(bench: Bench) -> None:
    await bench.logged(*BEGUN, ALLOWED)
    bench.done(CALLED, CHARGED, VOIDED)
    bench.told(GaveUp(TILL, KEY), Journaled(TILL, KEY, "not_received"))
    found = bench.verifier.check()
    assert (found.violations(), found.orphan_charges, found.voids) == ({}, 0, 1)
    assert found.journaled == 1


async def test_an_allow_that_was_shown_must_not_be_voided(bench: Bench) -> None:
    await bench.logged(*BEGUN, ALLOWED)
    bench.done(CALLED, CHARGED, VOIDED)
    bench.told(answered(ALLOWED))
    assert bench.broken() == {"voided_though_shown": 1}


async def test_a_second_decision_is_found(bench: Bench) -> None:
    await bench.logged(*BEGUN, ALLOWED, builders.transaction_denied())
    bench.done(CALLED, CHARGED)
    assert bench.broken() == {"second_decisions": 1, "nonsense": 1}


@pytest.mark.parametrize(
    ("line", "broken"),
    [
        (Refused(TILL, KEY, 1, 409, "request_in_progress"), {"false_conflicts": 1}),
        (Refused(TILL, KEY, 2, 409, "request_in_progress"), {}),
        (Refused(TILL, KEY, 1, 503, "commit_failed"), {}),
        (Refused(TILL, KEY, 1, 500, "internal_error"), {"unexpected_statuses": 1}),
    ],
)
async def test_whoever_asks_for_the_first_time_meets_nobody(
    bench: Bench, line: Refused, broken: dict[str, int]
) -> None:
    bench.told(line)
    assert bench.broken() == broken


async def test_a_first_request_that_is_answered_as_a_repeat_is_a_false_conflict(
    bench: Bench,
) -> None:
    await bench.logged(*BEGUN, ALLOWED)
    bench.done(CALLED, CHARGED)
    bench.told(answered(ALLOWED, sends=1, replayed=True))
    assert bench.broken() == {"false_conflicts": 1}


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        ("UPDATE events SET actor = 'system:x' WHERE position = 2", {"nonsense": 1}),
        ("UPDATE events SET payload = payload || ' ' WHERE position = 2", {"nonsense": 2}),
        ("UPDATE event_blocks SET prev_hash = hash WHERE block_no = 1", {"nonsense": 1}),
        ("DELETE FROM event_blocks WHERE block_no = 1", {"nonsense": 1}),
        ("DELETE FROM events WHERE position = 3", {"gaps": 1, "nonsense": 2}),
    ],
)
async def test_a_log_that_was_touched_does_not_verify(
    bench: Bench, statement: str, broken: dict[str, int]
) -> None:
    await bench.logged(*BEGUN, builders.transaction_denied())
    bench.tamper(statement)
    assert bench.broken() == broken


async def test_a_log_that_goes_back_is_noticed(bench: Bench) -> None:
    """What `synchronous_commit=off` does in a crash, to those who had read what is gone."""
    await bench.logged(*BEGUN)
    await bench.logged(builders.transaction_denied(), after=3)
    assert bench.broken() == {}
    bench.tamper("DELETE FROM events WHERE position = 4")
    bench.tamper("DELETE FROM event_blocks WHERE block_no = 2")
    await bench.logged(builders.transaction_failed_closed(void_needed=True), after=3)
    assert bench.broken() == {"rewound": 1}


async def test_read_models_are_compared_with_a_replay(bench: Bench) -> None:
    await tables.ensure(bench.dsn, list(READ_MODELS))
    await bench.logged(*BEGUN, ALLOWED)
    bench.done(CALLED, CHARGED)
    for model in READ_MODELS:
        await rebuild.rebuild(bench.dsn, model, bench.log)
    assert (await finished(bench)).violations() == {}
    bench.tamper("UPDATE read_models.transactions SET outcome = 'deny'")
    assert (await finished(bench)).violations() == {"stale_read_models": 1}


async def test_what_was_rewritten_behind_the_verifier_is_found_at_the_end(bench: Bench) -> None:
    await tables.ensure(bench.dsn, list(READ_MODELS))
    await bench.logged(*BEGUN)
    for model in READ_MODELS:
        await rebuild.rebuild(bench.dsn, model, bench.log)
    assert bench.broken() == {}
    bench.tamper("UPDATE events SET actor = 'system:x' WHERE position = 1")
    assert bench.broken() == {}
    assert (await finished(bench)).nonsense == 1


async def finished(bench: Bench) -> Findings:
    return await bench.verifier.finish()
