"""The line to the palm vendor and to the product, which goes wrong in twelve ways when it is told.

    python -m tests.chaos.line UPSTREAM_PORT PALM_PORT PRODUCT_PORT

`{"party": "product", "mode": "reset"}` is answered with how many requests met the mode that ends
with it. In most modes the party behind the line has done what it was asked to do, and only the
answer is not what was agreed. Ends when its standard input does.
"""

import asyncio
import re
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final, Literal, get_args

import msgspec

from infrastructure.edge.listeners import new_event_loop
from tests.chaos.children import stdin_lines, tell

Party = Literal["palm", "product"]
Mode = Literal[
    "fair",
    "refuses",
    "is_silent",
    "is_late",
    "resets",
    "breaks_in_head",
    "breaks_in_body",
    "dribbles",
    "never_ends",
    "malformed",
    "wrong_type",
    "redirects",
    "fails",
]
MODES: Final[tuple[Mode, ...]] = get_args(Mode)
"""`fair`, and the twelve others."""

LATE_S: Final = 3.0
"""Beyond what either party is given."""

_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: "


class Order(msgspec.Struct, frozen=True):
    """How a party behaves from now on."""

    party: Party
    mode: Mode


class Line:
    """One party's. A connection is kept alive for as long as the party is fair."""

    def __init__(self, port: int, upstream: int) -> None:
        self._port = port
        self._upstream = upstream
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._mode: Mode = "fair"
        self.met = 0

    async def behave(self, mode: Mode) -> None:
        self._mode, self.met = mode, 0
        if mode == "refuses" and self._server is not None:
            self._server.close()
            self._server = None
            for writer in self._open:
                writer.transport.abort()
        elif mode != "refuses" and self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            from_party, to_party = await asyncio.open_connection("127.0.0.1", self._upstream)
            try:
                while await self._exchange(reader, writer, from_party, to_party):
                    pass
            finally:
                to_party.transport.abort()
        except (OSError, EOFError):
            pass  # whoever asked has gone away
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        from_party: asyncio.StreamReader,
        to_party: asyncio.StreamWriter,
    ) -> bool:
        """One request and its answer; whether another may follow."""
        request = await _message(reader)
        mode = self._mode
        self.met += mode != "fair"
        if mode == "is_silent":
            await reader.read()
            return False
        to_party.write(request)
        answer = await _message(from_party)
        if mode == "fair":
            writer.write(answer)
            await writer.drain()
            return True
        await _WRONG[mode](writer, answer)
        await writer.drain()
        return False


async def _message(reader: asyncio.StreamReader) -> bytes:
    """A request or an answer with a length, whole."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return head + await reader.readexactly(int(length[1]) if length else 0)


async def _late(writer: asyncio.StreamWriter, answer: bytes) -> None:
    await asyncio.sleep(LATE_S)
    writer.write(answer)


async def _nothing(writer: asyncio.StreamWriter, answer: bytes) -> None:
    """The connection is reset, and that is all."""


async def _half_a_head(writer: asyncio.StreamWriter, answer: bytes) -> None:
    writer.write(answer[:20])
    await _sent(writer)


async def _half_a_body(writer: asyncio.StreamWriter, answer: bytes) -> None:
    writer.write(answer[:-10])
    await _sent(writer)


async def _dribble(writer: asyncio.StreamWriter, answer: bytes) -> None:
    for byte in answer:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.5)


async def _never_end(writer: asyncio.StreamWriter, answer: bytes) -> None:
    writer.write(_HEAD + b"1073741824\r\n\r\n")
    while True:
        writer.write(b" " * 65_536)
        await writer.drain()


async def _malformed(writer: asyncio.StreamWriter, answer: bytes) -> None:
    writer.write(_HEAD + b'12\r\n\r\n{"decision":')
    await _sent(writer)


async def _wrong_type(writer: asyncio.StreamWriter, answer: bytes) -> None:
    writer.write(answer.replace(b"application/json", b"text/html"))
    await _sent(writer)


async def _redirect(writer: asyncio.StreamWriter, answer: bytes) -> None:
    writer.write(
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"
    )
    await _sent(writer)


async def _fail(writer: asyncio.StreamWriter, answer: bytes) -> None:
    writer.write(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n")
    await _sent(writer)


async def _sent(writer: asyncio.StreamWriter) -> None:
    """Until what was written has left us: a reset would overtake it."""
    await writer.drain()
    await asyncio.sleep(0.05)


_WRONG: Final[dict[Mode, Callable[[asyncio.StreamWriter, bytes], Coroutine[Any, Any, None]]]] = {
    "is_late": _late,
    "refuses": _nothing,
    "resets": _nothing,
    "breaks_in_head": _half_a_head,
    "breaks_in_body": _half_a_body,
    "dribbles": _dribble,
    "never_ends": _never_end,
    "malformed": _malformed,
    "wrong_type": _wrong_type,
    "redirects": _redirect,
    "fails": _fail,
}


async def run(upstream: int, palm: int, product: int) -> None:
    lines = {"palm": Line(palm, upstream), "product": Line(product, upstream)}
    for line in lines.values():
        await line.behave("fair")
    tell({"event": "started"})
    orders = await stdin_lines()
    while said := await orders.readline():
        order = msgspec.json.decode(said, type=Order)
        met = lines[order.party].met
        await lines[order.party].behave(order.mode)
        tell({"met": met})


def main() -> None:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(run(*(int(port) for port in sys.argv[1:4])))


if __name__ == "__main__":
    main()
