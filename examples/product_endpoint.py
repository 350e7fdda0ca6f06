"""What the example products share: the authorize endpoint, the operator's door, the command line.

A product brings a decision (`Decide`) and, if it likes, more handlers; the rest is here: verify
the assertion, decide once per key, answer as 004 §10.4 has it. The operator's door (`/admin/…`
and what a product adds to it) opens to loopback only.
"""

import argparse
import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
import uvicorn
from litestar import Litestar, MediaType, Request, Response, get, post, put
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import BaseRouteHandler
from litestar.params import JSONBody
from litestar.types import ControllerRouterHandler

from clients.product import (
    Answers,
    AssertionRefused,
    AssertionVerifier,
    AuthorizeRequest,
    Database,
    KeyReused,
    KeysUnavailable,
    SeenAssertions,
    StoreFull,
)
from clients.product.idempotency import Decide, Record, Undo

BODY_BYTES_MAX: Final = 64 * 1024
LOOPBACK: Final = frozenset({"127.0.0.1", "::1"})
Mode = Literal["normal", "hang", "fail"]


class ProductSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How one product is run. `hang` starts it in the mode that never answers."""

    jwks_url: str
    issuer: str
    audiences: tuple[str, ...] = ()
    cafile: str | None = None
    database: str = ":memory:"
    hang: bool = False


class ModeChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`normal` answers, `hang` accepts calls and never answers, `fail` answers 500."""

    mode: Mode


class ModeShown(msgspec.Struct, frozen=True):
    """The mode, and how many calls hang in it."""

    mode: Mode
    waiting: int


