"""The palm vendor and the product: processes of somebody else, which nobody kills.

    python -m tests.chaos.counterparts ORDER.json

Ends when its standard input does. The product is as good as a product can be: idempotent on
its key, durable before it answers, and it undoes what it is told to undo, also before it has been
asked. What else it does with a key follows from the key alone.
"""

import asyncio
import hashlib
import json
import sys
from pathlib import Path
from typing import Any, Final

import jwt
import msgspec

from infrastructure.edge.listeners import new_event_loop, serve
from tests.chaos.children import stdin_closed, tell
from tests.chaos.journal import Called, Charged, Journal, Voided
from tests.house.world import Vendor, read_body, reply

DENIED_OF_256: Final = 26
"""About a tenth of all keys is denied."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Where to listen, whose palms are known, and where the product keeps its book."""

    ports: tuple[int, ...]
    enrolled: dict[str, str]
    journal: str


class Product:
    """Charges once for each key and says the same to it for ever; slow now and then.

    Nothing is awaited between a look at what is voided or decided and the note that it is.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._decided: dict[str, asyncio.Future[bytes]] = {}
        self._voided: set[str] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/health":
            await reply(send, 200, b"{}")
            return
        asked: dict[str, Any] = json.loads(await read_body(receive))
        key, transaction = asked["idempotency_key"], asked["transaction_id"]
        if asked["action"] == "void":
            status = await self._void(transaction, key)
            await reply(send, 200, json.dumps({"status": status}).encode())
            return
        token = dict(scope["headers"])[b"authorization"].removeprefix(b"Bearer ")
        claims = jwt.decode(token, options={"verify_signature": False})
        await self._journal.write(
            Called(transaction=transaction, key=key, jti=claims["jti"], attempt=asked["attempt"])
        )
        said = self._decided.get(key)
        if said is None:
            self._decided[key] = said = asyncio.ensure_future(self._decide(transaction, key))
        answer = await asyncio.shield(said)
        await asyncio.sleep(_think_s(key))
        await reply(send, 200, answer)

    async def _void(self, transaction: str, key: str) -> str:
        """Undo the key's effect; a key that is not known yet is refused from now on."""
        said = self._decided.get(key)
        known = said is not None and b"allow" in await asyncio.shield(said)
        if key in self._voided:
            return "already_voided"
        self._voided.add(key)
        status = "voided" if known else "not_found"
        await self._journal.write(Voided(transaction=transaction, key=key, status=status))
        return status

    async def _decide(self, transaction: str, key: str) -> bytes:
        if key in self._voided:
            return b'{"decision":"deny","reason_code":"voided"}'
        if _draw(key)[0] < DENIED_OF_256:
            return b'{"decision":"deny","reason_code":"insufficient_funds"}'
        text = {"display_message": "Approved", "reference_id": key[-12:]}
        await self._journal.write(Charged(transaction, key, **text))
        return json.dumps({"decision": "allow", **text}).encode()


def _draw(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _think_s(key: str) -> float:
    """Mostly a few milliseconds, sometimes long, and one in a hundred beyond any time-out."""
    draw = _draw(key)[1]
    if draw < 3:
        return 1.2
    return 0.25 if draw < 12 else 0.004 + draw / 256 * 0.06


class Counterparts:
    """Both on every port: the vendor under /KZ/, the product under everything else."""

    def __init__(self, order: Order) -> None:
        self.vendor = Vendor()
        self.vendor.enrolled = dict(order.enrolled)
        self.product = Product(Journal(Path(order.journal)))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        party = self.vendor if scope["path"].startswith("/KZ/") else self.product
        await party(scope, receive, send)


async def run(order: Order) -> None:
    both = Counterparts(order)
    listeners = [
        await serve(both, host="127.0.0.1", port=port, ssl_context=None) for port in order.ports
    ]
    tell({"event": "started"})
    await stdin_closed()
    for listener in listeners:
        await listener.stop(drain_s=1)


def main() -> None:
    order = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Order)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(run(order))


if __name__ == "__main__":
    main()
