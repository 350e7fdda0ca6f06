"""Times in queries: RFC 3339, always with an offset, since a time without one is nobody's."""

import re
from datetime import UTC, datetime
from typing import Annotated, Final

from litestar.params import QueryParameter

from domain.errors import Malformed

TIME: Final = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}"
    r"(\.[0-9]{1,6})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
PATTERN: Final = f"^{TIME}$"
NAMES: Final = frozenset({"since", "until"})
"""Query parameters that carry a time and nothing else."""

_TIME: Final = re.compile(TIME, re.ASCII)

Since = Annotated[
    str | None,
    QueryParameter(name="since", max_length=40, description="recorded at or after this time"),
]
Until = Annotated[
    str | None,
    QueryParameter(name="until", max_length=40, description="recorded before this time"),
]


def when(text: str | None) -> datetime | None:
    """The time in UTC. Raises Malformed (`time_invalid`)."""
    if text is None:
        return None
    if _TIME.fullmatch(text) is None:
        raise Malformed("time_invalid", "an RFC 3339 time with its offset; write + as %2B")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise Malformed("time_invalid", "there is no such time") from error