class AudienceAdded(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The audience of a linked service that was registered while the product was running."""

    audience: Annotated[str, msgspec.Meta(max_length=512)]


class ProductEndpoint:
    """Answers authorize calls for one product."""

    def __init__(self, settings: ProductSettings, action: str) -> None:
        self.database = Database(settings.database)
        self.verifier = AssertionVerifier(
            settings.jwks_url,
            settings.issuer,
            settings.audiences,
            seen=SeenAssertions(self.database),
            cafile=settings.cafile,
        )
        self._answers = Answers(self.database)
        self._action = action
        self.mode: Mode = "hang" if settings.hang else "normal"
        self.waiting = 0
        self._changed = asyncio.Event()

    def switch(self, mode: Mode) -> None:
        self.mode = mode
        self._changed.set()
        self._changed = asyncio.Event()

    async def answer(self, authorization: str, body: bytes, decide: Decide) -> Response[bytes]:
        """The whole of an authorize call, from its header and body to its answer."""
        if self.mode == "hang":
            # Nothing was decided and nothing will be: a hanging product must not charge late.
            self.waiting += 1
            try:
                await self._changed.wait()
            finally:
                self.waiting -= 1
            return problem(503, "was_hanging")
        if self.mode == "fail":
            return problem(500, "failing_as_told")
        return await asyncio.to_thread(self._decide, authorization, body, decide)

    async def void(self, authorization: str, body: bytes, undo: Undo) -> Response[bytes]:
        """The whole of a void call; one that hangs or fails does so here too."""
        if self.mode != "normal":
            return problem(503, "away_as_told")
        return await asyncio.to_thread(self._void, authorization, body, undo)

    async def advise(self, authorization: str, body: bytes, record: Record) -> Response[bytes]:
        """The whole of an advice call; as with a void."""
        if self.mode != "normal":
            return problem(503, "away_as_told")
        return await asyncio.to_thread(self._advise, authorization, body, record)

    def _decide(self, authorization: str, body: bytes, decide: Decide) -> Response[bytes]:
        def once(request: AuthorizeRequest) -> Response[bytes]:
            remembered = self._answers.once(request, decide)
            headers = {"Idempotent-Replayed": "true"} if remembered.replayed else {}
            return Response(remembered.body, media_type=MediaType.JSON, headers=headers)

        return self._verified(authorization, body, self._action, once)

    def _void(self, authorization: str, body: bytes, undo: Undo) -> Response[bytes]:
        def once(request: AuthorizeRequest) -> Response[bytes]:
            status = self._answers.void(request, undo)
            return Response(msgspec.json.encode({"status": status}), media_type=MediaType.JSON)

        return self._verified(authorization, body, "void", once)

    def _advise(self, authorization: str, body: bytes, record: Record) -> Response[bytes]:
        def once(request: AuthorizeRequest) -> Response[bytes]:
            if request.advised_action != self._action:
                return problem(403, "action_not_allowed")
            try:
                status = self._answers.advise(request, record)
            except ValueError:
                return problem(422, "advice_not_understood")
            return Response(msgspec.json.encode({"status": status}), media_type=MediaType.JSON)

        return self._verified(authorization, body, "advice", once)

    def _verified(
        self,
        authorization: str,
        body: bytes,
        action: str,
        answer: Callable[[AuthorizeRequest], Response[bytes]],
    ) -> Response[bytes]:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            return problem(401, "assertion_missing")
        try:
            return answer(self.verifier.verify(token, body, {action}))
        except AssertionRefused as refused:
            return problem(refused.status, refused.code)
        except KeyReused:
            return problem(422, "idempotency_key_reused")
        except KeysUnavailable:
            return problem(503, "keys_unavailable")
        except StoreFull:
            return problem(503, "replay_store_full")


def problem(status: int, code: str) -> Response[bytes]:
    """An RFC 9457 problem with a stable `code`."""
    headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'} if status == 401 else {}
    return Response(
        msgspec.json.encode({"type": "about:blank", "status": status, "code": code}),
        status_code=status,
        media_type="application/problem+json",
        headers=headers,
    )


def loopback_only(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """A guard for the operator's door."""
    if connection.client is None or connection.client.host not in LOOPBACK:
        raise NotAuthorizedException("the operator's door opens to loopback only")


def product_app(
    endpoint: ProductEndpoint,
    decide: Decide,
    undo: Undo,
    record: Record,
    handlers: Sequence[ControllerRouterHandler],
) -> Litestar:
    """The ASGI application of a product: `/authorize`, `/void`, `/advice`, `/health`, `/admin/…`,
    its own."""

    @post("/authorize", status_code=200, request_max_body_size=BODY_BYTES_MAX)
    async def authorize(request: Request[Any, Any, Any]) -> Response[bytes]:
        body = await request.body()
        return await endpoint.answer(request.headers.get("authorization", ""), body, decide)

    @post("/void", status_code=200, request_max_body_size=BODY_BYTES_MAX)
    async def void(request: Request[Any, Any, Any]) -> Response[bytes]:
        body = await request.body()
        return await endpoint.void(request.headers.get("authorization", ""), body, undo)

    @post("/advice", status_code=200, request_max_body_size=BODY_BYTES_MAX)
    async def advice(request: Request[Any, Any, Any]) -> Response[bytes]:
        body = await request.body()
        return await endpoint.advise(request.headers.get("authorization", ""), body, record)

    @get("/health", sync_to_thread=False)
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @get("/admin/mode", guards=[loopback_only], sync_to_thread=False)
    def show_mode() -> ModeShown:
        return ModeShown(mode=endpoint.mode, waiting=endpoint.waiting)

    @put("/admin/mode", guards=[loopback_only], sync_to_thread=False)
    def change_mode(data: JSONBody[ModeChange]) -> ModeChange:
        endpoint.switch(data.mode)
        return data

    @post("/admin/audiences", guards=[loopback_only], sync_to_thread=False)
    def add_audience(data: JSONBody[AudienceAdded]) -> Response[bytes]:
        try:
            endpoint.verifier.accept(data.audience)
        except ValueError:
            return problem(422, "audience_invalid")
        return Response(b"{}", media_type=MediaType.JSON)

    def close() -> None:
        endpoint.switch("normal")
        endpoint.database.close()

    return Litestar(
        route_handlers=[
            authorize,
            void,
            advice,
            health,
            show_mode,
            change_mode,
            add_audience,
            *handlers,
        ],
        on_shutdown=[close],
        openapi_config=None,
        logging_config=None,
    )


def arguments(description: str) -> argparse.ArgumentParser:
    """The command line that every example product has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--jwks", required=True, help="the platform's /.well-known/jwks.json")
    parser.add_argument("--issuer", required=True, help="the platform's issuer URL")
    parser.add_argument("--ca", type=Path, help="PEM file of the CA behind the JWKS URL")
    parser.add_argument(
        "--audience",
        action="append",
        default=[],
        help="{issuer}/tenants/{ten_…}/linked-services/{lsvc_…}; may be given more than once",
    )
    parser.add_argument("--database", type=Path, help="SQLite file; in memory when left out")
    parser.add_argument("--hang", action="store_true", help="accept calls and never answer")
    parser.add_argument("--certificate", type=Path, help="serve TLS with this PEM chain")
    parser.add_argument("--key", type=Path, help="the private key of --certificate")
    return parser


def settings_of(given: argparse.Namespace) -> ProductSettings:
    return ProductSettings(
        jwks_url=given.jwks,
        issuer=given.issuer,
        audiences=tuple(given.audience),
        cafile=None if given.ca is None else str(given.ca),
        database=":memory:" if given.database is None else str(given.database),
        hang=given.hang,
    )


def serve(app: Litestar, given: argparse.Namespace) -> None:
    """Serve until interrupted. Plain http unless a certificate is given."""
    uvicorn.run(
        app,
        host=given.host,
        port=given.port,
        ssl_certfile=given.certificate,
        ssl_keyfile=given.key,
        proxy_headers=False,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=2,
    )
