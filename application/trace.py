"""The trace that the work at hand belongs to, for whoever calls others on its behalf.

It is the id of the request that began the work (`interfaces/http/request_id.py`), and decides
nothing: a call without one is as good.
"""

import os
from contextvars import ContextVar
from typing import Final
from uuid import UUID

HEADER: Final = "traceparent"

_current: ContextVar[UUID | None] = ContextVar("link_trace", default=None)


def enter(trace_id: UUID) -> None:
    """From here on this task, and whatever it begins, works for this trace."""
    _current.set(trace_id)


def headers() -> dict[str, str]:
    """What tells a counterpart of the current trace; empty without one."""
    current = _current.get()
    return {} if current is None else {HEADER: traceparent(current)}


def traceparent(trace_id: UUID) -> str:
    """A call as a step of its own in the trace (W3C Trace Context §3.2)."""
    return f"00-{trace_id.hex}-{os.urandom(8).hex()}-01"
