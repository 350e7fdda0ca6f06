"""Keeps the transparency log: one process at a time takes in the log, signs, and asks witnesses.

standing by ─▶ keeping ─▶ (the connection, and with it the lock, is lost) ─▶ standing by

The lock belongs to the connection that everything is written through, so whoever loses it cannot
write either. A process that stands still gives it up: the server ends a session that says nothing
for `Pace.frozen_s`, in a transaction or out of it.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import psycopg
import structlog
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from domain.events import Recorded
from domain.ids import TenantId
from domain.transparency.origin import PLATFORM_LOG
from infrastructure.background import Background
from infrastructure.database import PROJECTOR_ROLE, Connection, acting_as
from infrastructure.transparency.intake import take_in
from infrastructure.transparency.platform_tree import add_checkpoints
from infrastructure.transparency.signer import CheckpointSigner
from infrastructure.transparency.witnesses import Cosigner

LOCK: Final = 7_310_586

_PASSING: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
)
"""The database is away, or has another primary: trying again is right."""

_log = structlog.get_logger(__name__)


class Pace:
    """`batch` events to a commit; between rounds, `rest_s`, and at least as long as `share` says.

    While it is behind, the keeper works only `share` of the time: appending comes first, and what
    is left over is taken in when there is room. `sign_s` lies between two signings of the same
    logs, `platform_s` between two of the platform's tree. No pause is longer than half of
    `frozen_s`, the silence after which another process takes over.
    """

    def __init__(
        self,
        *,
        batch: int = 1000,
        rest_s: float = 0.2,
        share: float = 0.15,
        sign_s: float = 0.4,
        platform_s: float = 5.0,
        poll_s: float = 0.5,
        frozen_s: float = 60.0,
    ) -> None:
        self.batch = batch
        self.rest_s = rest_s
        self.share = share
        self.sign_s = sign_s
        self.platform_s = platform_s
        self.poll_s = poll_s
        self.frozen_s = frozen_s


class LogKeeper(Background):
    """Keeps the log for as long as it is open. `heard` is a subscriber for the log's tail."""

    def __init__(
        self,
        dsn: str,
        signer: CheckpointSigner,
        cosigner: Cosigner | None = None,
        pace: Pace | None = None,
    ) -> None:
        super().__init__("transparency log")
        self._dsn = dsn
        self._signer = signer
        self._cosigner = cosigner
        self._pace = pace or Pace()
        self._news = asyncio.Event()
        self._unsigned: set[TenantId] | None = None
        self._signed_at = 0.0
        self._platform_at = 0.0

    def heard(self, events: Sequence[Recorded]) -> None:
        """There are new events."""
        if events:
            self._news.set()

    async def run(self) -> None:
        """Stand by, keep the log when it is our turn, and come back when the connection is lost.
        Never returns by itself; cancel it.

        Raises LogGap and TreeDamaged: then the log itself is damaged, and nothing is signed.
        """
        while True:
            try:
                async with await self._connect() as connection:
                    await self._stand_by(connection)
                    async with asyncio.TaskGroup() as group:
                        if self._cosigner is not None:
                            group.create_task(self._cosigner.run(), name="cosigner")
                        group.create_task(self._keep(connection), name="log keeper")
            except* _PASSING as errors:
                _log.warning("log_keeper_interrupted", error=type(errors.exceptions[0]).__name__)
            await asyncio.sleep(self._pace.poll_s)

    async def _connect(self) -> Connection:
        given = conninfo_to_dict(acting_as(self._dsn, PROJECTOR_ROLE))
        silence_ms = int(self._pace.frozen_s * 1000)
        given["options"] = (
            f"{given['options']} -c timezone=UTC -c enable_seqscan=off"
            f" -c idle_session_timeout={silence_ms}"
            f" -c idle_in_transaction_session_timeout={silence_ms}"
        )
        return await psycopg.AsyncConnection[TupleRow].connect(
            make_conninfo("", **given), autocommit=True, connect_timeout=5
        )

    async def _stand_by(self, connection: Connection) -> None:
        while True:
            cursor = await connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,))
            if await cursor.fetchone() == (True,):
                _log.info("log_kept_here")
                return
            await asyncio.sleep(self._pace.poll_s)

    async def _keep(self, connection: Connection) -> None:
        self._unsigned = None  # whatever the last keeper left unsigned
        while True:
            self._news.clear()
            began = time.monotonic()
            taken, sizes = await take_in(connection, self._pace.batch)
            if self._unsigned is not None:
                self._unsigned.update(sizes)
            await self._sign(connection)
            worked = time.monotonic() - began
            if taken == self._pace.batch:
                pause = worked * (1 / self._pace.share - 1)
                await asyncio.sleep(min(pause, self._pace.frozen_s / 2))
            elif taken or self._unsigned:
                await asyncio.sleep(self._pace.rest_s)
            else:
                await self._until_news()

    async def _sign(self, connection: Connection) -> None:
        now = time.monotonic()
        if now - self._signed_at >= self._pace.sign_s and self._unsigned != set():
            logs = None if self._unsigned is None else list(self._unsigned)
            await self._signer.sign(connection, logs)
            self._unsigned = set()
            self._signed_at = now
        if now - self._platform_at >= self._pace.platform_s:
            if await add_checkpoints(connection):
                await self._signer.sign(connection, [PLATFORM_LOG])
            self._platform_at = now

    async def _until_news(self) -> None:
        try:
            async with asyncio.timeout(self._pace.poll_s):
                await self._news.wait()
        except TimeoutError:
            pass
