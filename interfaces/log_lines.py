"""What a log line may say: fields on a list, each of a known form; nothing else comes out.

Personal values reach a log by accident: in a field that somebody added, in an exception's message,
in the text of a library. So a line is built from what is allowed, and not cleaned of what is not
(reference reliability.md §8). A field that is not listed is named and not shown; a listed one whose
value has another form is withheld; an exception is told by its classes and places, without words.
"""

import logging
import re
import sys
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Final, TextIO, cast

import psycopg
import structlog

WITHHELD: Final = "(withheld)"
CAUSES_MAX: Final = 4
FRAMES_MAX: Final = 12
_OUR_CODE: Final = Path(__file__).parents[1]

Form = Callable[[object], bool]


def _matching(pattern: str) -> Form:
    compiled = re.compile(pattern)
    return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


def _is_number(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float)


NUMBER: Final[Form] = _is_number
NAME: Final = _matching(r"[A-Za-z_][A-Za-z0-9_.:/{}\-]{0,79}")
"""A word of our own code: a state, a policy, a read model, a table, a route."""


def _is_name_or_number(value: object) -> bool:
    return NAME(value) or _is_number(value)


NAME_OR_NUMBER: Final[Form] = _is_name_or_number
ID: Final = _matching(r"([a-z]+_)?[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""An id of ours, as UUID or as on the wire."""
KEY: Final = _matching(r"[0-9a-f\-]{16,64}(:[0-9a-f\-]{16,64}){0,3}")
"""The key of a row: ids with colons between."""
ERROR: Final = _matching(r"[A-Za-z_]\w{0,79}( \(SQLSTATE \w{5}\))?( in \w+, [\w/.]+:\d{1,5})?")
"""A class of exceptions, and where; never what it says."""
WORDS: Final = _matching(r"(?!.*\d{5})[\w .,:;'\"()%/=\-]{0,160}")
"""A sentence of our own code. No address and no number long enough to be a mobile's has this form;
a name of a person would, so no caller's text belongs into such a field."""

FIELDS: Final[Mapping[str, Form]] = {
    "after": NAME_OR_NUMBER,
    "before": NAME,
    "challenges": NUMBER,
    "channel": NAME,
    "difference": WORDS,
    "end": NUMBER,
    "error": ERROR,
    "event_name": NAME,
    "grants": NUMBER,
    "id": ID,
    "key": KEY,
    "kind": NAME,
    "kid": _matching(r"[A-Za-z0-9_-]{43}"),
    "library": NAME,
    "log_id": ID,
    "path_template": NAME,
    "place": _matching(r"[\w.]{1,100}:\d{1,6}"),
    "policy": NAME,
    "position": NUMBER,
    "projection": NAME,
    "reading": NAME,
    "reason": WORDS,
    "request_id": ID,
    "rounds": NAME,
    "row_position": NUMBER,
    "service": ID,
    "signups": NUMBER,
    "table": NAME,
    "template": WORDS,
    "tenant": ID,
    "transaction": ID,
    "witness": NAME,
}
"""Every field that may stand in a line, and the form of its value."""

_ALWAYS: Final = ("timestamp", "level")


def only_allowed(
    _logger: object, _method: str, line: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """The last step before a line is written; for structlog's `processors`."""
    told: dict[str, Any] = {name: line[name] for name in _ALWAYS if name in line}
    told["event"] = _shown(NAME, line.get("event"))
    unlisted: list[str] = []
    for name, value in line.items():
        form = FIELDS.get(name)
        if form is not None:
            told[name] = _shown(form, value)
        elif name == "exc_info":
            error = _error_of(value)
            if error is not None:
                told["exception"] = told_without_words(error)
        elif name not in told:
            unlisted.append(name)
    if unlisted:
        told["withheld"] = sorted(name for name in unlisted if NAME(name))
    return told


def told_without_words(error: BaseException) -> list[dict[str, Any]]:
    """An exception and its causes: classes, SQLSTATE, places. Their messages may quote anything."""
    told: list[dict[str, Any]] = []
    cause: BaseException | None = error
    while cause is not None and len(told) < CAUSES_MAX:
        one: dict[str, Any] = {"class": type(cause).__name__}
        if isinstance(cause, psycopg.Error) and cause.sqlstate is not None:
            one["sqlstate"] = cause.sqlstate
        frames = traceback.extract_tb(cause.__traceback__)[-FRAMES_MAX:]
        one["at"] = [f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames]
        told.append(one)
        cause = cause.__cause__ or cause.__context__
    return told


class LibraryLines(logging.Handler):
    """What libraries log: who, where, and the words around the values, but no value."""

    def __init__(self, logger: Any) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = {
            "library": record.name,
            "place": f"{record.module}:{record.lineno}",
        }
        if record.args:
            # Without arguments the values may stand in the text already.
            fields["template"] = str(record.msg)
        level = "error" if record.levelno >= logging.ERROR else "warning"
        getattr(self._logger, level)("library_message", exc_info=record.exc_info, **fields)


def processors() -> list[Any]:
    """What a line goes through, in order."""
    return [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        only_allowed,
        structlog.processors.JSONRenderer(),
    ]


def configure(level: str, stream: TextIO | None = None) -> None:
    """One JSON object a line on `stream`, standard error by default; for the whole process."""
    structlog.configure(
        processors=processors(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream or sys.stderr),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [LibraryLines(structlog.get_logger("libraries"))]
    root.setLevel(logging.WARNING)


def _shown(form: Form, value: object) -> object:
    return value if form(value) else WITHHELD


def _error_of(given: object) -> BaseException | None:
    if isinstance(given, BaseException):
        return given
    if isinstance(given, tuple):
        parts = cast("tuple[object, ...]", given)
        return next((part for part in parts if isinstance(part, BaseException)), None)
    return sys.exception() if given else None


def _short(filename: str) -> str:
    path = Path(filename)
    if path.is_relative_to(_OUR_CODE) and ".venv" not in path.parts:
        return str(path.relative_to(_OUR_CODE))
    return path.name
