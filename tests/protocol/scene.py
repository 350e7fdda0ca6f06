"""One transaction of one device, and everybody who may have a hand in it."""

from collections.abc import Sequence
from datetime import datetime
from types import UnionType
from typing import Final, Literal
from uuid import uuid4

import msgspec

from application.palms.recognition import Recognition
from application.ports import AuthorizeFailed, AuthorizeFailure, NoticeFailed, Undecided
from application.transactions.attempt import Attempts
from application.transactions.authorization import Authorization
from application.transactions.broker import Broker
from application.transactions.decisions import Decisions
from application.transactions.journal import Journal, JournalEntry
from application.transactions.stand_in import StandIns
from application.transactions.sweeper import ACTOR as SWEEPER
from application.transactions.sweeper import Sweeper
from application.transactions.take_over import TakeOvers
from application.transactions.voids import Voids
from domain import transaction as x
from domain.events import DomainEvent, Origin, Recorded, StreamAppend
from domain.ids import transaction_id
from infrastructure.event_log.log import PostgresEventLog
from tests import builders
from tests.application.deliveries import Deliveries
from tests.application.world import ISSUER, OTHER_PALM, OTHER_USER, TILL, World, asking
from tests.builders import DEVICE, PALM
from tests.protocol.parties import Door, Message, Product, fickle_vendor
from tests.protocol.workers import Worker, Workers
from tests.spec import TENANT

SENDS_MAX: Final = 4


class Plant(msgspec.Struct, frozen=True, kw_only=True):
    """One rule of the protocol switched off; the defaults switch nothing off."""

    decisions: type[Decisions] = Decisions
    take_overs: type[TakeOvers] = TakeOvers
    fenced: bool = True
    owes_no_void: Literal["nobody", "broker", "sweeper"] = "nobody"
    sweeps: bool = True
    journals: bool = True
    idempotent: bool = True
    tombstones: bool = True


async def furnish(log: PostgresEventLog) -> None:
    """What every history begins with: a tenant, a till, a product, two people with their palms."""
    world = World()
    world.given(
        OTHER_USER,
        builders.user_signed_up(),
        builders.user_consent_granted(),
        builders.user_palm_added(palm_ref=OTHER_PALM),
    )
    world.given(
        OTHER_PALM,
        builders.enrollment_started(user_id=OTHER_USER),
        builders.enrollment_completed(),
    )
    for each in world.log.read_now():
        origin = Origin(
            actor=each.actor, correlation_id=each.correlation_id, command_id=world.ids.uuid()
        )
        append = StreamAppend(
            tenant_id=each.tenant_id,
            stream_id=each.stream_id,
            expected_version=each.version - 1,
            events=[each.event],
        )
        await log.append(origin, [append])


