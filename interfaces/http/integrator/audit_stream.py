"""`/v1/audit/stream`: the audit as it grows, line after line, for a SIEM (RFC 8259 per line)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from litestar import get
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import QueryParameter
from litestar.response import Stream

from application.principals import Manager
from domain.audit import AuditRead
from domain.errors import Malformed, TooMany
from interfaces.http.integrator.audit import AuditLine, shown
from interfaces.http.services import AuditEar, AuditPage, Services

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]

NDJSON: Final = "application/x-ndjson"
READERS_MAX: Final = 4
"""Open streams of one tenant in one process."""
LINES_MAX: Final = 10_000
"""After so many lines the answer ends; the client comes again with the position it has."""
HEARTBEAT_S: Final = 10.0
REST_S: Final = 0.1
"""A busy tenant's lines are fetched this often and not for every commit."""

After = Annotated[
    int,
    QueryParameter(
        name="after",
        ge=0,
        le=2**62,
        description="the position of the last line or heartbeat that you have; 0 begins at the "
        "beginning",
    ),
]
Wait = Annotated[
    int,
    QueryParameter(
        name="wait",
        ge=0,
        le=300,
        description="for how many seconds to wait for more; 0 answers with what is there",
    ),
]


class StreamedLine(AuditLine, frozen=True, kw_only=True, tag_field="type", tag="line"):
    """One audit line. The next request goes on after its `position`."""


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="heartbeat"):
    """Nothing is left to tell up to `position`. The last of an answer is always one."""

    position: int
    at: datetime


class StreamItem(msgspec.Struct, frozen=True, kw_only=True):
    """What a line of the answer may hold: a `line` with all its fields, or a `heartbeat`."""

    type: Literal["line", "heartbeat"]
    position: int


@get(
    "/v1/audit/stream",
    operation_id="streamAudit",
    tags=["Audit"],
    summary="The audit from a position on, as it grows",
    description="One JSON object to a line, in the order of the log and without a gap. Come again "
    "with the position of the last one you have, whatever ended the answer.",
    permission="audit.read",
    media_type=NDJSON,
    responses={
        200: ResponseSpec(
            data_container=StreamItem,
            media_type=NDJSON,
            description="Newline-delimited JSON",
            generate_examples=False,
        )
    },
    response_headers=[ResponseHeader(name="Cache-Control", value="no-store")],
    refusals={
        400: ("invalid_request", "position_in_future"),
        429: ("too_many_streams",),
        503: ("commit_failed",),
    },
)
async def stream(
    integrator: Integrator, services: Given, after: After = 0, wait: Wait = 30
) -> Stream:
    end = await services.history.end()
    if after > end:
        raise Malformed("position_in_future", f"the log ends at {end}")
    if services.audit_feed.listening(integrator.tenant_id) >= READERS_MAX:
        raise TooMany("too_many_streams", f"{READERS_MAX} are open already", retry_after_s=5)
    ear = services.audit_feed.listen(integrator.tenant_id)
    # The first page is read before the answer begins, so that trouble is told as a problem.
    first = await _page(integrator, services, after)
    return Stream(_items(integrator, services, ear, first, wait), media_type=NDJSON)


async def _page(integrator: Manager, services: Services, after: int) -> AuditPage:
    page = await services.audit_feed.page(integrator.tenant_id, after)
    if any(row.event != AuditRead.NAME for row in page.lines):
        # Whoever is told of nothing but readings leaves none, or two would never end.
        await services.audit_readings.note(integrator, "stream")
    return page


async def _items(
    integrator: Manager,
    services: Services,
    ear: AuditEar,
    page: AuditPage,
    wait: int,
) -> AsyncIterator[bytes]:
    ends_at = services.clock.monotonic() + wait
    room = LINES_MAX
    try:
        while True:
            if page.lines:
                yield b"".join(_encoded(StreamedLine(**shown(row))) for row in page.lines)
            room -= len(page.lines)
            left = ends_at - services.clock.monotonic()
            ends = room <= 0 or ear.closed or (left <= 0 and not page.more)
            if ends or not page.lines:
                yield _encoded(Heartbeat(position=page.read_to, at=services.clock.now()))
            if ends:
                return
            if not page.more:
                await _more(ear, page.read_to, min(HEARTBEAT_S, left))
            page = await _page(integrator, services, page.read_to)
    finally:
        ear.leave()


async def _more(ear: AuditEar, after: int, within_s: float) -> None:
    await ear.beyond(after, within_s)
    if not ear.closed:
        await asyncio.sleep(min(REST_S, within_s))


def _encoded(line: msgspec.Struct) -> bytes:
    return msgspec.json.encode(line) + b"\n"


HANDLERS = (stream,)
