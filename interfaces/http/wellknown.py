"""What anybody may read: public keys, and whether the process lives."""

from typing import Any

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec

from interfaces.http.services import Services

Given = NamedDependency[Services]


class Live(msgspec.Struct, frozen=True, kw_only=True):
    status: str


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """`halted_read_models` stand still for at least one tenant; null when nobody could say.
    `ending_certificates` are the listeners whose server certificate runs out within thirty days.
    """

    ready: bool
    waiting_for: list[str]
    halted_read_models: list[str] | None
    ending_certificates: list[str]


@get(
    "/.well-known/jwks.json",
    operation_id="getJWKS",
    public=True,
    tags=["Keys"],
    summary="The public keys of access tokens and identity assertions (RFC 7517)",
)
async def jwks(services: Given) -> Response[dict[str, Any]]:
    return Response(
        dict(services.public_keys.jwks()), headers={"cache-control": "public, max-age=300"}
    )


@get("/live", operation_id="live", public=True, tags=["Operations"], summary="The process runs")
async def live() -> Live:
    return Live(status="ok")


@get(
    "/ready",
    operation_id="ready",
    public=True,
    tags=["Operations"],
    summary="The process can serve: its view of the event log is current",
    responses={503: ResponseSpec(data_container=Ready, description="Not yet")},
)
async def ready(services: Given) -> Response[Ready]:
    waiting_for = await services.readiness.unready()
    # Without the log there is nobody to ask, and a probe does not wait.
    halted = None if waiting_for else await services.readiness.halted()
    body = Ready(
        ready=not waiting_for,
        waiting_for=waiting_for,
        halted_read_models=None if halted is None else list(halted),
        ending_certificates=list(services.readiness.ending_certificates()),
    )
    return Response(body, status_code=503 if waiting_for else 200)


HANDLERS = (jwks, live, ready)
