"""The event-sourcing library's recorders over our log, so that its ecosystem applies to it.

`PERSISTENCE_MODULE=infrastructure.event_log.recorder`, with the library's own `POSTGRES_*`
variables and `LINK_TENANT_ID`, gives a library application one tenant's part of the log. Its
events go through `append_events` like all others: order, conflicts and repeats are decided
there and nowhere here. Notification ids are positions: in order, and dense for the whole log
but not for one tenant. The platform itself appends through `PostgresEventLog`.
"""

from collections.abc import Sequence
from typing import Any, Final, cast
from uuid import UUID, uuid4

import eventsourcing.postgres as library
import psycopg
from eventsourcing.persistence import (
    IntegrityError,
    InterfaceError,
    OperationalError,
    ProcessRecorder,
    ProgrammingError,
    StoredEvent,
    Tracking,
)
from eventsourcing.utils import Environment, EnvType, retry
from psycopg.rows import DictRow
from psycopg.sql import SQL, Identifier, Literal

from domain.events import Origin
from domain.ids import PLATFORM
from infrastructure.database import APP_ROLE
from infrastructure.event_log.appender import APPEND, EventRow, columns

ACTOR: Final = "system:library"

_TRIES: Final = 10
_PAUSE_S: Final = 0.2


def restrict(datastore: library.PostgresDatastore, tenant_id: UUID) -> None:
    """Make every session of an unopened datastore act as link_app for one tenant."""
    if datastore.originator_id_type != "uuid":
        raise ProgrammingError("our streams are named by UUIDs, not by text")
    settings = cast(dict[str, Any], datastore.pool.kwargs)
    settings["options"] = f"-c role={APP_ROLE} -c link.tenant_id={tenant_id}"
    settings["client_encoding"] = "UTF8"


