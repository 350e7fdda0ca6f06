"""`/v1/setup`: how far the platform is set up, for whoever runs it (003 §3.4). Only a client or a
person of the platform itself may ask."""

from typing import Final

from litestar import Response, get
from litestar.di import NamedDependency

from application.console.setup import Setup
from application.principals import Manager
from domain.errors import NotFound
from domain.ids import PLATFORM
from interfaces.http.refusals import Refusals
from interfaces.http.services import Services

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]

OF_PLATFORM: Final[Refusals] = {404: ("setup_not_found",)}


@get(
    "/v1/setup",
    operation_id="getSetup",
    tags=["Platform"],
    summary="How far the platform is set up, and what is left to do",
    permission="server_certificate.read",
    refusals=OF_PLATFORM,
)
async def show(integrator: Integrator, services: Given) -> Response[Setup]:
    if integrator.tenant_id != PLATFORM:
        raise NotFound("setup_not_found")
    return Response(await services.setup.read(), headers={"cache-control": "no-store"})


HANDLERS = (show,)
