"""Deletes what is kept about people and needed no more: the worker's, every ten minutes.

Values of sign-ups that never ended, one-time codes and enrolment grants that ran out, sessions that
are over, and what products wrote where the tenant wants it gone. Several workers may sweep at once;
each row goes once.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, LiteralString, Protocol

import msgspec
import psycopg
import structlog
from psycopg_pool import PoolTimeout

from application.ports import Clock
from domain.ids import PLATFORM, TenantId
from domain.tenant_settings import RetentionPolicy
from infrastructure.background import Background
from infrastructure.database import Pool
from infrastructure.people.otp_challenges import KEPT_AFTER_EXPIRY

EVERY: Final = timedelta(minutes=10)
UNFINISHED_AFTER: Final = timedelta(hours=1)
"""Far longer than a sign-up's request: one that is still at it must not lose its value."""
BATCH: Final = 500

_SWEEP: Final[LiteralString] = "SELECT * FROM sweep_people(%s, %s, %s, %s)"

ADVICE_AFTER: Final = timedelta(days=35)
"""Longer than an advice that failed can be replayed (30 days)."""

_BY_AGE: Final[tuple[tuple[LiteralString, timedelta], ...]] = (
    ("SELECT sweep_advice_contexts(%s, %s)", ADVICE_AFTER),
    ("SELECT sweep_console_sessions(%s, %s)", timedelta(0)),
    ("SELECT sweep_passkey_ceremonies(%s, %s)", timedelta(0)),
)
"""What goes when it has been over for a while. Contexts of advice are of decisions that never came
to be, and of products that were never reached."""

_SESSIONS: Final[LiteralString] = "SELECT sweep_user_sessions(%s, %s, %s)"
_TEXTS: Final[LiteralString] = "SELECT sweep_product_texts(%s, %s, %s)"
TENANTS_AT_ONCE: Final = 100

_log = structlog.get_logger(__name__)


class Swept(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows of each kind have gone."""

    signups: int
    challenges: int
    grants: int


class Tenants(Protocol):
    async def held(self, after: TenantId, limit: int) -> Sequence[TenantId]:
        """Those of whom anything may be left, in the order of their ids. Raises psycopg.Error."""
        ...

    async def of(self, tenant_id: TenantId) -> RetentionPolicy | None:
        """How long this one has things kept; None when there is no such tenant."""
        ...


class Retention(Background):
    def __init__(self, pool: Pool, clock: Clock, tenants: Tenants) -> None:
        super().__init__("retention")
        self._pool = pool
        self._clock = clock
        self._tenants = tenants

    async def sweep(self) -> Swept:
        """Delete all that has run out by now, in batches. Raises psycopg.Error, PoolTimeout."""
        now = self._clock.now()
        before = (now - UNFINISHED_AFTER, now - KEPT_AFTER_EXPIRY, now, BATCH)
        total = (0, 0, 0)
        while True:
            async with self._pool.connection() as connection:
                row = await (await connection.execute(_SWEEP, before)).fetchone()
            assert row is not None, "the function answers with one row"
            total = (total[0] + row[0], total[1] + row[1], total[2] + row[2])
            if max(row) < BATCH:
                for sweep, after in _BY_AGE:
                    await self._sweep_all(sweep, now - after)
                await self._sweep_tenants(now)
                return Swept(signups=total[0], challenges=total[1], grants=total[2])

    async def _sweep_tenants(self, now: datetime) -> None:
        """Each by its own settings. One whose settings cannot be read keeps no other waiting, and
        loses nothing."""
        latest, found = PLATFORM, await self._tenants.held(PLATFORM, TENANTS_AT_ONCE)
        while found:
            for latest in found:
                try:
                    kept = await self._tenants.of(latest)
                except Exception as error:
                    _log.error("sweep_failed", tenant=str(latest), error=type(error).__name__)
                    continue
                if kept is None:
                    continue
                await self._sweep_all(_SESSIONS, latest, now - kept.session_records)
                if kept.product_texts is not None:
                    await self._sweep_all(_TEXTS, latest, now - kept.product_texts)
            found = await self._tenants.held(latest, TENANTS_AT_ONCE)

    async def _sweep_all(self, sweep: LiteralString, *of: TenantId | datetime) -> None:
        forgotten = BATCH
        while forgotten == BATCH:
            async with self._pool.connection() as connection:
                found = await connection.execute(sweep, (*of, BATCH))
                row = await found.fetchone()
            assert row is not None, "the function answers with one row"
            forgotten = row[0]

    async def run(self) -> None:
        """Sweep every ten minutes; a failure is told and tried again."""
        while True:
            try:
                swept = await self.sweep()
            except (psycopg.Error, PoolTimeout) as error:
                _log.error("sweep_failed", error=type(error).__name__)
            else:
                if swept != Swept(signups=0, challenges=0, grants=0):
                    _log.info("swept", **msgspec.structs.asdict(swept))
            await asyncio.sleep(EVERY.total_seconds())
