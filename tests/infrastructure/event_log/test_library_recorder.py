"""The event-sourcing library's own test cases for recorders, run against our recorders."""

from collections.abc import Generator, Sequence
from typing import Any
from uuid import UUID, uuid4

import eventsourcing.postgres
import eventsourcing.tests.application as library_application
import eventsourcing.tests.persistence as library_cases
import psycopg
import pytest
from eventsourcing.persistence import (
    ApplicationRecorder,
    IntegrityError,
    ProgrammingError,
    StoredEvent,
    Tracking,
)
from eventsourcing.utils import Environment, get_topic
from psycopg.conninfo import conninfo_to_dict

from infrastructure.event_log.recorder import (
    LogApplicationRecorder,
    LogFactory,
    LogProcessRecorder,
    LogSnapshotRecorder,
    LogTrackingRecorder,
    restrict,
)

TENANT = UUID("0198c7a0-9e6c-7b1f-8d3e-2a4b5c6d7e8f")


def library_environment(dsn: str) -> dict[str, str]:
    given: dict[str, Any] = conninfo_to_dict(dsn)
    return {
        "PERSISTENCE_MODULE": "infrastructure.event_log.recorder",
        "POSTGRES_DBNAME": given["dbname"],
        "POSTGRES_HOST": given["host"],
        "POSTGRES_PORT": str(given.get("port", "5432")),
        "POSTGRES_USER": given["user"],
        "POSTGRES_PASSWORD": given.get("password", ""),
        "LINK_TENANT_ID": str(TENANT),
    }


class OnOurLog:
    """A datastore on the test's database, restricted to one tenant, closed afterwards."""

    datastore: eventsourcing.postgres.PostgresDatastore

    @pytest.fixture(autouse=True)
    def _datastore(self, database: str) -> Generator[None]:
        given: dict[str, Any] = conninfo_to_dict(database)
        self.datastore = eventsourcing.postgres.PostgresDatastore(
            given["dbname"],
            given["host"],
            given.get("port", 5432),
            given["user"],
            given.get("password", ""),
            pool_size=3,
            max_overflow=12,
        )
        restrict(self.datastore, TENANT)
        yield
        self.datastore.close()


class TestSnapshotRecorder(OnOurLog, library_cases.AggregateRecorderTestCase):
    def create_recorder(self) -> LogSnapshotRecorder:
        recorder = LogSnapshotRecorder(self.datastore)
        recorder.create_table()
        return recorder


class TestApplicationRecorder(
    OnOurLog, library_cases.ApplicationRecorderTestCase[LogApplicationRecorder]
):
    def create_recorder(self) -> LogApplicationRecorder:
        return LogApplicationRecorder(self.datastore, tenant_id=TENANT)

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestTrackingRecorder(OnOurLog, library_cases.TrackingRecorderTestCase):
    def create_recorder(self) -> LogTrackingRecorder:
        return LogTrackingRecorder(self.datastore)


class TestProcessRecorder(OnOurLog, library_cases.ProcessRecorderTestCase):
    def create_recorder(self) -> LogProcessRecorder:
        return LogProcessRecorder(self.datastore, tenant_id=TENANT)


class TestNonInterleavingPositions(OnOurLog, library_cases.NonInterleavingNotificationIDsBaseCase):
    insert_num = 200

    def create_recorder(self) -> ApplicationRecorder:
        return LogApplicationRecorder(self.datastore, tenant_id=TENANT)


class LogTrackingRecorderSubclass(LogTrackingRecorder):
    """For the library's case that a factory is asked for a subclass."""


class TestFactory(library_cases.InfrastructureFactoryTestCase[LogFactory]):
    @pytest.fixture(autouse=True)
    def _environment(self, database: str) -> None:
        self.env = Environment("TestCase", library_environment(database))

    def expected_factory_class(self) -> type[LogFactory]:
        return LogFactory

    def expected_aggregate_recorder_class(self) -> type[LogSnapshotRecorder]:
        return LogSnapshotRecorder

    def expected_application_recorder_class(self) -> type[LogApplicationRecorder]:
        return LogApplicationRecorder

    def expected_tracking_recorder_class(self) -> type[LogTrackingRecorder]:
        return LogTrackingRecorder

    def tracking_recorder_subclass(self) -> type[LogTrackingRecorder]:
        return LogTrackingRecorderSubclass

    def expected_process_recorder_class(self) -> type[LogProcessRecorder]:
        return LogProcessRecorder


