"""What any release ever wrote is read by this one, into today's classes, with nothing lost."""

from datetime import datetime
from pathlib import Path
from typing import ClassVar, TypeAlias

import msgspec
import pytest

from domain.catalogue import EVENTS, UPCASTERS
from domain.device import DeviceRegistered, DeviceRevoked
from domain.events import DomainEvent, Payload
from infrastructure.event_log.mapper import EventMapper, UnknownEvent
from tests.builders import BUILDERS, device_revoked
from tests.history.record import VECTORS, record, vector_path, vectors_wanted

TODAY = EventMapper(EVENTS, UPCASTERS)
JSON: TypeAlias = dict[str, "JSON"] | list["JSON"] | str | int | float | bool | None
VECTOR_FILES = sorted(VECTORS.glob("*.json"))


def stored_name(vector: Path) -> str:
    name, version, extension = vector.name.rsplit(".", 2)
    assert version.startswith("v")
    assert extension == "json"
    return name


def payload_of(vector: Path) -> bytes:
    return vector.read_bytes().rstrip(b"\n")


def is_kept(old: JSON, new: JSON) -> bool:
    """Whether everything in `old` stands in `new`, which may have more fields."""
    if isinstance(old, dict) and isinstance(new, dict):
        return all(field in new and is_kept(value, new[field]) for field, value in old.items())
    return type(old) is type(new) and old == new


@pytest.mark.parametrize("vector", VECTOR_FILES, ids=lambda vector: vector.stem)
def test_a_stored_event_is_read_as_todays_class(vector: Path) -> None:
    event = TODAY.decode(stored_name(vector), payload_of(vector))
    assert type(event) is EVENTS[stored_name(vector)]


@pytest.mark.parametrize("vector", VECTOR_FILES, ids=lambda vector: vector.stem)
def test_a_stored_event_is_written_again_as_an_equal_one(vector: Path) -> None:
    event = TODAY.decode(stored_name(vector), payload_of(vector))
    name, payload = TODAY.encode(event)
    assert name == stored_name(vector)
    assert TODAY.decode(name, payload) == event


@pytest.mark.parametrize("vector", VECTOR_FILES, ids=lambda vector: vector.stem)
def test_no_field_of_the_current_version_is_dropped_on_reading(vector: Path) -> None:
    """Seen to fail when an optional field is renamed: the old one is ignored and its value lost."""
    name, payload = stored_name(vector), payload_of(vector)
    old = msgspec.json.decode(payload)
    if old["v"] == EVENTS[name].VERSION:
        _, again = TODAY.encode(TODAY.decode(name, payload))
        assert is_kept(old, msgspec.json.decode(again))


@pytest.mark.parametrize("vector", VECTOR_FILES, ids=lambda vector: vector.stem)
def test_the_version_in_a_file_name_is_the_version_inside(vector: Path) -> None:
    assert vector == vector_path(stored_name(vector), msgspec.json.decode(payload_of(vector))["v"])


@pytest.mark.parametrize("vector", VECTOR_FILES, ids=lambda vector: vector.stem)
def test_a_field_that_a_newer_process_added_does_not_stop_this_one(vector: Path) -> None:
    newer = msgspec.json.decode(payload_of(vector))
    newer["data"]["from_the_future"] = {"anything": [1, None]}
    name = stored_name(vector)
    assert TODAY.decode(name, msgspec.json.encode(newer)) == TODAY.decode(name, payload_of(vector))


def test_every_version_of_every_event_has_a_vector() -> None:
    assert vectors_wanted(EVENTS) == [], "run `python -m tests.history.record`"


def test_no_stored_name_was_ever_forgotten() -> None:
    assert {stored_name(vector) for vector in VECTOR_FILES} == set(EVENTS)


class DeviceMoved(DomainEvent, frozen=True, kw_only=True):
    """An event that somebody added without a vector."""

    NAME: ClassVar[str] = "device.moved"


def test_a_class_without_a_vector_is_noticed() -> None:
    wanted = vectors_wanted({**EVENTS, DeviceMoved.NAME: DeviceMoved})
    assert [path.name for path in wanted] == ["device.moved.v1.json"]


