"""`POST /v1/device/transactions` as it is served: in front of the framework.

What Litestar and uvicorn do around a handler, its parameters and its answer costs a tenth of a
transaction, so an allow, a deny and every other decision go past them. What is refused is handed
to the framework, with the refusal, and is told there as on every other route.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import msgspec
from litestar import Request, asgi
from litestar.exceptions import MethodNotAllowedException
from litestar.handlers import ASGIRouteHandler
from litestar.types import Receive
from litestar.types import Scope as LitestarScope
from litestar.types import Send as LitestarSend

from application.principals import DevicePrincipal
from application.transactions.broker import Reply
from interfaces.http import authentication
from interfaces.http.admission import BEGAN
from interfaces.http.bare_answers import ASGIApp, Scope, Send
from interfaces.http.device.transactions import (
    BODY_BYTES_MAX,
    PATH,
    AnswerGiven,
    TransactionBody,
    decided,
    note_relayed,
    replayed,
    transact,
)
from interfaces.http.json_body import check_content, read_body, read_json
from interfaces.http.parameters import KEY_HEADER, given_key
from interfaces.http.request_id import told
from interfaces.http.services import Services

_REFUSED: Final = "link_refused_before"
"""Where a request's state keeps what refused it in front of the framework."""

_JSON: Final = (b"content-type", b"application/json")
_KEY: Final = KEY_HEADER.encode()
_json: Final = msgspec.json.Encoder()


class Served(msgspec.Struct, frozen=True):
    """A decision that was given, to be noted."""

    device: DevicePrincipal
    reply: Reply
    answer: AnswerGiven


Serve = Callable[[Scope, Receive], Awaitable[Served]]


class Head(msgspec.Struct):
    """What is of use of a request's head; of a header that stands twice the first, of keys all."""

    media_type: str | None = None
    encoded: bool = False
    length: int = 0
    keys: tuple[str, ...] = ()

    @classmethod
    def of(cls, scope: Scope) -> "Head":
        head = cls()
        for name, value in scope["headers"]:
            if name == b"content-length":
                head.length = int(value)
            elif name == b"content-type" and head.media_type is None:
                head.media_type = value.decode("latin-1")
            elif name == b"content-encoding":
                head.encoded = True
            elif name == _KEY:
                head.keys = (*head.keys, value.decode("latin-1"))
        return head


def serving(services: Services) -> Serve:
    """The steps of `transact`: the door, the body, the broker, the answer."""
    traffic, places, broker = services.traffic, services.places, services.broker
    admit = authentication.device_door(
        services.streams, places, services.trust_domain, services.clock
    )

    async def serve(scope: Scope, receive: Receive) -> Served:
        device = await admit(scope, "transact")
        head = Head.of(scope)
        body = await read_body(receive, head.length, BODY_BYTES_MAX)
        check_content(head.media_type or "", encoded=head.encoded)
        data = read_json(body, TransactionBody)
        reply = await decided(broker, device, data, given_key(head.keys))
        state: dict[str, Any] = scope["state"]
        if BEGAN in state:
            seconds = time.perf_counter() - state[BEGAN]
            traffic.answered(str(transact.operation_id), 200, None, seconds)
        lines = (_JSON, *told(device.correlation_id), *replayed(reply))
        answer: AnswerGiven = scope["extensions"]["answer"]
        await answer.give(
            b"".join([b"%b: %b\r\n" % line for line in lines]), _json.encode(reply.answer)
        )
        places.leave(state)
        return Served(device, reply, answer)

    return serve


class Direct:
    """In front of an application whose route is `refusing(serve)`."""

    def __init__(self, app: ASGIApp, services: Services, serve: Serve) -> None:
        self._app = app
        self._broker = services.broker
        self._serve = serve

    async def __call__(self, scope: Scope, receive: Any, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        try:
            served = await self._serve(scope, receive)
        except Exception as error:
            scope["state"][_REFUSED] = error
            await self._app(scope, receive, send)
            return
        await note_relayed(self._broker, served.device, served.reply, served.answer)


def refusing(services: Services, serve: Serve) -> ASGIRouteHandler:
    """The route that tells refusals. What comes to it by another spelling of the path is served."""

    @asgi(PATH, copy_scope=False, operation_id=transact.operation_id, device_operation="transact")
    async def route(scope: LitestarScope, receive: Receive, send: LitestarSend) -> None:
        del send
        refused: Exception | None = scope["state"].get(_REFUSED)
        if refused is not None:
            raise refused
        if Request[Any, Any, Any](scope).method != "POST":
            raise MethodNotAllowedException(headers={"allow": "POST"})
        served = await serve(cast("Scope", scope), receive)
        await note_relayed(services.broker, served.device, served.reply, served.answer)

    return route
