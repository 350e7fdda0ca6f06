"""What an error while projecting says: try again, the event is poison, or nobody may go on."""

import traceback
from pathlib import Path
from typing import Final

import psycopg

from domain.errors import Unavailable
from infrastructure.event_log.mapper import UnknownEvent
from infrastructure.event_log.positions import LogGap
from infrastructure.projections.batch import GapInLog, Overtaken

_OUR_CODE: Final = Path(__file__).parents[2]
_LIMIT_EXCEEDED: Final = "54"
_DATA_AND_CONSTRAINTS: Final = ("22", "23")
"""SQLSTATE classes: what the values of an event can bring about in a table that is as it should."""


class RebuildRunning(Exception):
    """Another process is rebuilding this read model."""

    def __init__(self) -> None:
        super().__init__("another process is rebuilding it")


def passes_by_itself(error: Exception) -> bool:
    """The database is away or has had enough of us, or another process was first: no event is
    to blame, and trying again is right."""
    if isinstance(error, psycopg.OperationalError):
        return not (error.sqlstate or "").startswith(_LIMIT_EXCEEDED)
    return isinstance(
        error,
        psycopg.InterfaceError
        | psycopg.errors.ReadOnlySqlTransaction
        | Unavailable
        | Overtaken
        | RebuildRunning,
    )


def is_the_events(error: Exception) -> bool:
    """Whether the event that was taken in alone is at fault, and with it one tenant only.

    A log that cannot be read and tables that are not there concern everybody.
    """
    if isinstance(error, psycopg.Error):
        return (error.sqlstate or "").startswith((_LIMIT_EXCEEDED, *_DATA_AND_CONSTRAINTS))
    return not isinstance(error, GapInLog | LogGap | UnknownEvent) and not passes_by_itself(error)


def description(error: Exception) -> str:
    """Class, SQLSTATE and place; never the message, which may quote an event or a row."""
    name = type(error).__name__
    if isinstance(error, psycopg.Error) and error.sqlstate:
        name = f"{name} (SQLSTATE {error.sqlstate})"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(_OUR_CODE) and ".venv" not in path.parts:
            return f"{name} in {frame.name}, {path.relative_to(_OUR_CODE)}:{frame.lineno}"
    return name