class RegisteredWithSite(DeviceRegistered, frozen=True, kw_only=True):
    """Tomorrow's registration: an added field, with a default."""

    site: str | None = None


class RegisteredWithSiteOrNothing(DeviceRegistered, frozen=True, kw_only=True):
    """The planted mistake: an added field that no stored event can fill."""

    site: str


def test_an_added_field_with_a_default_keeps_old_vectors_readable() -> None:
    payload = payload_of(vector_path(DeviceRegistered.NAME, 1))
    tomorrow = EventMapper({DeviceRegistered.NAME: RegisteredWithSite}, {})
    today = TODAY.decode(DeviceRegistered.NAME, payload)
    grown = tomorrow.decode(DeviceRegistered.NAME, payload)
    assert isinstance(grown, RegisteredWithSite)
    assert grown.site is None
    assert {"site": None, **msgspec.structs.asdict(today)} == msgspec.structs.asdict(grown)


def test_an_added_field_without_a_default_is_noticed() -> None:
    careless = EventMapper({DeviceRegistered.NAME: RegisteredWithSiteOrNothing}, {})
    with pytest.raises(msgspec.ValidationError, match="site"):
        careless.decode(DeviceRegistered.NAME, payload_of(vector_path(DeviceRegistered.NAME, 1)))


class RevokedInThirdVersion(DomainEvent, frozen=True, kw_only=True):
    """A revocation of a later day: the reason got a kind, and the moment was added."""

    NAME: ClassVar[str] = DeviceRevoked.NAME
    VERSION: ClassVar[int] = 3
    kind: str
    certificates: tuple[str, ...]
    lost_at: datetime


def rename_reason(old: Payload) -> Payload:
    return {"kind": old["reason"], "fingerprints": old["fingerprints"]}


def rename_fingerprints(old: Payload) -> Payload:
    return {
        "kind": old["kind"],
        "certificates": old["fingerprints"],
        "lost_at": "2026-03-01T09:00:00Z",
    }


def test_an_old_version_takes_every_step_to_todays_class() -> None:
    later = EventMapper(
        {DeviceRevoked.NAME: RevokedInThirdVersion},
        {(DeviceRevoked.NAME, 1): rename_reason, (DeviceRevoked.NAME, 2): rename_fingerprints},
    )
    read = later.decode(DeviceRevoked.NAME, payload_of(vector_path(DeviceRevoked.NAME, 1)))
    assert isinstance(read, RevokedInThirdVersion)
    assert (read.kind, read.certificates) == ("lost", device_revoked().fingerprints)
    assert read.lost_at == datetime.fromisoformat("2026-03-01T09:00:00+00:00")


def test_a_missing_step_is_noticed_and_nothing_is_guessed() -> None:
    gap = EventMapper(
        {DeviceRevoked.NAME: RevokedInThirdVersion}, {(DeviceRevoked.NAME, 1): rename_reason}
    )
    with pytest.raises(UnknownEvent, match="v2"):
        gap.decode(DeviceRevoked.NAME, payload_of(vector_path(DeviceRevoked.NAME, 1)))


def test_every_version_below_todays_has_its_step() -> None:
    steps = {
        (name, version) for name, current in EVENTS.items() for version in range(1, current.VERSION)
    }
    assert set(UPCASTERS) == steps


def test_recording_writes_what_is_missing_and_overwrites_nothing(tmp_path: Path) -> None:
    kept = vector_path(DeviceRevoked.NAME, 1, tmp_path)
    kept.write_bytes(b"kept as it is")
    written = record(tmp_path)
    assert kept.read_bytes() == b"kept as it is"
    assert {path.name for path in written} == {
        f"{name}.v{current.VERSION}.json" for name, current in EVENTS.items()
    } - {kept.name}
    assert record(tmp_path) == []


def test_every_event_has_a_builder() -> None:
    assert set(BUILDERS) == set(EVENTS.values())


def test_every_stored_name_is_its_classs_own_and_used_once() -> None:
    assert {name: current.NAME for name, current in EVENTS.items()} == {n: n for n in EVENTS}
    assert len(set(EVENTS.values())) == len(EVENTS)
