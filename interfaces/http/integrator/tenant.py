"""`/v1/tenant`: the caller's own tenant and the settings that decisions are taken under."""

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency

from application.principals import Manager
from domain.ids import wire
from domain.tenant import Tenant, TenantSettings, TenantStatus
from interfaces.http.as_of import AS_OF, AsOf
from interfaces.http.integrator.tenant_settings import tenant_at
from interfaces.http.refusals import merged
from interfaces.http.services import Services

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]


class TenantShown(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant. Its namespace at the palm vendor is nobody's business and not here."""

    id: str
    name: str
    sandbox: bool
    status: TenantStatus
    settings: TenantSettings
    version: int


def tenant_shown(tenant: Tenant) -> TenantShown:
    return TenantShown(
        id=wire("ten", tenant.id),
        name=tenant.name,
        sandbox=tenant.sandbox,
        status=tenant.status,
        settings=tenant.settings,
        version=tenant.version,
    )


@get(
    "/v1/tenant",
    operation_id="getTenant",
    tags=["Tenant"],
    summary="Your own tenant and its settings",
    permission="tenant.read",
    refusals=merged(AS_OF, {404: ("tenant_not_found",)}),
)
async def show(
    integrator: Integrator, services: Given, as_of: AsOf = None
) -> Response[TenantShown]:
    tenant, headers = await tenant_at(services, integrator.tenant_id, as_of)
    return Response(tenant_shown(tenant), headers=headers)


HANDLERS = (show,)
