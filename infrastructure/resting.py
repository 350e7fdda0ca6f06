"""How long those who follow the log rest between two commits: longer while the log is busy.

What happens to one stream within a rest is then written once instead of again and again, and so
are positions; it is most of what following costs.
"""

from typing import Final

BUSY_EVENTS: Final = 50
"""When so many came since the last rest, the log is busy."""

BUSY_RESTS: Final = 5
"""How many times as long a rest is while it is."""


def rest_s(quiet_s: float, taken: int) -> float:
    """The rest when `taken` events came since the one before, in however many commits.

    On a quiet log it is `quiet_s`.
    """
    return quiet_s * BUSY_RESTS if taken >= BUSY_EVENTS else quiet_s
