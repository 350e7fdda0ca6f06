"""The listener for those who run the platform: does it live, is it ready, what does it measure.

Plain HTTP and no caller is asked who it is: it listens on loopback unless told otherwise, and
belongs behind the operator's own walls. A bare ASGI application, so that it answers as long as the
event loop does.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import msgspec

from interfaces.http.bare_answers import ASGIApp, Scope, Send, give, give_problem
from interfaces.http.services import Readiness

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
            {
                "ready": not waiting_for,
                "waiting_for": waiting_for,
                "halted_read_models": halted,
                "ending_certificates": readiness.ending_certificates(),
            }
        )
        return 503 if waiting_for else 200, JSON, body

    async def measured() -> Answer:
        return 200, metrics_type, await metrics.exposition()

    pages: dict[str, Callable[[], Awaitable[Answer]]] = {
        "/live": live,
        "/ready": ready,
        "/metrics": measured,
    }

    async def app(scope: Scope, receive: Any, send: Send) -> None:
        del receive
        page = pages.get(str(scope["path"]))
        if page is None:
            await give_problem(send, 404, "not_found")
        elif scope["method"] not in ("GET", "HEAD"):
            await give_problem(send, 405, "method_not_allowed", [(b"allow", b"GET, HEAD")])
        else:
            await give(send, *await page(), headers=[(b"cache-control", b"no-store")])

    return app
