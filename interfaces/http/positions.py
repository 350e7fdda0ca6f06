"""Where a write stands in the log, told to the caller, who may demand it of a read."""

from typing import Final

from application.execute import Done

HEADER: Final = "log-position"


def positioned(done: Done) -> dict[str, str]:
    """The header of a write; none when there was nothing to do."""
    return {} if done.position is None else {HEADER: str(done.position)}
