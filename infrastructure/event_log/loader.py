"""Loads streams, many at once: what is asked for while a query runs goes into the next one."""

import asyncio
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from psycopg.rows import TupleRow

from domain.errors import Unavailable
from domain.events import Recorded
from domain.ids import TenantId
from infrastructure.database import APP_ROLE
from infrastructure.event_log.mapper import EventMapper
from infrastructure.event_log.session import ConnectionLost, Session
from infrastructure.event_log.wire_arrays import UuidArray

LOAD: Final = "SELECT * FROM load_streams(%b, %b)"

_STREAMS_PER_QUERY: Final = 256
_STREAMS_WAITING_MAX: Final = 16_384

_Pair = tuple[TenantId, UUID]
_Answer = asyncio.Future[Sequence[Recorded]]


class StreamLoader:
    """One connection for all loads of a process."""

    def __init__(
        self,
        dsn: str,
        mapper: EventMapper,
        *,
        deadline_s: float = 5.0,
        waiting_max: int = _STREAMS_WAITING_MAX,
    ) -> None:
        self._session = Session(dsn, APP_ROLE)
        self._mapper = mapper
        self._deadline_s = deadline_s
        self._waiting_max = waiting_max
        self._waiting: dict[_Pair, list[_Answer]] = {}
        self._reader: asyncio.Task[None] | None = None
        self._closing = False

    async def open(self) -> None:
        """Connect. Raises psycopg.Error."""
        await self._session.open()

    async def close(self) -> None:
        """Answer those that wait, and end."""
        self._closing = True
        if self._reader is not None:
            await self._reader
        await self._session.close()

    async def load(self, tenant_id: TenantId, stream_id: UUID) -> Sequence[Recorded]:
        """All events of the stream that are committed when this is called, in order.

        Empty for another tenant's stream. Raises UnknownEvent, and Unavailable
        (`event_log_unavailable`) when the database did not answer within the deadline, or
        (`overloaded`) when too many wait already.
        """
        if self._closing:
            raise Unavailable("shutting_down")
        if len(self._waiting) >= self._waiting_max:
            raise Unavailable("overloaded", retry_after_s=1)
        answer: _Answer = asyncio.get_running_loop().create_future()
        self._waiting.setdefault((tenant_id, stream_id), []).append(answer)
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read(), name="event log loader")
        return await answer

    async def _read(self) -> None:
        while self._waiting:
            pairs = list(self._waiting)[:_STREAMS_PER_QUERY]
            answers = [self._waiting.pop(pair) for pair in pairs]
            try:
                rows = await self._session.fetch(
                    LOAD,
                    (
                        UuidArray.of([tenant for tenant, _ in pairs]),
                        UuidArray.of([stream for _, stream in pairs]),
                    ),
                    within_s=self._deadline_s,
                )
                self._answer(pairs, answers, rows)
            except ConnectionLost as error:
                # Who waits behind would wait as long again for the same line.
                waiting, self._waiting = self._waiting, {}
                _fail(
                    [*answers, *waiting.values()],
                    Unavailable("event_log_unavailable", str(error), retry_after_s=1),
                )
            except Exception as error:
                _fail(answers, error)
            finally:
                _fail(answers, Unavailable("shutting_down"))

    def _answer(
        self, pairs: Sequence[_Pair], answers: Sequence[list[_Answer]], rows: Sequence[TupleRow]
    ) -> None:
        grouped: list[list[TupleRow]] = [[] for _ in pairs]
        for row in rows:
            grouped[row[0] - 1].append(row)
        for pair, waiting, found in zip(pairs, answers, grouped, strict=True):
            try:
                stream = self._stream(pair, found)
            except Exception as error:  # one unreadable stream is not the others' trouble
                _fail([waiting], error)
                continue
            for answer in waiting:
                if not answer.done():
                    answer.set_result(stream)

    def _stream(self, pair: _Pair, rows: Sequence[TupleRow]) -> Sequence[Recorded]:
        tenant_id, stream_id = pair
        decode = self._mapper.decode
        return tuple(
            Recorded(
                position=position,
                tenant_id=tenant_id,
                stream_id=stream_id,
                version=version,
                event=decode(name, payload),
                actor=actor,
                correlation_id=correlation_id,
                command_id=command_id,
                recorded_at=recorded_at,
            )
            for (
                _,
                position,
                version,
                name,
                payload,
                actor,
                correlation_id,
                command_id,
                recorded_at,
            ) in rows
        )


def _fail(answers: Sequence[list[_Answer]], error: Exception) -> None:
    for waiting in answers:
        for answer in waiting:
            if not answer.done():
                answer.set_exception(error)
