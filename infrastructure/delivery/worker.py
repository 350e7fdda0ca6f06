"""Delivers one kind: claims what is due, has the kind try it, and records how that went.

Several workers, in one process or many, share the work through leases. A worker that dies leaves
its leases to run out; a worker that was merely slow finds the fence shut and says nothing. The
order of the last steps is what keeps a result from being lost: the kind records what came of it
(`settled`), and only then is the delivery over.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Final

import msgspec
import psycopg
import structlog
from psycopg_pool import PoolTimeout

from application.ports import (
    Attempted,
    CommitFailed,
    Dead,
    Delivered,
    Delivery,
    DeliveryKind,
    DeliveryPolicy,
    RetryLater,
    Waits,
)
from domain.errors import Unavailable
from infrastructure.delivery import places
from infrastructure.delivery.outbox import Leased, Outbox
from infrastructure.delivery.places import Taken
from infrastructure.endings import end

SETTLE_S: Final = 10.0
_DATABASE_AWAY: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    PoolTimeout,
)
_AWAY: Final = (*_DATABASE_AWAY, Unavailable, CommitFailed)
"""What a kind needs of us is not there for a while."""

_log: Final = structlog.stdlib.get_logger(__name__)


class WorkerPace(msgspec.Struct, frozen=True, kw_only=True):
    """`poll_s` is how often a worker looks for what is due. A lease is held for the kind's
    deadline and `lease_margin_s`, the time in which a result is recorded."""

    poll_s: float = 0.5
    lease_margin_s: float = 20.0


class DeliveryWorker:
    """`run` delivers until it is cancelled; then `close` waits for what is in flight."""

    def __init__(
        self,
        outbox: Outbox,
        kind: DeliveryKind,
        news: asyncio.Event,
        pace: WorkerPace,
        chance: Callable[[], float] | None = None,
    ) -> None:
        """`news` is set when there may be more to deliver. `chance` draws from 0 to 1."""
        self._outbox = outbox
        self._kind = kind
        self._policy: DeliveryPolicy = kind.policy
        self._lease_s = kind.policy.deadline_s + pace.lease_margin_s
        self._pace = pace
        self._news = news
        self._chance = chance or random.SystemRandom().random
        self._running: dict[asyncio.Task[None], Taken] = {}

    @property
    def in_flight(self) -> frozenset[asyncio.Task[None]]:
        """The deliveries that are being tried, or recorded."""
        return frozenset(self._running)

    async def run(self) -> None:
        """Claim and deliver. Returns by raising what is a bug of ours."""
        while True:
            self._news.clear()
            try:
                claimed = await self._claim()
            except _DATABASE_AWAY as error:
                _log.warning(
                    "delivery_claim_failed", kind=self._kind.name, error=type(error).__name__
                )
                claimed = False
            if not claimed:
                await self._sleep()

    async def close(self, drain_s: float) -> None:
        """Let running tries end, then cut them off: their leases bring them back elsewhere."""
        if self._running:
            await asyncio.wait(self._running, timeout=drain_s)
        await end(self._running)

    async def _claim(self) -> bool:
        free = places.free(self._policy, self._running.values())
        if free is None:
            return False
        leased = await self._outbox.claim(self._kind.name, free, self._lease_s)
        for each in leased:
            delivery = each.delivery
            task = asyncio.create_task(self._deliver(each), name=f"delivery {self._kind.name}")
            self._running[task] = Taken(
                delivery.tenant_id, delivery.destination, delivery.failing_since is not None
            )
            task.add_done_callback(self._done)
        return bool(leased)

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        # The next of its lane may be due now.
        self._news.set()
        if not task.cancelled() and task.exception() is not None:
            _log.error("delivery_not_recorded", kind=self._kind.name, exc_info=task.exception())

    async def _deliver(self, leased: Leased) -> None:
        delivery = leased.delivery
        attempted = await self._attempt(delivery)
        if isinstance(attempted, Waits):
            await self._record(delivery, attempted, attempted.after_s)
            return
        wait_s = self._wait_s(leased.tries, attempted)
        if isinstance(attempted, RetryLater):
            too_old = leased.trying_for_s + wait_s > self._policy.max_age_s
            attempted = Dead("expired", attempted.status) if too_old else attempted
        result: Attempted | None = attempted
        if not isinstance(attempted, RetryLater):
            result = await self._settle(delivery, attempted)
        if result is None:
            self._fenced_off(delivery)
        else:
            await self._record(delivery, result, wait_s)

    async def _attempt(self, delivery: Delivery) -> Attempted:
        try:
            async with asyncio.timeout(self._policy.deadline_s):
                return await self._kind.attempt(delivery)
        except TimeoutError:
            return RetryLater("timeout")
        except _AWAY as error:
            _log.warning(
                "delivery_attempt_interrupted",
                kind=delivery.kind,
                id=str(delivery.id),
                error=type(error).__name__,
            )
            return RetryLater("unavailable", ours=True)
        except Exception:
            # A bug of one kind of delivery keeps the others of this worker waiting for nothing.
            _log.exception("delivery_attempt_failed", kind=delivery.kind, id=str(delivery.id))
            return RetryLater("internal_error", ours=True)

    async def _settle(self, delivery: Delivery, settlement: Delivered | Dead) -> Attempted | None:
        """The settlement once the kind has recorded it; None when the delivery is not ours."""
        try:
            async with asyncio.timeout(SETTLE_S):
                if not await self._outbox.renew(delivery, self._pace.lease_margin_s):
                    return None
                await self._kind.settled(delivery, settlement)
        except Exception:
            # As above; what is not recorded as over is settled once more.
            _log.exception("delivery_settlement_failed", kind=delivery.kind, id=str(delivery.id))
            return RetryLater("settlement_failed", settlement.status, ours=True)
        return settlement

    async def _record(self, delivery: Delivery, attempted: Attempted, wait_s: float) -> None:
        """Say how it went for as long as the lease may last; after that it is tried again."""
        give_up_at = asyncio.get_running_loop().time() + self._lease_s
        while True:
            try:
                wakes = self._policy.wakes
                if not await self._outbox.finish(delivery, attempted, wait_s, wakes=wakes):
                    self._fenced_off(delivery)
            except _DATABASE_AWAY:
                if asyncio.get_running_loop().time() > give_up_at:
                    raise
                await asyncio.sleep(self._pace.poll_s)
            else:
                return

    def _fenced_off(self, delivery: Delivery) -> None:
        _log.warning("delivery_fenced_off", kind=delivery.kind, id=str(delivery.id))

    def _wait_s(self, tries: int, attempted: Attempted) -> float:
        """Until the next try, should there be one; what the receiver asked for counts if more."""
        delays = self._policy.delays_s
        delay = delays[min(tries, len(delays)) - 1]
        delay *= 1 + self._policy.jitter * (2 * self._chance() - 1)
        asked = (attempted.after_s or 0.0) if isinstance(attempted, RetryLater) else 0.0
        return max(delay, min(asked, self._policy.retry_after_max_s))

    async def _sleep(self) -> None:
        try:
            async with asyncio.timeout(self._pace.poll_s):
                await self._news.wait()
        except TimeoutError:
            pass
