"""`POST /add-checkpoint` over HTTP, and nothing else."""

from typing import Any, Final

from examples.witness.witness import Answer, Witness

BODY_BYTES_MAX: Final = 65_536


class WitnessServer:
    """An ASGI application."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        answer = await self._answer(scope, receive)
        body = answer.body.encode()
        headers = [
            (b"content-type", answer.content_type.encode()),
            (b"content-length", b"%d" % len(body)),
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Any, receive: Any) -> Answer:
        if scope["path"] != "/add-checkpoint":
            return Answer(404, "POST /add-checkpoint\n")
        if scope["method"] != "POST":
            return Answer(405, "POST /add-checkpoint\n")
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return Answer(400, "cut short\n")
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > BODY_BYTES_MAX:
                return Answer(413, f"{BODY_BYTES_MAX} bytes are enough\n")
        try:
            return self._witness.add_checkpoint(body.decode())
        except UnicodeDecodeError:
            return Answer(400, "not UTF-8\n")
