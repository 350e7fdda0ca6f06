"""A palm vendor and a product that answer at once, or late: a stub, so that they are not measured.

    python -m benchmarks.peers [--palm-delay-ms 850] [--product-delay-ms 50]

Speaks `/KZ/add` and `/KZ/query` of the vendor's protocol and `/authorize` and `/void` of a product;
at `/dead` nobody ever answers. The last palm that was added to a group is what every query of that
group finds. Prints its port.
"""

import argparse
import asyncio
import math
import re
from typing import Final, cast
from uuid import uuid4

import msgspec

from infrastructure.edge.listeners import new_event_loop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ALLOW: Final = msgspec.json.encode(
    {
        "decision": "allow",
        "display_message": "Approved",
        "reference_id": "ref_1",
        "ttl_seconds": 30,
    }
)


class _Query(msgspec.Struct):
    group: str


class _Add(msgspec.Struct):
    user_id: str


_query = msgspec.json.Decoder(_Query)
_add = msgspec.json.Decoder(_Add)


class Peers:
    """What both of them know."""

    def __init__(self, palm_delay_s: float, product_delay_s: float) -> None:
        self.palm_delay_s = palm_delay_s
        self.product_delay_s = product_delay_s
        self._found: dict[str, bytes] = {}

    def answer(self, path: bytes, body: bytes) -> tuple[bytes, float]:
        """The body of an answer, and how long it takes to come to it; of none, for ever."""
        if path == b"/authorize":
            return _ALLOW, self.product_delay_s
        if path == b"/void":
            return b'{"status": "voided"}', 0.0
        if path == b"/dead":
            return b"", math.inf
        if path == b"/KZ/query":
            group = _query.decode(body).group
            return self._found.get(group) or self._palm(f"{group}.{'0' * 32}"), self.palm_delay_s
        if path == b"/KZ/add":
            user_id = _add.decode(body).user_id
            self._found[user_id.partition(".")[0]] = self._palm(user_id)
            added = {"code": 0, "msg": "ok", "data": {"palm_id": uuid4().hex}}
            return msgspec.json.encode(added), 0.0
        if path in (b"/health", b"/KZ/health"):
            return b'{"code": 0, "msg": "ok"}', 0.0
        raise ValueError(f"nobody here answers {path!r}")

    def _palm(self, user_id: str) -> bytes:
        result = {"user_id": user_id, "hand": "left", "scores": [0.95, 0.96, 0.97, 0.98]}
        data = {"results": [result], "thresholds": [0.7, 0.7, 0.7, 0.7]}
        return msgspec.json.encode({"code": 0, "msg": "ok", "data": data})


class Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, as much of it as our own callers speak."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = _LENGTH.search(head)
        if length is not None and len(body) < int(length[1]):
            return
        self._received = b""
        answer, delay_s = self._peers.answer(head.split(b" ", 2)[1], body)
        if delay_s == math.inf:
            return
        if delay_s:
            asyncio.get_running_loop().call_later(delay_s, self._reply, answer)
        else:
            self._reply(answer)

    def _reply(self, body: bytes) -> None:
        assert self._transport is not None
        if self._transport.is_closing():
            return  # whoever asked has given up waiting
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(body), body)
        )


async def serve(palm_delay_s: float, product_delay_s: float) -> None:
    peers = Peers(palm_delay_s, product_delay_s)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(peers), "127.0.0.1", 0
    )
    async with server:
        print(
            msgspec.json.encode({"port": server.sockets[0].getsockname()[1]}).decode(), flush=True
        )
        await server.serve_forever()


def main() -> None:
    """Serve until terminated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--palm-delay-ms", type=int, default=0)
    parser.add_argument("--product-delay-ms", type=int, default=0)
    given = parser.parse_args()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(serve(given.palm_delay_ms / 1000, given.product_delay_ms / 1000))


if __name__ == "__main__":
    main()
