"""States in the log what the read models show of each tenant, and compares it with the log.

Runs beside the projectors and holds none of them up: rows are read in a snapshot of their own. It
looks at a tenant's rows some time after something happened to them, and never because of its own
events. Comparing replays the tenant's whole log, so the longer that takes, the rarer it is.
"""

import asyncio
import heapq
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol
from uuid import uuid4

import structlog

from application.execute import execute
from application.ports import CommitFailed, EventLog, StaleStream
from domain.events import DomainEvent, Origin, Recorded
from domain.ids import TenantId, projection_id
from domain.projection import (
    ProjectionDigested,
    ProjectionDiverged,
    rebuild,
    state,
)
from infrastructure.background import Background
from infrastructure.database import Pool
from infrastructure.event_log.session import ConnectionLost
from infrastructure.projections import tables
from infrastructure.projections.blame import passes_by_itself
from infrastructure.projections.comparison import CannotCompare, Comparison, compare
from infrastructure.projections.live_rows import OtherVersion, live_rows
from infrastructure.projections.log_window import LogReader
from projections.read_model import ReadModel

ACTOR: Final = "system:digester"
SHARE: Final = 50
"""Looking at one tenant's rows, and comparing, may take one part in so many of the time."""

# Hops from tenant to tenant over the index, however many events each has.
_TENANTS: Final = """
    WITH RECURSIVE tenants AS (
        (SELECT tenant_id FROM events ORDER BY tenant_id LIMIT 1)
        UNION ALL
        SELECT (SELECT e.tenant_id FROM events e WHERE e.tenant_id > t.tenant_id
                ORDER BY e.tenant_id LIMIT 1)
        FROM tenants t WHERE t.tenant_id IS NOT NULL
    )
    SELECT tenant_id FROM tenants WHERE tenant_id IS NOT NULL
"""

log: Final = structlog.stdlib.get_logger(__name__)

Shown = tuple[str, TenantId]
"""A read model by its name, and whose rows of it."""


class Log(EventLog, LogReader, Protocol):
    """The event log, for appending and for reading all of it."""


class Digests:
    """States what one read model shows of one tenant, when it is asked to."""

    def __init__(self, dsn: str, log: Log, *, batch: int = 200) -> None:
        self._dsn = dsn
        self._log = log
        self._batch = batch
        self._diverging: set[Shown] = set()

    def diverging(self, name: str) -> int:
        """For how many tenants the rows were not the log's when they were last compared here."""
        return sum(shown == name for shown, _ in self._diverging)

    async def state(
        self, model: ReadModel, tenant_id: TenantId, *, compared: bool
    ) -> ProjectionDigested | None:
        """The digest that was found, stated in the log unless the rows are those stated before.

        None, and nothing is stated, while the read model stands still for the tenant. With
        `compared`, rows that are not what the log says are stated too (`projection.diverged`).
        Raises OtherVersion, CannotCompare, and what the log raises.
        """
        found = await self._digest(model, tenant_id)
        if found is None:
            return None
        differs: ProjectionDiverged | None = None
        if compared:
            differs = await self._compared(model, tenant_id)
        await self._append(model, tenant_id, found, differs)
        return found

    async def _digest(self, model: ReadModel, tenant_id: TenantId) -> ProjectionDigested | None:
        async with (
            await tables.connect(self._dsn, tables.LIVE) as connection,
            live_rows(connection, model) as live,
        ):
            if tenant_id in live.missing_from:
                return None
            return ProjectionDigested(
                read_model=model.name,
                version=model.version,
                position=live.position,
                tables=await live.digests(tenant_id),
            )

    async def _compared(self, model: ReadModel, tenant_id: TenantId) -> ProjectionDiverged | None:
        try:
            found = await compare(
                self._dsn, model, self._log, tenant_id=tenant_id, batch=self._batch
            )
        except CannotCompare as error:
            # What is shown is stated all the same: whoever can replay it may judge it.
            log.error(  # noqa: TRY400 - the message says where; a trace could quote an event
                "projection_not_compared",
                projection=model.name,
                tenant=tenant_id.hex,
                reason=str(error),
            )
            return None
        if found.differing is None:
            self._diverging.discard((model.name, tenant_id))
        else:
            self._diverging.add((model.name, tenant_id))
        return diverged(found)

    async def _append(
        self,
        model: ReadModel,
        tenant_id: TenantId,
        found: ProjectionDigested,
        differs: ProjectionDiverged | None,
    ) -> None:
        command = uuid4()
        done = await execute(
            self._log,
            Origin(actor=ACTOR, correlation_id=command, command_id=command),
            tenant_id,
            projection_id(tenant_id, model.name),
            rebuild,
            lambda projection: state(projection, found, differs),
        )
        if any(isinstance(event, ProjectionDiverged) for event in done.events):
            assert differs is not None, "it was just stated"
            log.error(
                "projection_diverged",
                projection=model.name,
                tenant=tenant_id.hex,
                position=differs.position,
                table=differs.table,
                key=differs.key,
                difference=differs.difference,
                row_position=differs.row_position,
            )


