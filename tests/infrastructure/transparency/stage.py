"""A log to prove: events appended, trees grown and signed by hand, readers on top."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import TupleRow

from domain.ids import TenantId
from domain.transparency.checkpoint import Checkpoint
from domain.transparency.leaf import LoggedEvent, encode
from domain.transparency.merkle import fold, leaf_hash
from domain.transparency.note import VerifierKey, read_note
from domain.transparency.origin import origin_of
from domain.transparency.proof import open_checkpoint
from infrastructure.database import (
    APP_ROLE,
    PROJECTOR_ROLE,
    Connection,
    Pool,
    acting_as,
    pool,
)
from infrastructure.event_log.log import PostgresEventLog
from infrastructure.transparency.ed25519 import NoteSigner, verify
from infrastructure.transparency.intake import take_in
from infrastructure.transparency.reads import PostgresTransparencyLogs
from infrastructure.transparency.signer import CheckpointSigner
from tests.infrastructure.event_log.notes import MAPPER, A, notes, origin

PREFIX = "link.example"
KEY = NoteSigner(bytes(range(32)))


class Stage:
    """`keeper` is a connection of link_projector, as the keeper has; `admin` may do anything."""

    def __init__(
        self, dsn: str, log: PostgresEventLog, keeper: Connection, app: Pool, projector: Pool
    ) -> None:
        self.dsn = dsn
        self.log = log
        self.keeper = keeper
        self.app = app
        self.projector = projector
        self.signer = CheckpointSigner(KEY, PREFIX, final_at_once=True)
        self.reads = PostgresTransparencyLogs(app, projector, PREFIX, KEY.public_key)

    async def append(self, count: int = 1, tenant_id: TenantId = A) -> list[UUID]:
        """So many streams of one event each; their ids."""
        streams = [uuid4() for _ in range(count)]
        for begin in range(0, count, 200):
            parts = [
                notes(stream, 0, f"note {number}", tenant_id=tenant_id)
                for number, stream in enumerate(streams[begin : begin + 200], start=begin)
            ]
            await self.log.append(origin(), parts)
        return streams

    async def take_in(self, limit: int = 1000) -> None:
        """Everything that there is, in batches of at most `limit`."""
        while (await take_in(self.keeper, limit))[0]:
            pass

    async def sign(self) -> int:
        await self.take_in()
        return await self.signer.sign(self.keeper)

    async def opened(self, log_id: TenantId = A) -> Checkpoint:
        """The signed checkpoint, its signature checked."""
        found = await self.reads.checkpoint(log_id)
        assert found is not None
        return open_checkpoint(read_note(found.note), self.key(log_id), verify)

    def key(self, log_id: TenantId = A) -> VerifierKey:
        return VerifierKey(origin_of(PREFIX, log_id), KEY.public_key)

    def admin(self, statement: str, *parameters: Any) -> list[TupleRow]:
        """As a superuser who is up to no good."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def leaves(self, tenant_id: TenantId = A) -> Sequence[bytes]:
        """The tenant's leaves, made in Python from the rows of the log."""
        rows = self.admin(
            "SELECT position, recorded_at, tenant_id, stream_id, stream_version, name, actor,"
            " correlation_id, command_id, payload FROM events WHERE tenant_id = %s"
            " ORDER BY position",
            tenant_id,
        )
        return [encode(logged(row)) for row in rows]

    def root(self, tenant_id: TenantId = A) -> bytes:
        return fold([leaf_hash(leaf) for leaf in self.leaves(tenant_id)])


def logged(row: TupleRow) -> LoggedEvent:
    return LoggedEvent(
        position=row[0],
        recorded_at=row[1].astimezone(UTC),
        tenant_id=row[2],
        stream_id=row[3],
        stream_version=row[4],
        name=row[5],
        actor=row[6],
        correlation_id=row[7],
        command_id=row[8],
        payload=row[9],
    )


@asynccontextmanager
async def stage_on(dsn: str) -> AsyncGenerator[Stage]:
    async with AsyncExitStack() as stack:
        log = await PostgresEventLog.open(dsn, MAPPER)
        stack.push_async_callback(log.close)
        app, projector = pool(dsn, APP_ROLE), pool(dsn, PROJECTOR_ROLE)
        for opened in (app, projector):
            await opened.open()
            stack.push_async_callback(opened.close)
        keeper = await stack.enter_async_context(
            await psycopg.AsyncConnection[TupleRow].connect(
                acting_as(dsn, PROJECTOR_ROLE), autocommit=True
            )
        )
        yield Stage(dsn, log, keeper, app, projector)