@pytest.fixture
def environment(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's applications read their settings from the process environment."""
    for name, value in library_environment(database).items():
        monkeypatch.setenv(name, value)


# The case itself asserts that the library warns.
@pytest.mark.filterwarnings("always:'log' is deprecated:DeprecationWarning")
@pytest.mark.usefixtures("environment")
class TestApplication(library_application.ApplicationTestCase):
    pass


@pytest.mark.usefixtures("environment")
class TestExampleApplication(library_application.ExampleApplicationTestCase):
    expected_factory_topic = get_topic(LogFactory)


def events(stream_id: UUID, versions: Sequence[int]) -> list[StoredEvent]:
    return [StoredEvent(stream_id, version, "library.event", b"{}") for version in versions]


class TestOneWayIn(OnOurLog):
    """What the library's own cases do not ask of a recorder."""

    def test_two_tenants_see_only_their_own_events(self, database: str) -> None:
        recorder = LogApplicationRecorder(self.datastore, tenant_id=TENANT)
        stream_id = uuid4()
        recorder.insert_events(events(stream_id, [1]))
        environment = library_environment(database) | {"LINK_TENANT_ID": str(uuid4())}
        with LogFactory(environment) as factory:
            other = factory.application_recorder()
            assert other.select_events(stream_id) == []
            assert list(other.select_notifications(None, 10)) == []
            assert other.max_notification_id() is None
        assert len(recorder.select_events(stream_id)) == 1

    def test_a_refused_insert_keeps_its_tracking_out(self) -> None:
        recorder = LogProcessRecorder(self.datastore, tenant_id=TENANT)
        stream_id = uuid4()
        with pytest.raises(IntegrityError):
            recorder.insert_events(events(stream_id, [2]), tracking=Tracking("upstream", 7))
        assert recorder.max_tracking_id("upstream") is None
        recorder.insert_events(events(stream_id, [1]), tracking=Tracking("upstream", 7))
        assert recorder.max_tracking_id("upstream") == 7

    def test_a_refused_tracking_keeps_its_events_out(self) -> None:
        recorder = LogProcessRecorder(self.datastore, tenant_id=TENANT)
        recorder.insert_tracking(Tracking("upstream", 7))
        stream_id = uuid4()
        with pytest.raises(IntegrityError):
            recorder.insert_events(events(stream_id, [1]), tracking=Tracking("upstream", 7))
        assert recorder.select_events(stream_id) == []

    def test_two_trackers_of_one_upstream_do_not_meet(self) -> None:
        first = LogTrackingRecorder(self.datastore, tracking_table_name="first_tracking")
        second = LogTrackingRecorder(self.datastore, tracking_table_name="second_tracking")
        first.insert_tracking(Tracking("upstream", 7))
        assert second.max_tracking_id("upstream") is None

    def test_an_application_recorder_refuses_tracking(self) -> None:
        recorder = LogApplicationRecorder(self.datastore, tenant_id=TENANT)
        with pytest.raises(ProgrammingError):
            recorder.insert_events(events(uuid4(), [1]), tracking=Tracking("upstream", 7))

    def test_streams_named_by_text_are_refused(self) -> None:
        by_text = eventsourcing.postgres.PostgresDatastore(
            "any", "127.0.0.1", 5432, "any", "", originator_id_type="text"
        )
        with pytest.raises(ProgrammingError):
            restrict(by_text, TENANT)

    def test_it_cannot_write_past_the_append_function(self) -> None:
        with (
            pytest.raises(psycopg.errors.InsufficientPrivilege),
            self.datastore.pool as pool,
            pool.connection() as connection,
        ):
            connection.execute("INSERT INTO events (position) VALUES (1)")
