"""The example products behind an in-process HTTP client, with a real JWKS to check against."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import msgspec
from litestar import Litestar

from tests.clients.product.platform_double import PlatformDouble


@contextlib.asynccontextmanager
async def product(app: Litestar, peer: str = "127.0.0.1") -> AsyncGenerator[httpx.AsyncClient]:
    """A client of the running application, as seen from the address `peer`."""
    asgi: Any = app  # httpx and Litestar describe one and the same interface in other words
    transport = httpx.ASGITransport(asgi, client=(peer, 4711))
    ready, stop = asyncio.Event(), asyncio.Event()
    # A task of its own: Litestar must leave its lifespan in the task in which it entered it, and
    # a fixture's two halves run in different ones.
    living = asyncio.create_task(_live(app, ready, stop))
    async with asyncio.timeout(10):
        await ready.wait()
    async with httpx.AsyncClient(transport=transport, base_url="http://product.test") as client:
        yield client
    stop.set()
    await living


async def _live(app: Litestar, ready: asyncio.Event, stop: asyncio.Event) -> None:
    async with app.lifespan():
        ready.set()
        await stop.wait()


async def authorize(
    client: httpx.AsyncClient, double: PlatformDouble, body: dict[str, object] | None = None
) -> httpx.Response:
    """A call as the platform makes it: a fresh assertion each time."""
    token, raw = double.call(body)
    return await client.post(
        "/authorize",
        content=raw,
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )


def code_of(response: httpx.Response) -> str:
    """The stable code of a problem."""
    assert response.headers["content-type"] == "application/problem+json"
    return str(msgspec.json.decode(response.content)["code"])