class Scene:
    """Call what the world does next; the promises look at what came of it."""

    def __init__(self, log: PostgresEventLog, plant: Plant) -> None:
        self._log = log
        self._plant = plant
        self.key = f"till-4-{uuid4().hex}"
        self.id = transaction_id(DEVICE, self.key)
        self._world = world = World()
        self.texts = world.texts
        self.workers = Workers()
        self._door = Door(log, self.workers, self.id)
        self._door.fenced = plant.fenced
        self._door.changes = self._changed
        self.product = Product(world.signer)
        self.product.idempotent, self.product.tombstones = plant.idempotent, plant.tombstones
        voids = Voids(
            self._door,
            self.product,
            world.texts,
            world.signer,
            ISSUER,
            world.clock,
            world.ids,
        )
        self._deliveries = Deliveries(self, voids)
        self._known: tuple[int, Sequence[Recorded]] = (0, ())
        self.sends = 0
        self.listening: Worker | None = None
        self.shown: Literal["nothing", "allow", "deny"] = "nothing"
        self.gave_up = False
        self.journaled = False
        self.answers: set[bytes] = set()
        """Everything that any process had ready for the device, byte for byte."""

    @property
    def device_waits(self) -> bool:
        return self.sends > 0 and self.shown == "nothing" and not self.gave_up

    async def device_asks(self) -> None:
        """The request, or the same again: each is taken by a process of its own."""
        self.sends += 1

        async def serve(worker: Worker) -> None:
            broker = self._broker()
            reply = await broker.transact(TILL, asking(key=self.key))
            self._hand_over(worker, reply.answer)
            await broker.relayed(TILL, reply)

        self.listening = await self.workers.start("broker", serve)

    async def device_looks_up(self) -> None:
        """It restarted, and asks what became of its key."""

        async def look(worker: Worker) -> None:
            found = await self._journal().look_up(TILL, self.key)
            if found.decision is not None:
                self._hand_over(worker, x.answer(found))

        self.listening = await self.workers.start("look-up", look)

    def _hand_over(self, worker: Worker, answer: x.Answer) -> None:
        """To the transport, which brings it or does not."""
        worker.result = answer
        self.answers.add(msgspec.json.encode(answer))

    @property
    def answer(self) -> x.Answer | None:
        """What is on its way to the device, which listens to its last request alone."""
        found = None if self.listening is None else self.listening.result
        return found if isinstance(found, x.Answer) else None

    def device_hears(self) -> None:
        answer = self.answer
        assert answer is not None, "there is something to hear"
        self.shown = "allow" if answer.decision == "allow" else "deny"

    async def device_journals(self) -> None:
        """What it showed, or that it had no answer; again until it is taken."""
        if not self._plant.journals:
            return
        outcome: x.Shown = "not_received"
        if self.shown != "nothing":
            outcome = "shown_allow" if self.shown == "allow" else "shown_deny"
        at = self._world.clock.now()
        entry = JournalEntry(idempotency_key=self.key, outcome=outcome, at=at)

        async def record(worker: Worker) -> None:
            taken = await self._journal().record(TILL, [entry])
            self.journaled = self.journaled or bool(taken.accepted)

        await self.workers.start("journal", record)

    async def sweep(self) -> None:
        """The sweeper's round."""
        if not self._plant.sweeps:
            return
        world = self._world

        async def close(worker: Worker) -> None:
            open_ones = _Undecided(self)
            await Sweeper(self._door, open_ones, world.clock, world.ids, _unswept).sweep()

        await self.workers.start("sweeper", close)

    async def deliver_voids(self) -> None:
        """Try what is owed; a worker that dies on the way leaves it to the next."""
        await self.story()

        async def deliver(worker: Worker) -> None:
            await self._deliveries.round()

        await self.workers.start("voids", deliver)

    def time_passes(self, seconds: float) -> None:
        self._world.clock.advance(seconds)

    def messages(self, *, on_its_way: bool = False, awaited: bool = False) -> list[Message]:
        return [
            each
            for each in self.product.messages
            if (each.on_its_way or not on_its_way) and (each.awaited or not awaited)
        ]

    async def product_answers(self, message: Message) -> None:
        """Its answer reaches whoever waits for it."""
        message.stop.answer.set_result(message.said)
        await self.workers.settle()

    async def call_breaks(self, message: Message, failure: AuthorizeFailure) -> None:
        """No answer comes, whatever the product did: a time-out, a reset, an error of its own."""
        broken = AuthorizeFailed(failure, reached=True)
        void = message.kind == "void"
        message.stop.answer.set_exception(NoticeFailed(failure) if void else broken)
        await self.workers.settle()

    def read_now(self) -> Sequence[Recorded]:
        """For the deliveries: the story as it was lately."""
        return self._known[1]

    @property
    def undecided(self) -> bool:
        """Whether there is something to sweep, as was known lately."""
        return self._has(x.TransactionAuthorizationRequested) and not self._has(x.Decision)

    @property
    def owes_void(self) -> bool:
        """Whether there may be something to deliver, as was known lately."""
        owing = x.TransactionFailedClosed | x.TransactionVoidRequested
        return self._has(owing) and not self._has(x.TransactionVoided)

    def _has(self, kind: type[DomainEvent] | UnionType) -> bool:
        return any(isinstance(each.event, kind) for each in self._known[1])

    async def story(self) -> Sequence[Recorded]:
        """What the log says of the transaction."""
        if self._known[0] != self._door.commits:
            loaded = await self.workers.really(self._log.load(TENANT, self.id))
            self._known = (self._door.commits, loaded)
        return self._known[1]

    def _broker(self) -> Broker:
        world, door, plant = self._world, self._door, self._plant
        decisions = plant.decisions(
            door,
            Authorization(self.product, world.signer, ISSUER),
            StandIns(world.limiter),
            world.contexts,
            world.texts,
            world.clock,
            world.ids,
        )
        vendor = fickle_vendor(self.workers, world.clock, (PALM, OTHER_PALM))
        recognition = Recognition(door, vendor, world.signatures, world.canonical, world.clock)
        attempts = Attempts(door, recognition, decisions, world.clock, world.ids)
        take_overs = plant.take_overs(door, decisions, world.clock, world.ids)
        canonical, commitments = world.canonical, world.commitments
        return Broker(
            door,
            door,
            attempts,
            take_overs,
            canonical,
            commitments,
            world.texts,
            world.clock,
            world.ids,
        )

    def _journal(self) -> Journal:
        world = self._world
        return Journal(self._door, self._door, world.texts, world.clock, world.ids)

    def _changed(self, origin: Origin, events: Sequence[DomainEvent]) -> Sequence[DomainEvent]:
        by = "sweeper" if origin.actor == SWEEPER else "broker"
        if by != self._plant.owes_no_void:
            return events
        return [
            msgspec.structs.replace(each, void_needed=False)
            if isinstance(each, x.TransactionFailedClosed)
            else each
            for each in events
        ]


def _unswept(found: Undecided, error: Exception) -> None:
    """A transaction that cannot be closed is a broken promise."""
    raise error


class _Undecided:
    """The sweeper's hint, from the log itself."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    async def overdue(self, before: datetime, limit: int) -> Sequence[Undecided]:
        state = x.rebuild(await self._scene.story())
        if state is None or state.intent is None or state.decision is not None:
            return ()
        found = Undecided(state.tenant_id, state.id)
        return [found][:limit] if state.intent.lease_until < before else ()