class LogApplicationRecorder(library.PostgresApplicationRecorder):
    """Reads through the view `library_events`, writes through `append_events`.

    `tenant_id` must be the one that the datastore was restricted to.
    """

    def __init__(self, datastore: library.PostgresDatastore, *, tenant_id: UUID = PLATFORM) -> None:
        # The library would have a table per application; our log is one table.
        super().__init__(datastore, events_table_name="library_events")
        self.sql_create_statements.clear()
        self.channel_name = "link_events"
        self._tenant_id = tenant_id

    def insert_events(
        self, stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        """Raises IntegrityError for a conflict, ProgrammingError for tracking it cannot keep."""
        if kwargs.get("tracking") is not None:
            raise ProgrammingError("this recorder keeps no tracking")
        # One command for all tries: a lost answer is no conflict.
        positions: Sequence[int] | None = self._insert(stored_events, uuid4())
        return positions

    @retry((InterfaceError, OperationalError), max_attempts=_TRIES, wait=_PAUSE_S)
    def _insert(
        self, stored_events: Sequence[StoredEvent], command_id: UUID
    ) -> Sequence[int] | None:
        with self.datastore.get_connection() as connection, connection.cursor() as cursor:
            return self._append(cursor, stored_events, command_id)[0]

    def _append(
        self,
        cursor: psycopg.Cursor[DictRow],
        stored_events: Sequence[StoredEvent],
        command_id: UUID,
    ) -> tuple[Sequence[int] | None, bool]:
        """Positions, and whether they were there before."""
        if not stored_events:
            return None, False
        origin = Origin(actor=ACTOR, correlation_id=command_id, command_id=command_id)
        events: list[EventRow] = [
            (
                self._tenant_id,
                cast(UUID, event.originator_id),
                event.originator_version,
                event.topic,
                event.state,
            )
            for event in stored_events
        ]
        cursor.execute(APPEND, columns([(origin, events)]), prepare=True, binary=True)
        rows = cursor.fetchall()
        conflict = next((row["stale"] for row in rows if row["stale"] is not None), None)
        if conflict is not None:
            raise IntegrityError(f"another version stands in {conflict}")
        accepted = next(row for row in rows if row["first_position"] is not None)
        positions = range(accepted["first_position"], accepted["last_position"] + 1)
        return list(positions), accepted["submission"] is not None


class LogTrackingRecorder(library.PostgresTrackingRecorder):
    """Keeps positions in `library_tracking`; the library's table name is the tracker there."""

    def __init__(
        self,
        datastore: library.PostgresDatastore,
        *,
        tracking_table_name: str = "notification_tracking",
        **kwargs: Any,
    ) -> None:
        super().__init__(datastore, tracking_table_name=tracking_table_name, **kwargs)
        self.sql_create_statements.clear()
        table, tracker = Identifier("library_tracking"), Literal(tracking_table_name)
        self.insert_tracking_statement = SQL(
            "INSERT INTO {0} (tracker, application_name, notification_id) "
            "VALUES ({1}, %(application_name)s, %(notification_id)s) "
            "ON CONFLICT (tenant_id, tracker, application_name) DO UPDATE "
            "SET notification_id = excluded.notification_id "
            "WHERE {0}.notification_id < excluded.notification_id RETURNING notification_id"
        ).format(table, tracker)
        self.max_tracking_id_statement = SQL(
            "SELECT max(notification_id) AS max FROM {0} "
            "WHERE tracker = {1} AND application_name = %s"
        ).format(table, tracker)

    def create_table(self) -> None:
        """Nothing: the migrations make the tables."""


class LogProcessRecorder(LogTrackingRecorder, LogApplicationRecorder, ProcessRecorder):
    """Events and the position they came from, in one transaction."""

    def insert_events(
        self, stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        """Raises IntegrityError for a conflict of either kind; then neither is stored."""
        tracking: Tracking | None = kwargs.pop("tracking", None)
        if tracking is None:
            return super().insert_events(stored_events, **kwargs)
        positions: Sequence[int] | None = self._insert_tracked(stored_events, uuid4(), tracking)
        return positions

    @retry((InterfaceError, OperationalError), max_attempts=_TRIES, wait=_PAUSE_S)
    def _insert_tracked(
        self, stored_events: Sequence[StoredEvent], command_id: UUID, tracking: Tracking
    ) -> Sequence[int] | None:
        # The append lock is held for a round trip more than it should be: fit for a projection
        # of the library's, not for a hot path.
        with (
            self.datastore.get_connection() as connection,
            connection.transaction(),
            connection.cursor() as cursor,
        ):
            positions, replayed = self._append(cursor, stored_events, command_id)
            if not replayed:
                self._insert_tracking(cursor, tracking)
            return positions


class LogSnapshotRecorder(library.PostgresAggregateRecorder):
    """The library's snapshots: derived data with holes in its versions, so not events."""

    def __init__(self, datastore: library.PostgresDatastore) -> None:
        super().__init__(datastore, events_table_name="library_snapshots")
        self.sql_create_statements.clear()


class LogFactory(library.PostgresFactory):
    """What `PERSISTENCE_MODULE` finds in this module. `LINK_TENANT_ID` defaults to PLATFORM."""

    tracking_recorder_class = LogTrackingRecorder

    def __init__(self, env: Environment | EnvType | None) -> None:
        super().__init__(env)
        self._tenant_id = UUID(self.env.get("LINK_TENANT_ID") or str(PLATFORM))
        restrict(self.datastore, self._tenant_id)

    def aggregate_recorder(self, purpose: str = "events") -> LogSnapshotRecorder:
        """For snapshots: nothing but the log's own recorder writes events."""
        if purpose not in ("events", "snapshots"):
            raise ProgrammingError(f"there is no table for {purpose}")
        return LogSnapshotRecorder(self.datastore)

    def application_recorder(self) -> LogApplicationRecorder:
        return LogApplicationRecorder(self.datastore, tenant_id=self._tenant_id)

    def process_recorder(self) -> LogProcessRecorder:
        name = self.env.name.lower() or "notification"
        return LogProcessRecorder(
            self.datastore, tracking_table_name=f"{name}_tracking", tenant_id=self._tenant_id
        )
