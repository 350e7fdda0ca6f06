"""Keeps one stored payload of every released event version: `python -m tests.history.record`.

A vector is the proof that the log written by an earlier release can still be read. It is
written once, when its version is new, and never again: a change that would need it written
again is a change that the log in production would not survive.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from domain.catalogue import EVENTS, UPCASTERS
from domain.events import DomainEvent
from infrastructure.event_log.mapper import EventMapper
from tests.builders import BUILDERS

VECTORS: Final = Path(__file__).parent / "vectors"


def vector_path(name: str, version: int, folder: Path = VECTORS) -> Path:
    return folder / f"{name}.v{version}.json"


def vectors_wanted(events: Mapping[str, type[DomainEvent]], folder: Path = VECTORS) -> list[Path]:
    """The vectors that the catalogue asks for and the folder does not have."""
    wanted = (
        vector_path(name, version, folder)
        for name, current in events.items()
        for version in range(1, current.VERSION + 1)
    )
    return [path for path in wanted if not path.exists()]


def record(folder: Path = VECTORS) -> list[Path]:
    """Write the vectors of today's new event versions and say which; nothing is overwritten.

    Raises KeyError for an event class without a builder.
    """
    mapper = EventMapper(EVENTS, UPCASTERS)
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for name, current in EVENTS.items():
        path = vector_path(name, current.VERSION, folder)
        if path.exists():
            continue
        _, payload = mapper.encode(BUILDERS[current]())
        with path.open("xb") as file:
            file.write(payload + b"\n")
        written.append(path)
    return written


if __name__ == "__main__":
    for new in record():
        sys.stdout.write(f"{new.name}\n")
