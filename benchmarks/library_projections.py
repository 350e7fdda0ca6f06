"""The event-sourcing library's own `ProjectionRunner`, writing the same rows as our read models.

One runner for each read model, as its documentation has it: a subscription, a thread, and one
transaction for each event with the rows and the tracking. The rows come from the same reducers
and the same SQL. To its advantage, events are filtered by topic in the database, are decoded by
msgspec, and commits do not wait for the disk, as with ours.
"""

import asyncio
import time
from collections.abc import Awaitable, Sequence
from contextlib import ExitStack
from datetime import datetime
from typing import Any, Final, cast
from uuid import UUID

import eventsourcing.postgres as library
import msgspec
import psycopg
from eventsourcing.application import Application
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.persistence import Mapper, StoredEvent, Tracking
from eventsourcing.projection import Projection, ProjectionRunner
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow, tuple_row

from domain.catalogue import EVENTS, UPCASTERS
from domain.events import Recorded
from domain.ids import TenantId
from infrastructure.event_log.log import PostgresEventLog
from infrastructure.event_log.mapper import EventMapper
from infrastructure.projections import tables
from infrastructure.projections.comparison import compare
from projections.catalogue import READ_MODELS
from projections.read_model import Connection, ReadModel

PATIENCE_S: Final = 600.0

_SETTINGS: Final = """
    DO $$ BEGIN
        EXECUTE format('ALTER DATABASE %I SET search_path = read_models, public',
                       current_database());
        EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database());
        EXECUTE format('ALTER DATABASE %I SET timezone = ''UTC''', current_database());
    END $$
"""
_FILL: Final = """
    INSERT INTO public.log_events
        (originator_id, originator_version, topic, state, notification_id)
    SELECT stream_id, stream_version, name, convert_to(json_build_object(
               'tenant_id', tenant_id, 'actor', actor, 'correlation_id', correlation_id,
               'command_id', command_id, 'recorded_at', recorded_at,
               'data', convert_from(payload, 'UTF8')::json -> 'data')::text, 'UTF8'), position
    FROM events ORDER BY position
"""
_LAST: Final = "SELECT max(position) FROM events WHERE name = ANY(%s)"


class _Envelope(msgspec.Struct):
    tenant_id: TenantId
    actor: str
    correlation_id: UUID
    command_id: UUID
    recorded_at: datetime
    data: msgspec.Raw


_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)
_DATA: Final = {name: msgspec.json.Decoder(event) for name, event in EVENTS.items()}


class _RecordedMapper(Mapper[UUID]):
    """Gives what our reducers take; `stored_event` is a notification, which has an id."""

    def to_domain_event(self, stored_event: StoredEvent) -> Any:
        found = _ENVELOPE.decode(stored_event.state)
        return Recorded(
            position=cast("Any", stored_event).id,
            tenant_id=found.tenant_id,
            stream_id=cast("UUID", stored_event.originator_id),
            version=stored_event.originator_version,
            event=_DATA[stored_event.topic].decode(found.data),
            actor=found.actor,
            correlation_id=found.correlation_id,
            command_id=found.command_id,
            recorded_at=found.recorded_at,
        )


class Log(Application[UUID]):
    """The application whose events are projected."""

    name = "log"

    def construct_mapper(self) -> Mapper[UUID]:
        return self.factory.mapper(
            transcoder=self.construct_transcoder(), mapper_class=_RecordedMapper
        )


