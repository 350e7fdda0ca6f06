"""The delivery engine of one process: for each kind a follower of the log and a worker."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import structlog
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from application.ports import DeliveryKind
from domain.events import Recorded
from infrastructure.database import PROJECTOR_ROLE, pool
from infrastructure.delivery.follower import Follower, FollowerPace
from infrastructure.delivery.outbox import Outbox
from infrastructure.delivery.standing import Standing, standings
from infrastructure.delivery.worker import DeliveryWorker, WorkerPace
from infrastructure.endings import end
from infrastructure.projections.log_window import LogReader, LogWindow

DRAIN_S: Final = 10.0
PRUNE_EVERY_S: Final = 600.0
KEPT_S: Final = 30 * 86_400.0
"""How long a delivery that is over can be looked at and replayed."""

_log: Final = structlog.stdlib.get_logger(__name__)


class EnginePace(msgspec.Struct, frozen=True, kw_only=True):
    follower: FollowerPace = FollowerPace()
    worker: WorkerPace = WorkerPace()


class DeliveryEngine:
    """Delivers for as long as it is open; several processes may, and share the work.

    `heard` is a subscriber for the log's tail; without it new events are found by looking.
    """

    def __init__(
        self,
        dsn: str,
        log: LogReader,
        kinds: Sequence[DeliveryKind],
        *,
        pace: EnginePace | None = None,
        chance: Callable[[], float] | None = None,
    ) -> None:
        """Raises ValueError when two kinds have one name."""
        if len({kind.name for kind in kinds}) != len(kinds):
            raise ValueError("two kinds of delivery have one name")
        pace = pace or EnginePace()
        self._pool = pool(
            _ending_idle_transactions(dsn, pace.follower.frozen_s),
            PROJECTOR_ROLE,
            connections_max=4,
        )
        self._window = LogWindow(log)
        self.outbox = Outbox(self._pool)
        self._followers: list[Follower] = []
        self._workers: list[DeliveryWorker] = []
        for kind in kinds:
            news = asyncio.Event()
            self._followers.append(Follower(dsn, kind, self._window, news, pace.follower))
            self._workers.append(DeliveryWorker(self.outbox, kind, news, pace.worker, chance))
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "DeliveryEngine":
        """Raises psycopg_pool.PoolTimeout when there is no database."""
        await self._pool.open(wait=True, timeout=10)
        running = [each.run() for each in self._followers]
        running += [each.run() for each in self._workers]
        self._tasks = [asyncio.create_task(each, name="delivery") for each in running]
        self._tasks.append(asyncio.create_task(self._prune(), name="delivery retention"))
        return self

    async def __aexit__(self, *_: object) -> None:
        await end(self._tasks)
        await asyncio.gather(*(worker.close(DRAIN_S) for worker in self._workers))
        await self._pool.close()

    async def until_failure(self) -> None:
        """Return only by raising what ended a follower or a worker: a bug, to die of."""
        await asyncio.gather(*self._tasks)

    @property
    def in_flight(self) -> frozenset[asyncio.Task[None]]:
        """What this process is delivering at this moment."""
        return frozenset(task for worker in self._workers for task in worker.in_flight)

    def heard(self, events: Sequence[Recorded]) -> None:
        """There are new events: these, consecutive, as the log's tail delivers them."""
        self._window.offer(events)
        for follower in self._followers:
            follower.wake()

    async def standings(self) -> Sequence[Standing]:
        """Where every kind stands that there ever was, whoever delivers it."""
        return await standings(self._pool)

    async def _prune(self) -> None:
        while True:
            try:
                forgotten = await self.outbox.prune(KEPT_S)
            except Exception as error:
                # What is too old may stay a little longer: deliveries go on without it.
                _log.warning("delivery_retention_failed", error=type(error).__name__)
                forgotten = 0
            if not forgotten:
                await asyncio.sleep(PRUNE_EVERY_S)


def _ending_idle_transactions(dsn: str, after_s: float) -> str:
    """The same database, where a worker that freezes while it records a result, and holds the
    delivery's row, is put an end to."""
    given: dict[str, Any] = conninfo_to_dict(dsn)
    options = f"{given.pop('options', '') or ''}"
    options += f" -c idle_in_transaction_session_timeout={int(after_s * 1000)}"
    return make_conninfo("", **given, options=options.strip())
