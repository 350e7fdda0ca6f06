"""What is known of devices from their heartbeats, and which commands wait for them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from domain.ids import DeviceCommandId, DeviceId, TenantId
from domain.presence import Beat, Heard


class DeviceReport(msgspec.Struct, frozen=True, kw_only=True):
    """A device as it was last heard of; `reported` is its own word about itself, by name."""

    heard: Heard
    reported: Mapping[str, str]


class Presences(Protocol):
    """Raises psycopg.Error."""

    async def hear(
        self, tenant_id: TenantId, device_id: DeviceId, beat: Beat, reported: Mapping[str, str]
    ) -> Heard | None:
        """Count one heartbeat and say what is known now; None for one that says nothing new.

        Of two at the same moment one comes after the other.
        """
        ...

    async def of(
        self, tenant_id: TenantId, devices: Sequence[DeviceId]
    ) -> Mapping[DeviceId, DeviceReport]:
        """Those of the devices that were ever heard of."""
        ...


class Turned(msgspec.Struct, frozen=True, kw_only=True):
    """A device of which something is to be told, as far as the table knows."""

    tenant_id: TenantId
    device_id: DeviceId
    heard: Heard
    offline: bool


class PresenceBook(Protocol):
    """The presence of all tenants' devices. Raises psycopg.Error."""

    async def turned(self, now: datetime, since: datetime, limit: int) -> Sequence[Turned]:
        """Devices whose presence is other than was told.

        Nobody is offline for silence before `since`: nobody was listening then.
        """
        ...

    async def told(self, turned: Turned) -> None: ...

    async def forget(self, turned: Turned) -> None:
        """The device is none any more."""
        ...


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    tenant_id: TenantId
    command_id: DeviceCommandId


class OpenCommands(Protocol):
    """A hint of where to look: it may be behind the log. Raises psycopg.Error."""

    async def of(self, tenant_id: TenantId, device_id: DeviceId) -> Sequence[DeviceCommandId]:
        """A device's open commands in the order in which they were queued, a hundred at most."""
        ...

    async def overdue(self, before: datetime, limit: int) -> Sequence[Waiting]:
        """Open commands of all tenants that ran out before then, the oldest first."""
        ...
