"""What nobody saw is undone at the product: what it is told, and what its answers come to."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from application.ports import (
    Attempted,
    AuthorizeFailed,
    Dead,
    Delivered,
    Delivery,
    EventRef,
    NoticeCall,
    NoticeFailed,
    NoticeStatus,
    RetryLater,
)
from application.transactions.journal import JournalEntry
from application.transactions.voids import Voids
from domain import transaction as x
from domain.ids import wire
from tests.application.world import ISSUER, KEY, TILL, Killed, World, kill, transaction
from tests.builders import NOW, SERVICE, USER

SETTLED = UUID("0198c000-0000-7000-8000-0000000000e9")


class Notices:
    """A product that says what it is told to say."""

    def __init__(self) -> None:
        self.calls: list[NoticeCall] = []
        self.says: NoticeStatus | NoticeFailed = "voided"

    async def send(self, call: NoticeCall) -> NoticeStatus:
        self.calls.append(call)
        if isinstance(self.says, NoticeFailed):
            raise self.says
        return self.says


class Office:
    """A world with the kind `void`, and the one delivery that it owes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.notices = Notices()
        self.kind = Voids(
            world.log,
            self.notices,
            world.texts,
            world.signer,
            ISSUER,
            world.clock,
            world.ids,
        )

    async def owed(self) -> Delivery:
        heard = [
            each
            for each in self.world.log.read_now()
            if isinstance(each.event, self.kind.listens_to)
        ]
        (owed,) = await self.kind.owed(heard)
        assert (owed.destination, owed.lane) == (SERVICE, transaction())
        event = owed.event
        return Delivery(
            id=SETTLED,
            kind=self.kind.name,
            tenant_id=event.tenant_id,
            destination=owed.destination,
            lane=owed.lane,
            event=EventRef(
                id=SETTLED,
                name=event.event.NAME,
                stream_id=event.stream_id,
                stream_version=event.version,
                position=event.position,
                recorded_at=event.recorded_at,
            ),
            attempt=1,
            owed_at=event.recorded_at,
            failing_since=None,
        )

    async def attempt(self, **changes: Any) -> Attempted:
        delivery = msgspec.structs.replace(await self.owed(), **changes)
        attempted = await self.kind.attempt(delivery)
        if isinstance(attempted, Delivered | Dead):
            await self.kind.settled(delivery, attempted)
            await self.kind.settled(delivery, attempted)
        return attempted


async def _timed_out(world: World) -> None:
    world.product.takes_s = 2.0
    assert (await world.transact()).answer.decision == "deny"


def _state(world: World) -> x.Transaction:
    state = x.rebuild(world.log.stream(transaction()))
    assert state is not None
    return state


async def test_a_product_that_was_too_slow_is_told_to_undo_it_where_it_was_asked() -> None:
    world = World()
    await _timed_out(world)
    world.routing(base_url="https://new.wallet.example", void_path="/v2/void")
    office = Office(world)
    assert await office.attempt() == Delivered(200)
    (call,) = office.notices.calls
    assert (call.url, call.idempotency_key) == (
        "https://wallet.example/void",
        wire("txn", transaction()),
    )
    body, claims = msgspec.json.decode(call.body), world.signer.claims[-1]
    assert (body["action"], body["voided_action"], body["reason"]) == ("void", "pay", "timeout")
    assert (body["user_id"], body["context"]) == (wire("usr", USER), {})
    assert (claims["action"], claims["txn"]) == ("void", wire("txn", transaction()))
    assert claims["jti"] != world.signer.claims[0]["jti"]
    assert claims["exp"] - claims["iat"] == 60
    assert (_state(world).void, world.names(transaction())[-1]) == (
        "settled",
        "transaction.voided",
    )


async def test_a_void_belongs_to_the_trace_of_its_question() -> None:
    """Not to that of whoever had it undone: the product finds both in its own log."""
    world = World()
    await world.transact()
    line = JournalEntry(idempotency_key=KEY, outcome="not_received", at=NOW)
    later = msgspec.structs.replace(TILL, correlation_id=SETTLED)
    await world.journal().record(later, [line])
    office = Office(world)
    await office.attempt()
    asked, requested, voided = (
        each
        for each in world.log.stream(transaction())
        if isinstance(
            each.event,
            x.TransactionAuthorizationRequested | x.TransactionVoidRequested | x.TransactionVoided,
        )
    )
    assert requested.correlation_id == SETTLED
    assert asked.correlation_id == TILL.correlation_id != SETTLED
    assert voided.correlation_id == asked.correlation_id
    assert office.notices.calls[0].trace_id == asked.correlation_id


