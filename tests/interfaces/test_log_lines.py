"""A personal value that somebody logs by accident does not come out."""

import ast
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import structlog

from infrastructure.people.retention import Swept
from interfaces.log_lines import FIELDS, WITHHELD, LibraryLines, processors

MOBILE = "+966501234567"
MAIL = "sara@example.com"
ROOMS = ("application", "infrastructure", "interfaces", "projections")
LEVELS = ("debug", "info", "warning", "error", "exception", "critical")
GIVEN_WHOLE = {"asdict(swept)": Swept.__struct_fields__}
"""Fields that a call takes from a struct."""


class Lines:
    """A logger with our processors, and what it has written."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        self.log: Any = structlog.wrap_logger(
            structlog.PrintLogger(self._stream),
            processors=processors(),
            wrapper_class=structlog.make_filtering_bound_logger("debug"),
        )

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    @property
    def last(self) -> dict[str, Any]:
        line: dict[str, Any] = json.loads(self.text.splitlines()[-1])
        return line


@pytest.fixture
def lines() -> Lines:
    return Lines()


def test_what_is_allowed_is_told(lines: Lines) -> None:
    lines.log.warning("projection_halted", projection="users", position=7, error="KeyError")
    told = lines.last
    assert told.pop("timestamp").endswith("Z")
    assert told == {
        "level": "warning",
        "event": "projection_halted",
        "projection": "users",
        "position": 7,
        "error": "KeyError",
    }


def test_a_field_that_is_not_listed_is_named_and_not_shown(lines: Lines) -> None:
    """With every field of the call in the line, this prints a mobile and a name."""
    lines.log.info("otp_sent", mobile=MOBILE, person={"name": "Sara", "mail": MAIL}, channel="smtp")
    assert lines.last["withheld"] == ["mobile", "person"]
    assert lines.last["channel"] == "smtp"
    for personal in (MOBILE, "501234567", "Sara", MAIL):
        assert personal not in lines.text


@pytest.mark.parametrize("field", sorted(FIELDS))
def test_no_listed_field_lets_a_mobile_or_an_address_through(lines: Lines, field: str) -> None:
    for personal in (MOBILE, MOBILE[1:], f"to {MOBILE} failed", MAIL, f"no box for {MAIL}", [MAIL]):
        lines.log.error("otp_not_sent", **{field: personal})
        assert lines.last[field] == WITHHELD
    assert MOBILE[1:] not in lines.text
    assert MAIL not in lines.text


def test_a_message_with_a_value_in_it_is_no_event(lines: Lines) -> None:
    lines.log.warning(f"could not reach {MOBILE}")
    assert lines.last["event"] == WITHHELD


def test_an_exception_is_told_without_its_words(lines: Lines) -> None:
    def store() -> None:
        raise psycopg.errors.UniqueViolation(f"Key (mobile)=({MOBILE}) already exists")

    try:
        try:
            store()
        except psycopg.Error as error:
            raise RuntimeError(f"no place for {MAIL}") from error
    except RuntimeError as failed:
        lines.log.exception("unexpected_error", exc_info=failed)
    outer, inner = lines.last["exception"]
    assert (outer["class"], inner["class"], inner["sqlstate"]) == (
        "RuntimeError",
        "UniqueViolation",
        "23505",
    )
    assert inner["at"][-1].endswith(" store")
    assert MOBILE not in lines.text
    assert MAIL not in lines.text


def test_libraries_tell_who_and_where_and_no_value(lines: Lines) -> None:
    library = logging.Logger("psycopg.pool")
    library.addHandler(LibraryLines(lines.log))
    library.warning("error connecting in %r: %s", "pool-1", f"no route for {MAIL}")
    assert lines.last["template"] == "error connecting in %r: %s"
    library.error(f"Future exception was never retrieved: ValueError({MOBILE!r})")
    assert "template" not in lines.last
    assert lines.last["library"] == "psycopg.pool"
    assert lines.last["place"].startswith("test_log_lines:")
    assert MOBILE not in lines.text
    assert MAIL not in lines.text


def calls() -> Iterator[tuple[str, ast.Call]]:
    root = Path(__file__).parents[2]
    for path in sorted(path for room in ROOMS for path in (root / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id in ("log", "_log")
                and node.func.attr in LEVELS
            ):
                yield f"{path.relative_to(root)}:{node.lineno}", node


def test_every_field_that_our_code_logs_is_listed() -> None:
    """Or a line that somebody counts on would arrive empty."""
    seen = 0
    for place, call in calls():
        seen += 1
        assert isinstance(call.args[0], ast.Constant), f"{place}: the event is not a name"
        for keyword in call.keywords:
            if keyword.arg is None:
                given = ast.unparse(keyword.value)
                found = [
                    f for end, fields in GIVEN_WHOLE.items() if given.endswith(end) for f in fields
                ]
                assert found, f"{place}: {given} is not known here"
                assert set(found) <= set(FIELDS), place
            else:
                assert keyword.arg in {*FIELDS, "exc_info"}, f"{place}: {keyword.arg} is not listed"
    assert seen > 20