class _Rows(library.PostgresTrackingRecorder):
    """A materialised view: rows and tracking in one transaction."""

    def bring_up_to_date(self, model: ReadModel, recorded: Recorded, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            same = cast("Connection", _Waiting(cursor.connection))
            _at_once(model.project(same, [recorded]))
            self._insert_tracking(cursor, tracking)


class _Waiting:
    """A synchronous connection under the face of the asynchronous one that `project` knows."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    async def execute(self, query: Any, parameters: Any = None) -> "_Answer":
        cursor = self._connection.cursor(row_factory=tuple_row)
        return _Answer(cursor.execute(query, parameters))


class _Answer:
    def __init__(self, cursor: psycopg.Cursor[TupleRow]) -> None:
        self._cursor = cursor
        self.rowcount = cursor.rowcount

    async def fetchall(self) -> list[TupleRow]:
        return self._cursor.fetchall()

    async def fetchone(self) -> TupleRow | None:
        return self._cursor.fetchone()


def _at_once(steps: Awaitable[None]) -> None:
    """Run to its end what waits for nothing."""
    for _ in steps.__await__():
        raise RuntimeError("the read model waits for something else than its connection")


def caught_up(dsn: str, end: int) -> float:
    """Events per second of the log until the last read model has seen them all.

    The database has our log with `end` events in it. Raises AssertionError when the rows are not
    those that our own replay comes to.
    """
    asyncio.run(_make_tables(dsn))
    env = _environment(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(_SETTINGS)
    Log(env).close()  # its table
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(_FILL)
        connection.execute("ANALYZE public.log_events")
        last = {model.name: _last(connection, model) for model in READ_MODELS}
    began = time.perf_counter()
    with ExitStack() as stack:
        runners = [
            (stack.enter_context(_runner(model, env)), last[model.name]) for model in READ_MODELS
        ]
        for runner, wanted in runners:
            _wait(runner, wanted)
        seconds = time.perf_counter() - began
    asyncio.run(_check(dsn, end))
    return end / seconds


def _runner(model: ReadModel, env: dict[str, str]) -> ProjectionRunner[Log, _Rows]:
    class Follows(Projection[_Rows]):
        name = f"{model.name}_view"
        topics = tuple(event.NAME for event in model.listens_to)

        @singledispatchmethod
        def process_event(self, domain_event: Any, tracking: Tracking) -> None:
            self.view.bring_up_to_date(model, domain_event, tracking)

    return ProjectionRunner(
        application_class=Log, projection_class=Follows, view_class=_Rows, env=env
    )


def _wait(runner: ProjectionRunner[Log, _Rows], position: int) -> None:
    """The library's own `wait` looks every 0.8 s, which is too seldom for a short run."""
    deadline = time.monotonic() + PATIENCE_S
    while (runner.view.max_tracking_id("log") or 0) < position:
        if runner.is_interrupted.is_set():
            runner.run_forever(0)  # raises what ended it
        if time.monotonic() > deadline:
            raise TimeoutError("the library's runner did not come to the end of the log")
        time.sleep(0.02)


def _last(connection: psycopg.Connection[TupleRow], model: ReadModel) -> int:
    names = [event.NAME for event in model.listens_to]
    found = connection.execute(_LAST, (names,)).fetchone()
    return (found[0] if found is not None else None) or 0


def _environment(dsn: str) -> dict[str, str]:
    given: dict[str, Any] = conninfo_to_dict(dsn)
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": given["dbname"],
        "POSTGRES_HOST": given["host"],
        "POSTGRES_PORT": str(given["port"]),
        "POSTGRES_USER": given["user"],
        # A runner for each read model: five connections for each of its recorders, as is usual,
        # would be more than the server takes.
        "POSTGRES_POOL_SIZE": "2",
        "POSTGRES_PASSWORD": "",
    }


async def _make_tables(dsn: str) -> None:
    await tables.ensure(dsn, list(READ_MODELS))


async def _check(dsn: str, end: int) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("UPDATE projection_positions SET position = %s", (end,))
    log = await PostgresEventLog.open(dsn, EventMapper(EVENTS, UPCASTERS))
    try:
        different: Sequence[str] = [
            model.name
            for model in READ_MODELS
            if (await compare(dsn, model, log)).differing is not None
        ]
    finally:
        await log.close()
    assert not different, f"the library's runner wrote other rows: {different}"
