"""Events become names and bytes, and bytes of every version become events again."""

from typing import ClassVar
from uuid import uuid4

import msgspec
import pytest

from domain.events import DomainEvent
from infrastructure.event_log.mapper import EventMapper, UnknownEvent
from tests.infrastructure.event_log.notes import MAPPER, Noted, Struck


class Stranger(DomainEvent, frozen=True, kw_only=True):
    NAME: ClassVar[str] = "test.stranger"


def test_an_event_is_stored_under_its_name_with_its_version() -> None:
    assert MAPPER.encode(Noted(text="salt")) == ("test.noted", b'{"v":1,"data":{"text":"salt"}}')


def test_what_is_written_is_read_back() -> None:
    event = Struck(reason=f"no {uuid4()}")
    assert MAPPER.decode(*MAPPER.encode(event)) == event


def test_an_old_version_is_brought_up_step_by_step() -> None:
    assert MAPPER.decode("test.struck", b'{"v":1,"data":{"why":"typo"}}') == Struck(reason="typo")


def test_other_spacing_is_read_too() -> None:
    assert MAPPER.decode("test.noted", b'{ "data": {"text": "x"}, "v": 1 }') == Noted(text="x")


def test_a_newer_writers_additional_field_is_passed_over() -> None:
    payload = b'{"v":1,"data":{"text":"x","colour":"red"}}'
    assert MAPPER.decode("test.noted", payload) == Noted(text="x")


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("test.unheard_of", b'{"v":1,"data":{}}'),
        ("test.noted", b'{"v":2,"data":{"text":"x"}}'),
        ("test.struck", b'{"v":0,"data":{}}'),
    ],
)
def test_what_this_process_cannot_read_is_named(name: str, payload: bytes) -> None:
    with pytest.raises(UnknownEvent) as raised:
        MAPPER.decode(name, payload)
    assert raised.value.name == name


def test_an_event_outside_the_catalogue_is_not_written() -> None:
    with pytest.raises(UnknownEvent):
        MAPPER.encode(Stranger())


def test_bytes_that_were_never_written_are_an_error_of_their_own() -> None:
    with pytest.raises(msgspec.DecodeError):
        MAPPER.decode("test.noted", b'{"v":1,"data":{"text":7}}')


def test_an_empty_catalogue_knows_nothing() -> None:
    with pytest.raises(UnknownEvent):
        EventMapper({}, {}).decode("test.noted", b'{"v":1,"data":{"text":"x"}}')
