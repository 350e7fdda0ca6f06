"""A product is told once of what was allowed in its place, with all it needs to book it."""

from typing import Any
from uuid import UUID

import msgspec
import pytest

from application.ports import (
    AdviceStatus,
    Attempted,
    AuthorizeFailed,
    Dead,
    Delivered,
    EventLog,
    NoticeCall,
    NoticeFailed,
    RetryLater,
)
from application.transactions.advice import ACTOR, Advice
from application.transactions.journal import JournalEntry
from application.transactions.notice import NoticeLog, Told
from domain import transaction as x
from domain.ids import TenantId, wire
from domain.linked_service import StandIn
from tests.application.deliveries import Deliveries
from tests.application.world import ISSUER, KEY, TILL, World, transaction
from tests.builders import NOW, USER
from tests.spec import TENANT

NAME = (TENANT, USER, transaction())


class Products:
    """A product that says what it is told to say."""

    def __init__(self) -> None:
        self.calls: list[NoticeCall] = []
        self.says: AdviceStatus | NoticeFailed = "recorded"

    async def advise(self, call: NoticeCall) -> AdviceStatus:
        self.calls.append(call)
        if isinstance(self.says, NoticeFailed):
            raise self.says
        return self.says


class Office:
    """A world whose lane opens without its product, and the kind `advice`."""

    def __init__(self, kind: type[Advice] = Advice, **routing: Any) -> None:
        self.world = world = World()
        given = {"fail_mode": "open", "stand_in": StandIn(), "advice_path": "/advice", **routing}
        world.routing(**given)
        world.product.says = AuthorizeFailed("connect_error", reached=False)
        self.products = Products()
        self.kind = kind(
            world.log,
            self.products,
            world.contexts,
            world.signer,
            ISSUER,
            world.clock,
            world.ids,
        )
        self.deliveries = Deliveries(world.log, self.kind)

    async def round(self) -> list[Attempted]:
        return await self.deliveries.round()

    async def stand_in(self) -> None:
        answer = (await self.world.transact()).answer
        assert (answer.decision, answer.stand_in) == ("allow", True)

    async def nobody_saw_it(self) -> None:
        line = JournalEntry(idempotency_key=KEY, outcome="not_received", at=NOW)
        await self.world.journal().record(TILL, [line])

    def state(self) -> x.Transaction:
        state = x.rebuild(self.world.log.stream(transaction()))
        assert state is not None
        return state

    def last(self) -> object:
        return self.world.events(transaction())[-1]


async def test_the_product_is_told_what_was_allowed_to_whom_and_why() -> None:
    office = Office()
    await office.stand_in()
    assert office.state().advice == "owed"
    assert await office.round() == [Delivered(200)]
    (call,) = office.products.calls
    assert (call.url, call.idempotency_key) == (
        "https://wallet.example/advice",
        wire("txn", transaction()),
    )
    body, claims = msgspec.json.decode(call.body), office.world.signer.claims[-1]
    assert (body["action"], body["advised_action"]) == ("advice", "pay")
    assert (body["reason"], body["drill"]) == ("connect_error", False)
    assert body["context"]["amount"] == "5.00"
    assert (body["user_id"], claims["action"]) == (wire("usr", USER), "advice")
    assert claims["context_hash"] == office.world.signer.claims[0]["context_hash"]
    advised = office.last()
    assert isinstance(advised, x.TransactionAdvised)
    assert (advised.status, office.state().advice) == ("recorded", "settled")
    assert office.world.contexts.kept == {}, "nobody need be told any more"
    assert await office.round() == []


async def test_the_context_is_kept_before_the_decision_is_there() -> None:
    """Kept after it, a process that dies in between owes an advice that it cannot give."""
    office = Office()
    kept: list[int] = []

    async def look() -> None:
        kept.append(len(office.world.contexts.kept))

    office.world.log.before(x.TransactionFailedOpen, look)
    await office.stand_in()
    assert kept == [1]


async def test_an_advice_is_tried_again_with_the_same_key_and_a_new_signature() -> None:
    office = Office()
    await office.stand_in()
    office.products.says = NoticeFailed("timeout")
    assert await office.round() == [RetryLater("timeout")]
    assert office.world.contexts.kept, "it will be needed again"
    office.products.says = "already_recorded"
    assert await office.round() == [Delivered(200)]
    first, second = office.products.calls
    assert first.idempotency_key == second.idempotency_key
    ids = [claims["jti"] for claims in office.world.signer.claims]
    assert len(set(ids)) == len(ids)


async def test_a_product_that_had_said_no_disputes_it_and_that_is_told() -> None:
    office = Office()
    await office.stand_in()
    office.products.says = "disputed"
    await office.round()
    advised = office.last()
    assert isinstance(advised, x.TransactionAdvised)
    assert advised.status == "disputed"


class ForgetfulLog(NoticeLog):
    """Knows neither of the void nor of what was acknowledged."""

    async def find(self, tenant_id: TenantId, stream_id: UUID) -> Told:
        told = await super().find(tenant_id, stream_id)
        forgotten = msgspec.structs.replace(told.transaction, void="none", advice="owed")
        return msgspec.structs.replace(told, transaction=forgotten)


class Forgetful(Advice):
    """The planted bug."""

    def __init__(self, log: EventLog, *parts: Any) -> None:
        super().__init__(log, *parts)
        self._log = ForgetfulLog(log, ACTOR)


@pytest.mark.parametrize(("kind", "calls"), [(Advice, 0), (Forgetful, 1)])
async def test_what_nobody_saw_is_void_and_not_advised(kind: type[Advice], calls: int) -> None:
    office = Office(kind)
    await office.stand_in()
    await office.nobody_saw_it()
    ended = await office.round()
    assert len(office.products.calls) == calls
    if kind is Advice:
        assert ended == [Dead("voided")]
        failed = office.last()
        assert isinstance(failed, x.TransactionAdviceFailed)
        assert failed.reason == "voided"
        assert office.world.contexts.kept == {}


@pytest.mark.parametrize(("kind", "calls"), [(Advice, 1), (Forgetful, 2)])
async def test_what_was_acknowledged_is_not_sent_again(kind: type[Advice], calls: int) -> None:
    """A worker that died after the acknowledgement leaves its delivery to another one."""
    office = Office(kind)
    await office.stand_in()
    await office.round()
    office.world.contexts.kept[NAME] = b"{}"  # as if nobody had come to forget it
    assert await Deliveries(office.world.log, office.kind).round() != []
    assert len(office.products.calls) == calls


async def test_without_an_endpoint_nothing_is_kept_and_its_owner_is_told() -> None:
    office = Office(advice_path=None)
    await office.stand_in()
    assert office.world.contexts.kept == {}
    assert await office.round() == [Dead("no_advice_path")]
    failed = office.last()
    assert isinstance(failed, x.TransactionAdviceFailed)
    assert failed.reason == "no_advice_path"


async def test_nobody_is_let_through_of_whom_the_product_could_not_be_told() -> None:
    office = Office()
    office.world.contexts.erased.add(USER)
    answer = (await office.world.transact()).answer
    assert (answer.decision, answer.reason) == ("deny", "connect_error")


async def test_of_a_person_who_was_erased_meanwhile_nothing_is_told() -> None:
    office = Office()
    await office.stand_in()
    office.world.contexts.kept.clear()
    assert await office.round() == [Dead("context_gone")]
    assert office.products.calls == []
