"""Answers that no framework stands behind: of the internal listener, and of what turns people away
before the application sees them."""

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

import msgspec

from interfaces.http.problems import MEDIA_TYPE, TITLES

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Any, Send], Awaitable[None]]

Headers = Sequence[tuple[bytes, bytes]]


async def give(
    send: Send, status: int, media_type: str, body: bytes, headers: Headers = ()
) -> None:
    """One whole answer."""
    head = [
        *headers,
        (b"content-type", media_type.encode()),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


async def give_problem(send: Send, status: int, code: str, headers: Headers = ()) -> None:
    """One refusal (RFC 9457); like those of the routes, without the id of a request."""
    document: dict[str, object] = {
        "type": f"urn:link-identity:problem:{code}",
        "title": TITLES[status],
        "status": status,
        "code": code,
        "error": code,
    }
    if status == 503:
        document["retryable"] = True
    await give(send, status, MEDIA_TYPE, msgspec.json.encode(document), headers)
