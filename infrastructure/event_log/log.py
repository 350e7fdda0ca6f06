"""The `EventLog` port on Postgres: append through the group writer, load through the loader."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, LiteralString
from uuid import UUID

from psycopg.rows import TupleRow

from application.ports import Appended
from domain.errors import Unavailable
from domain.events import Origin, Recorded, StreamAppend
from domain.ids import TenantId
from infrastructure.database import PROJECTOR_ROLE
from infrastructure.event_log.appender import EventRow, GroupAppender, SealedRow, ValueRow
from infrastructure.event_log.loader import StreamLoader
from infrastructure.event_log.mapper import EventMapper
from infrastructure.event_log.positions import READ, READ_TENANT, page, tenant_page
from infrastructure.event_log.session import ConnectionLost, Session
from infrastructure.event_log.statements import Parameter
from infrastructure.event_log.wire_arrays import UuidArray

PAYLOAD_BYTES_MAX: Final = 64_512
"""A leaf of the transparency log holds 65,535 bytes (C2SP tlog-tiles), the envelope included."""
ACTOR_BYTES_MAX: Final = 80


class PostgresEventLog:
    """Three connections: one appends, one loads streams, one reads the whole log."""

    def __init__(
        self, appender: GroupAppender, loader: StreamLoader, reader: Session, mapper: EventMapper
    ) -> None:
        self._appender = appender
        self._loader = loader
        self._reader = reader
        self._reading = asyncio.Lock()
        self._mapper = mapper

    @classmethod
    async def open(
        cls,
        dsn: str,
        mapper: EventMapper,
        *,
        deadline_s: float = 5.0,
        waiting_events_max: int = 16_384,
        on_commit: Callable[[int, float], None] | None = None,
    ) -> "PostgresEventLog":
        """Connect as link_app and link_projector. Raises psycopg.Error when that fails.

        `on_commit` hears of every commit: how many events, and how many seconds it took.
        """
        log = cls(
            GroupAppender(
                dsn,
                deadline_s=deadline_s,
                waiting_events_max=waiting_events_max,
                on_commit=on_commit,
            ),
            StreamLoader(dsn, mapper, deadline_s=deadline_s),
            Session(dsn, PROJECTOR_ROLE),
            mapper,
        )
        try:
            await log._appender.open()
            await log._loader.open()
            await log._reader.open()
        except BaseException:
            await log.close()
            raise
        return log

    async def close(self) -> None:
        """Commit and answer what waits, then disconnect."""
        await self._appender.close()
        await self._loader.close()
        async with self._reading:
            await self._reader.close()

    async def append(self, origin: Origin, appends: Sequence[StreamAppend]) -> Appended:
        """Commit all of it or nothing, durably, before returning.

        Raises StaleStream, CommitFailed, Unavailable (`overloaded`, `shutting_down`),
        UnknownEvent for an event outside the catalogue, and ValueError for a submission that
        makes no sense: no events, too large an event, too long an actor, a stream named
        twice, a negative expected version.
        """
        if len(origin.actor.encode()) > ACTOR_BYTES_MAX:
            raise ValueError(f"an actor of more than {ACTOR_BYTES_MAX} bytes")
        encode = self._mapper.encode
        events: list[EventRow] = []
        sealed: list[SealedRow] = []
        values: list[ValueRow] = []
        fences: list[UUID] = []
        for part in appends:
            version = part.expected_version
            if version < 0:
                raise ValueError(f"stream {part.stream_id}: expected version {version} < 0")
            for event in part.events:
                version += 1
                name, payload = encode(event)
                if len(payload) > PAYLOAD_BYTES_MAX:
                    raise ValueError(f"{name} takes {len(payload)} bytes, {PAYLOAD_BYTES_MAX} fit")
                events.append((part.tenant_id, part.stream_id, version, name, payload))
            if part.sealed is not None:
                beside = part.sealed
                row = (beside.user_id, beside.key_version, beside.ciphertext)
                sealed.append((part.tenant_id, part.stream_id, *row))
            for value in part.values:
                row_of_value = (value.user_id, value.field, value.key_version, value.ciphertext)
                values.append((part.tenant_id, *row_of_value))
            if part.unless_begun is not None:
                fences.append(part.unless_begun)
        if not events:
            raise ValueError("a submission without events")
        if len(appends) > 1 and len({part.stream_id for part in appends}) < len(appends):
            raise ValueError("a submission names a stream twice")
        return await self._appender.append(origin, events, sealed, fences, values)

    async def load(self, tenant_id: TenantId, stream_id: UUID) -> Sequence[Recorded]:
        """All events of a stream in order; empty when there is none or it is another tenant's."""
        return await self._loader.load(tenant_id, stream_id)

    async def read(self, after: int, limit: int) -> Sequence[Recorded]:
        """At most `limit` events of all tenants that follow position `after`.

        Raises LogGap, Unavailable (`event_log_unavailable`), and UnknownEvent when the first
        of them cannot be read; what stands before an unreadable event is returned first.
        """
        found = page(self._mapper, await self._rows(READ, (after, limit)), after)
        if found.held is not None and not found.events:
            raise found.held
        return found.events

    async def read_tenant(
        self, tenant_id: TenantId, after: int, up_to: int, limit: int
    ) -> Sequence[Recorded]:
        """At most `limit` events of one tenant that follow `after` and are not beyond `up_to`.

        Raises Unavailable (`event_log_unavailable`), UnknownEvent.
        """
        given = (UuidArray.of([tenant_id]), after, up_to, limit)
        return tenant_page(self._mapper, await self._rows(READ_TENANT, given))

    async def _rows(
        self, query: LiteralString, parameters: Sequence[Parameter]
    ) -> Sequence[TupleRow]:
        async with self._reading:
            try:
                return await self._reader.fetch(query, parameters, within_s=5.0)
            except ConnectionLost as error:
                raise Unavailable("event_log_unavailable", str(error)) from error
