"""What is noted of a circuit: every opening beyond the last, and the end of one, each once."""

from datetime import timedelta

from domain import circuit as c
from tests.builders import circuit_closed, circuit_opened
from tests.spec import RECORDED_AT, given, recorded

FIRST, SECOND, CLOSED = circuit_opened(), circuit_opened(openings=2), circuit_closed()


def test_an_opening_is_noted_once_whoever_tells_of_it() -> None:
    given(c.rebuild).when(c.note, FIRST).then(FIRST)
    given(c.rebuild, FIRST).when(c.note, FIRST).then_nothing()
    given(c.rebuild, FIRST).when(c.note, SECOND).then(SECOND)
    given(c.rebuild, FIRST, SECOND).when(c.note, FIRST).then_nothing()


def test_a_closing_is_noted_once_and_only_of_what_was_open() -> None:
    given(c.rebuild).when(c.note, CLOSED).then_nothing()
    given(c.rebuild, FIRST, SECOND).when(c.note, CLOSED).then(CLOSED)
    given(c.rebuild, FIRST, CLOSED).when(c.note, CLOSED).then_nothing()
    given(c.rebuild, FIRST, CLOSED).when(c.note, FIRST).then(FIRST)


def test_it_is_known_until_when_it_was_to_be_open() -> None:
    circuit = c.rebuild(recorded(circuit_opened(open_s=30.0)))
    assert circuit is not None
    assert circuit.open_until == RECORDED_AT + timedelta(seconds=30)