def diverged(found: Comparison) -> ProjectionDiverged | None:
    """What a comparison has to state; None when the rows are the log's."""
    if found.differing is None:
        return None
    return ProjectionDiverged(
        read_model=found.read_model,
        version=found.version,
        position=found.position,
        table=found.differing.table,
        key=found.differing.key,
        difference=found.differing.difference,
        row_position=found.differing.row_position,
    )


class Digester(Background):
    """Keeps the digests up to date for as long as `run` runs; give it what the tail delivers."""

    def __init__(
        self,
        digests: Digests,
        pool: Pool,
        models: Sequence[ReadModel],
        runs_here: Callable[[str], bool],
        *,
        interval_s: float,
        share: int = SHARE,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`runs_here` says whether this process runs a read model: another's are another's to
        state. `pool` is link_projector's. `interval_s` after something happened a tenant's rows are
        looked at; that takes at most one part in `share` of the time."""
        super().__init__("digester")
        self._digests = digests
        self._pool = pool
        self._models = {model.name: model for model in models}
        self._listening = _listening(models)
        self._runs_here = runs_here
        self._interval_s = interval_s
        self._share = share
        self._monotonic = monotonic
        self._due: dict[Shown, float] = {}
        self._queue: list[tuple[float, str, TenantId]] = []
        self._rests_until: dict[Shown, float] = {}
        self._compares_from = 0.0

    def heard(self, events: Sequence[Recorded]) -> None:
        """These have happened: what shows them will be looked at."""
        now = self._monotonic()
        for kind, tenant_id in {(type(each.event), each.tenant_id) for each in events}:
            for name in self._listening.get(kind, ()):
                self._look_at((name, tenant_id), now + self._interval_s)

    async def run(self) -> None:
        """Begin with every tenant there is, and go on for ever; cancel it."""
        for tenant_id in await self._tenants():
            for name in self._models:
                self._look_at((name, tenant_id), self._monotonic() + self._interval_s)
        while True:
            while self._queue and self._queue[0][0] <= self._monotonic():
                _, name, tenant_id = heapq.heappop(self._queue)
                del self._due[name, tenant_id]
                if self._runs_here(name):
                    await self._state(name, tenant_id)
            await asyncio.sleep(min(1.0, self._interval_s))

    def _look_at(self, shown: Shown, at: float) -> None:
        if shown not in self._due:
            self._due[shown] = at = max(at, self._rests_until.get(shown, 0.0))
            heapq.heappush(self._queue, (at, *shown))

    async def _state(self, name: str, tenant_id: TenantId) -> None:
        began = self._monotonic()
        compared = began >= self._compares_from
        try:
            await self._digests.state(self._models[name], tenant_id, compared=compared)
        except Exception as error:
            if not _tries_again(error):
                raise
            log.warning(
                "projection_not_digested",
                projection=name,
                tenant=tenant_id.hex,
                error=type(error).__name__,
            )
            self._look_at((name, tenant_id), self._monotonic() + self._interval_s)
            return
        ended = self._monotonic()
        if compared:
            self._compares_from = ended + self._share * (ended - began)
        self._rests_until[name, tenant_id] = ended + self._share * (ended - began)

    async def _tenants(self) -> Sequence[TenantId]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_TENANTS)
            return [tenant_id for (tenant_id,) in await cursor.fetchall()]


def _listening(models: Sequence[ReadModel]) -> Mapping[type[DomainEvent], Sequence[str]]:
    """Which read models show an event, but for our own: stating a digest is no reason for one."""
    found: dict[type[DomainEvent], list[str]] = {}
    for model in models:
        for event in set(model.listens_to) - {ProjectionDigested, ProjectionDiverged}:
            found.setdefault(event, []).append(model.name)
    return found


def _tries_again(error: Exception) -> bool:
    """The database is away, somebody was first, or the read model is on its way elsewhere."""
    return passes_by_itself(error) or isinstance(
        error, StaleStream | CommitFailed | ConnectionLost | OtherVersion
    )
