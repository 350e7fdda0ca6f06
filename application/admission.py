"""Whether a device may do this now, and for which tenant it does."""

from application.permissions import DeviceOperation, require_device
from application.ports import Streams
from application.principals import DevicePrincipal
from domain import device as d
from domain import tenant as t
from domain.errors import Unauthenticated


async def admitted(
    streams: Streams, device: DevicePrincipal, operation: DeviceOperation
) -> t.Tenant:
    """The tenant of a device that may do this.

    Raises Unauthenticated (`device_unknown`) and Forbidden (`device_type_not_allowed`,
    `device_locked`).
    """
    state = await streams.state(device.tenant_id, device.device_id, d.rebuild)
    tenant = await streams.state(device.tenant_id, device.tenant_id, t.rebuild)
    if state is None or tenant is None:
        raise Unauthenticated("device_unknown")
    require_device(state, operation)
    return tenant
