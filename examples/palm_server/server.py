"""The palm server as an ASGI application: every request is answered in the protocol's JSON."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, Final

import msgspec

from examples.palm_server import features, protocol
from examples.palm_server.gallery import (
    Found,
    Gallery,
    GalleryCorrupt,
    Hand,
    Scores,
    UserIdTaken,
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

BODY_MAX: Final = 8 * 1024 * 1024

_log = logging.getLogger(__name__)
_query = msgspec.json.Decoder(protocol.Query)
_add = msgspec.json.Decoder(protocol.Add)
_delete = msgspec.json.Decoder(protocol.Delete)


class _BodyTooLarge(Exception):
    pass


class _Disconnected(Exception):
    pass


class PalmServer:
    """Answers queries from one gallery directory.

    A gallery that cannot be read does not keep the server from starting: everything is then
    answered with code 50000, as the vendor does when its index is broken. A query of a hand in
    `forbidden_hands` is answered with code 30008.
    """

    def __init__(
        self,
        directory: Path,
        *,
        forbidden_hands: frozenset[Hand] = frozenset(),
        thresholds: Scores = protocol.THRESHOLDS,
    ) -> None:
        self._forbidden_hands = forbidden_hands
        self._thresholds = thresholds
        self._gallery: Gallery | None = None
        try:
            self._gallery = Gallery(directory)
        except (GalleryCorrupt, OSError):
            _log.exception("the gallery in %s cannot be read", directory)
        self._routes: dict[tuple[str, str], Callable[[bytes], Awaitable[protocol.Answer]]] = {
            ("POST", "/KZ/query"): self._answer_query,
            ("POST", "/KZ/add"): self._answer_add,
            ("POST", "/KZ/delete"): self._answer_delete,
            ("GET", "/KZ/health"): self._answer_health,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(f"no {scope['type']} is spoken here")
        try:
            status, answer = await self._dispatch(scope, receive)
        except _Disconnected:
            return
        body = msgspec.json.encode(answer)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _dispatch(self, scope: Scope, receive: Receive) -> tuple[int, protocol.Answer]:
        handler = self._routes.get((scope["method"], scope["path"]))
        if handler is None:
            return 404, protocol.Answer(protocol.UNKNOWN_PATH, "no such call")
        try:
            return 200, await handler(await _body(receive))
        except _BodyTooLarge:
            return 413, protocol.Answer(protocol.MALFORMED, "body too large")
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return 200, protocol.Answer(protocol.MALFORMED, str(error))
        except features.Unreadable as error:
            return 200, protocol.Answer(protocol.UNREADABLE, str(error))
        except _Disconnected:
            raise
        except Exception:
            # The real server answers so whatever is broken inside it, and the platform must cope.
            _log.exception("%s failed", scope["path"])
            return 200, protocol.Answer(protocol.INTERNAL, "Milvus error")

    async def _answer_query(self, body: bytes) -> protocol.Answer:
        query = _query.decode(body)
        if query.hand in self._forbidden_hands:
            return _FORBIDDEN
        gallery = self._open_gallery()
        try:
            probe = await asyncio.to_thread(features.to_search, query.rgb, query.ir)
        except features.LowQuality as error:
            return self._found([], error.hints)
        found = gallery.search(probe, group=query.group, hand=query.hand, top_k=query.top_k)
        if found and found[0].hand in self._forbidden_hands and self._passes(found[0]):
            return _FORBIDDEN
        return self._found(found)

    def _found(self, found: list[Found], hints: tuple[str, ...] = ()) -> protocol.Answer:
        results = [
            {"user_id": each.user_id, "hand": each.hand, "scores": each.scores} for each in found
        ]
        data = {"results": results, "thresholds": self._thresholds, "hints": hints}
        return protocol.Answer(protocol.OK, "ok", data)

    async def _answer_add(self, body: bytes) -> protocol.Answer:
        add = _add.decode(body)
        gallery = self._open_gallery()
        try:
            palm = await asyncio.to_thread(features.to_enrol, add.rgb, add.ir)
            palm_id = gallery.add(add.user_id, add.hand, palm)
        except features.LowQuality as error:
            return protocol.Answer(protocol.LOW_QUALITY, "low quality", {"hints": error.hints})
        except UserIdTaken:
            return protocol.Answer(protocol.USER_ID_TAKEN, "user_id holds another palm")
        return protocol.Answer(protocol.OK, "ok", {"palm_id": palm_id})

    async def _answer_delete(self, body: bytes) -> protocol.Answer:
        deleted = self._open_gallery().delete(_delete.decode(body).user_id)
        return protocol.Answer(protocol.OK, "ok", {"deleted": deleted})

    async def _answer_health(self, _body: bytes) -> protocol.Answer:
        return protocol.Answer(protocol.OK, "ok", {"palms": len(self._open_gallery())})

    def _open_gallery(self) -> Gallery:
        if self._gallery is None:
            raise GalleryCorrupt("the gallery could not be read at start")
        return self._gallery

    def _passes(self, found: Found) -> bool:
        pairs = zip(found.scores, self._thresholds, strict=True)
        return all(score >= least for score, least in pairs)


_FORBIDDEN: Final = protocol.Answer(protocol.QUERY_TYPE_FORBIDDEN, "query type forbidden")


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Disconnected
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > BODY_MAX:
            raise _BodyTooLarge
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)
