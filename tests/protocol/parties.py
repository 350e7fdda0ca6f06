"""The world around a platform under test: messages that travel as somebody says, a product that
keeps the contract, a vendor that does not know its own mind, and a door to the real log."""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar
from uuid import UUID

import msgspec

from application.ports import (
    Appended,
    AuthorizeCall,
    Authorized,
    CommitFailed,
    NoticeCall,
    NoticeStatus,
    PalmVendorFailed,
)
from domain.events import DomainEvent, Origin, Recorded, StreamAppend
from domain.ids import PalmRef, TenantId
from infrastructure.event_log.log import PostgresEventLog
from tests.application.counterparts import Palms
from tests.application.hand_clock import HandClock
from tests.application.world import ALI, TENANT_KEY, Signer
from tests.protocol.workers import Stop, Workers, alive

S = TypeVar("S")

ALLOW = Authorized(
    decision="allow", display_message="Approved", reference_id="wal_1", ttl_seconds=30
)
DENY = Authorized(decision="deny", display_message="No", reference_id=None, ttl_seconds=30)


class Door:
    """`EventLog` and `Streams` on the real log. `watched` is the stream at which workers stop;
    `changes` is what a planted bug makes of the events before they are committed."""

    def __init__(self, log: PostgresEventLog, workers: Workers, watched: UUID) -> None:
        self._log = log
        self._workers = workers
        self._watched = watched
        self.fenced = True
        self.commits = 0
        """How often the log may have changed."""

        self.changes: Callable[[Origin, Sequence[DomainEvent]], Sequence[DomainEvent]] = (
            lambda _, events: events
        )

    async def load(self, tenant_id: TenantId, stream_id: UUID) -> Sequence[Recorded]:
        alive()
        if stream_id == self._watched:
            await self._workers.stop("read")
        return await self._workers.really(self._log.load(tenant_id, stream_id))

    async def state(
        self, tenant_id: TenantId, stream_id: UUID, rebuild: Callable[[Sequence[Recorded]], S]
    ) -> S:
        return rebuild(await self.load(tenant_id, stream_id))

    async def append(self, origin: Origin, appends: Sequence[StreamAppend]) -> Appended:
        """Raises CommitFailed when the world says so, before the commit or after it."""
        how = await self._workers.stop("commit")
        if how == "fails":
            raise CommitFailed("the connection was lost on the way there")
        part = appends[0]
        assert len(appends) == 1, "a transaction is one stream"
        part = msgspec.structs.replace(part, events=self.changes(origin, part.events))
        if not self.fenced:
            stored = await self._workers.really(self._log.load(part.tenant_id, part.stream_id))
            part = msgspec.structs.replace(part, expected_version=len(stored))
        self.commits += 1
        appended = await self._workers.really(self._log.append(origin, [part]))
        if how == "fails_after":
            raise CommitFailed("the connection was lost on the way back")
        await self._workers.stop("committed")
        return appended


class Message:
    """A request to the product: on its way, heard or lost, whoever is left to hear its answer."""

    def __init__(
        self,
        kind: Literal["authorize", "void"],
        call: AuthorizeCall | NoticeCall,
        claims: Mapping[str, Any],
    ) -> None:
        self.kind = kind
        self.key = call.idempotency_key
        self.jti: str = claims["jti"]
        self.user_id: str = json.loads(call.body)["user_id"]
        self.stop: Stop[Any] = Stop("the product")
        self.lost = False
        self.said: Authorized | NoticeStatus | None = None

    @property
    def on_its_way(self) -> bool:
        return not self.lost and self.said is None

    @property
    def awaited(self) -> bool:
        return not self.stop.answer.done()


class Product:
    """`LinkedServiceGateway` and `ProductNotices`: every call becomes a message that waits.

    The product behind them keeps the contract: one effect per key, and a tombstone for a key that
    was voided, known or not. `idempotent` and `tombstones` are its two duties.
    """

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self.messages: list[Message] = []
        self.allows = True
        self.idempotent = True
        self.tombstones = True
        self.effects = 0
        self.stands: dict[str, Literal["allowed", "denied", "voided"]] = {}

    async def authorize(self, call: AuthorizeCall) -> Authorized:
        said: Authorized = await self._send("authorize", call)
        return said

    async def send(self, call: NoticeCall) -> NoticeStatus:
        status: NoticeStatus = await self._send("void", call)
        return status

    async def _send(
        self, kind: Literal["authorize", "void"], call: AuthorizeCall | NoticeCall
    ) -> Any:
        worker = alive()
        assert worker is not None, "only workers call the product"
        message = Message(kind, call, self._signer.claims_of(call.bearer))
        self.messages.append(message)
        worker.calls.append(message.stop)
        try:
            return await message.stop.answer
        finally:
            if message.stop in worker.calls:
                worker.calls.remove(message.stop)

    def hear(self, message: Message) -> None:
        """The message has arrived: this is when it takes effect."""
        message.said = (
            self._void(message.key) if message.kind == "void" else self._authorize(message.key)
        )

    def _authorize(self, key: str) -> Authorized:
        stands = self.stands.get(key)
        if stands == "denied" or (stands == "voided" and self.tombstones):
            return DENY
        if stands == "allowed":
            self.effects += not self.idempotent
            return ALLOW
        self.stands[key] = "allowed" if self.allows else "denied"
        self.effects += self.allows
        return ALLOW if self.allows else DENY

    def _void(self, key: str) -> NoticeStatus:
        stands = self.stands.get(key)
        self.stands[key] = "voided"
        if stands == "voided":
            return "already_voided"
        return "voided" if stands == "allowed" else "not_found"


def fickle_vendor(workers: Workers, clock: HandClock, palms: Sequence[PalmRef]) -> Palms:
    """Finds another person each time it is asked with the same picture."""
    turn = itertools.cycle(palms)

    async def pause() -> None:
        if await workers.stop("the vendor") != "goes_on":
            raise PalmVendorFailed("palm_vendor_timeout")
        vendor.enrolled = {(TENANT_KEY, next(turn)): ALI}

    vendor = Palms(clock, [], pause)
    return vendor
