"""One id for everything that a request causes: the trace's, when the caller names one.

It is the log's `correlation_id`, so it stands in the metadata of every event; it goes on to the
palm vendor, the product and whoever is told by webhook, and back to the caller, so that somebody
can go from a line in any log to the events.
Form: W3C Trace Context. We keep no spans.
"""

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID, uuid4

from litestar.connection import ASGIConnection
from litestar.types import Message, Scope

from application.trace import enter

HEADER: Final = b"x-request-id"
TRACE_HEADER: Final = b"traceresponse"
_KEY: Final = "link_correlation_id"
_TRACEPARENT: Final = re.compile(
    rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?", re.DOTALL
)


def correlation_id(connection: ASGIConnection[Any, Any, Any, Any]) -> UUID:
    """The trace id of `traceparent`, or one drawn by us; the same for the whole request.

    A caller who names another's trace confuses nobody but himself: every event is its tenant's,
    and no decision rests on this id.
    """
    return of_scope(connection.scope)


def of_scope(scope: Mapping[str, Any]) -> UUID:
    """The same, for who has no connection to ask."""
    state: dict[str, Any] = scope["state"]
    found: UUID | None = state.get(_KEY)
    if found is None:
        found = state[_KEY] = traced(scope["headers"]) or uuid4()
        enter(found)
    return found


def traced(headers: Iterable[tuple[bytes, bytes]]) -> UUID | None:
    """The trace that the caller's request belongs to; None without a valid `traceparent`.

    Of version 00 nothing may follow the flags, of a later one it may (W3C Trace Context §3.2,
    §4.3). An invalid header is as none, and so are two.
    """
    given = [value for name, value in headers if name == b"traceparent"]
    match = _TRACEPARENT.fullmatch(given[0]) if len(given) == 1 else None
    if match is None:
        return None
    version, trace, parent, more = match.groups()
    if version == b"ff" or (version == b"00" and more is not None):
        return None
    if not int(trace, 16) or not int(parent, 16):
        return None
    return UUID(hex=trace.decode())


def request_id(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    return f"req_{correlation_id(connection).hex}"


async def tell(message: Message, scope: Scope) -> None:
    """Hand the id to the caller, in the head of every answer."""
    if message["type"] == "http.response.start":
        found: UUID | None = scope["state"].get(_KEY)
        if found is not None:
            message["headers"] = [*message["headers"], *told(found)]


def told(trace_id: UUID) -> tuple[tuple[bytes, bytes], ...]:
    """The id as it stands in the head of an answer."""
    trace = trace_id.hex.encode()
    return (
        (HEADER, b"req_" + trace),
        (TRACE_HEADER, b"00-%b-%b-00" % (trace, os.urandom(8).hex().encode())),
    )
