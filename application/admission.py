"""Whether a tenant is served, and whether a device of it may do this now."""

from application.permissions import DeviceOperation, require_device
from application.ports import Streams
from application.principals import DevicePrincipal
from domain import device as d
from domain import tenant as t
from domain.errors import Forbidden, Unauthenticated
from domain.ids import PLATFORM, TenantId


async def admitted(
    streams: Streams, device: DevicePrincipal, operation: DeviceOperation
) -> t.Tenant:
    """The tenant of a device that may do this.

    Raises Unauthenticated (`device_unknown`) and Forbidden (`device_type_not_allowed`,
    `tenant_suspended`, `device_locked`).
    """
    state = await streams.state(device.tenant_id, device.device_id, d.rebuild)
    tenant = await streams.state(device.tenant_id, device.tenant_id, t.rebuild)
    if state is None or tenant is None:
        raise Unauthenticated("device_unknown")
    require_device(state, operation, served=tenant.status == "active")
    return tenant


async def check_served(streams: Streams, tenant_id: TenantId) -> None:
    """Raises Forbidden (`tenant_suspended`). The platform itself is always served."""
    if tenant_id == PLATFORM:
        return
    tenant = await streams.state(tenant_id, tenant_id, t.rebuild)
    if tenant is None:
        raise Forbidden("tenant_suspended", "there is no such tenant any more")
    t.serve(tenant)
