"""One id per request, in the log's `correlation_id`, in problems and in a response header."""

from typing import Any, Final
from uuid import UUID, uuid4

from litestar.connection import ASGIConnection
from litestar.datastructures import MutableScopeHeaders
from litestar.types import Message, Scope

HEADER: Final = "x-request-id"
_KEY: Final = "link_correlation_id"


def correlation_id(connection: ASGIConnection[Any, Any, Any, Any]) -> UUID:
    """Drawn by us on first use: a caller's own id could be anybody's."""
    state: dict[str, Any] = connection.scope["state"]
    found: UUID | None = state.get(_KEY)
    if found is None:
        found = state[_KEY] = uuid4()
    return found


def request_id(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    return f"req_{correlation_id(connection).hex}"


async def tell(message: Message, scope: Scope) -> None:
    """Hand the id to the caller, in the head of every answer."""
    if message["type"] == "http.response.start":
        found: UUID | None = scope["state"].get(_KEY)
        if found is not None:
            MutableScopeHeaders.from_message(message)[HEADER] = f"req_{found.hex}"