async def test_an_allow_that_nobody_saw_is_undone_by_its_reference() -> None:
    world = World()
    await world.transact()
    line = JournalEntry(idempotency_key=KEY, outcome="not_received", at=NOW)
    await world.journal().record(TILL, [line])
    office = Office(world)
    await office.attempt()
    body = msgspec.json.decode(office.notices.calls[0].body)
    assert (body["reason"], body["original_reference_id"]) == ("not_received", "wal_1")


async def test_what_the_sweeper_closed_is_undone() -> None:
    world = World()
    world.product.after = kill
    with pytest.raises(Killed):
        await world.transact()
    world.clock.advance(11)
    await world.sweeper().sweep()
    office = Office(world)
    office.notices.says = "not_found"
    await office.attempt()
    assert msgspec.json.decode(office.notices.calls[0].body)["reason"] == "abandoned"
    assert _state(world).void == "settled"


async def test_a_decision_that_owes_nothing_owes_no_void() -> None:
    world = World()
    world.product.says = AuthorizeFailed("authorize_timeout", reached=False)
    await world.transact()
    kind = Office(world).kind
    assert await kind.owed(world.log.stream(transaction())) == []


@pytest.mark.parametrize(
    "failed",
    [
        NoticeFailed("timeout"),
        NoticeFailed("http_status", status=503, after_s=7.0),
        NoticeFailed("http_status", status=401),
    ],
)
async def test_what_is_no_acknowledgement_is_tried_again(failed: NoticeFailed) -> None:
    world = World()
    await _timed_out(world)
    office = Office(world)
    office.notices.says = failed
    assert await office.attempt() == RetryLater(failed.reason, failed.status, failed.after_s)
    assert _state(world).void == "owed"


async def test_a_product_that_cannot_undo_it_is_an_alarm_and_may_be_asked_again() -> None:
    world = World()
    await _timed_out(world)
    office = Office(world)
    office.notices.says = "cannot_void"
    assert await office.attempt() == Dead("cannot_void", 200)
    failed = world.events(transaction())[-1]
    assert isinstance(failed, x.TransactionVoidFailed)
    assert (failed.reason, _state(world).void) == ("cannot_void", "failed")
    office.notices.says = "voided"
    assert await office.attempt(attempt=2) == Delivered(200)
    assert _state(world).void == "settled"


async def test_a_product_without_an_endpoint_is_left_to_its_owner() -> None:
    world = World()
    world.routing(void_path=None)
    await _timed_out(world)
    office = Office(world)
    assert await office.attempt() == Dead("no_void_path")
    failed = world.events(transaction())[-1]
    assert isinstance(failed, x.TransactionVoidFailed)
    assert (failed.reason, office.notices.calls) == ("no_void_path", [])


async def test_one_that_stayed_away_too_long_is_an_alarm() -> None:
    world = World()
    await _timed_out(world)
    office = Office(world)
    await office.kind.settled(await office.owed(), Dead("too_old"))
    failed = world.events(transaction())[-1]
    assert isinstance(failed, x.TransactionVoidFailed)
    assert failed.reason == "exhausted"


async def test_a_delivery_that_comes_twice_asks_once() -> None:
    """The worker died after the product had said yes and the log had it."""
    world = World()
    await _timed_out(world)
    office = Office(world)
    delivery = await office.owed()
    await office.kind.attempt(delivery)
    assert await office.kind.attempt(delivery) == Delivered()
    assert len(office.notices.calls) == 1
    assert world.names(transaction()).count("transaction.voided") == 1


def test_it_is_tried_often_enough_to_be_settled_a_minute_after_a_product_is_back() -> None:
    policy = Office(World()).kind.policy
    longest = policy.delays_s[-1] * (1 + policy.jitter) + policy.deadline_s
    assert timedelta(seconds=longest) <= timedelta(minutes=1)
    # Also when it asked for an hour in its outage and was back after five minutes.
    assert policy.retry_after_max_s + policy.deadline_s <= 60
    assert policy.wakes
