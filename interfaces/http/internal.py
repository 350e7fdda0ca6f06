"""The listener for those who run the platform: does it live, is it ready, what does it measure.

Plain HTTP and no caller is asked who it is: it listens on loopback unless told otherwise, and
belongs behind the operator's own walls. A bare ASGI application, so that it answers as long as the
event loop does.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, Protocol

import msgspec

from interfaces.http.problems import MEDIA_TYPE, TITLES
from interfaces.http.services import Readiness

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp = Callable[[MutableMapping[str, Any], Any, Send], Awaitable[None]]

JSON: Final = "application/json"

Answer = tuple[int, str, bytes]
"""Status, media type, body."""


class Measurements(Protocol):
    async def exposition(self) -> bytes:
        """Every metric, in the text format of Prometheus."""
        ...


def internal(readiness: Readiness, metrics: Measurements, metrics_type: str) -> ASGIApp:
    """`GET /live`, `GET /ready` and `GET /metrics`."""

    async def live() -> Answer:
        return 200, JSON, b'{"status":"ok"}'

    async def ready() -> Answer:
        waiting_for = await readiness.unready()
        halted = None if waiting_for else await readiness.halted()
        body = msgspec.json.encode(
            {"ready": not waiting_for, "waiting_for": waiting_for, "halted_read_models": halted}
        )
        return 503 if waiting_for else 200, JSON, body

    async def measured() -> Answer:
        return 200, metrics_type, await metrics.exposition()

    pages: dict[str, Callable[[], Awaitable[Answer]]] = {
        "/live": live,
        "/ready": ready,
        "/metrics": measured,
    }

    async def app(scope: MutableMapping[str, Any], receive: Any, send: Send) -> None:
        del receive
        page = pages.get(str(scope["path"]))
        headers: list[tuple[bytes, bytes]] = []
        if page is None:
            answer = _problem(404, "not_found")
        elif scope["method"] not in ("GET", "HEAD"):
            answer = _problem(405, "method_not_allowed")
            headers.append((b"allow", b"GET, HEAD"))
        else:
            answer = await page()
        status, media_type, body = answer
        headers += [
            (b"content-type", media_type.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def _problem(status: int, code: str) -> Answer:
    document = {
        "type": f"urn:link-identity:problem:{code}",
        "title": TITLES[status],
        "status": status,
        "code": code,
        "error": code,
    }
    return status, MEDIA_TYPE, msgspec.json.encode(document)
