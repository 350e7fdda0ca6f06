"""Fleet commands: register, pairing code, revoke (003 §3.9; reference broker.md §3.1)."""

from datetime import timedelta
from typing import Final
from uuid import UUID, uuid5

from application.execute import Done, execute, stream_of
from application.fleet.pairing_codes import IssuedPairingCode, PairingCodes
from application.ports import Clock, EventLog, IdSource, Revocations, Streams
from application.principals import Caller
from application.tenants.linked_services import by_product_key
from domain import device as d
from domain import device_ca as ca
from domain import pairing_code as p
from domain import user as u
from domain.errors import Conflict, Invalid, NotFound, PreconditionFailed
from domain.events import StreamAppend
from domain.ids import PLATFORM, DeviceId, TenantId

_rebuild: Final = stream_of(d.DeviceRegistered, d.rebuild)
_user: Final = stream_of(u.UserSignedUp, u.rebuild)


class Devices:
    def __init__(
        self,
        log: EventLog,
        streams: Streams,
        revocations: Revocations,
        codes: PairingCodes,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._streams = streams
        self._revocations = revocations
        self._codes = codes
        self._clock = clock
        self._ids = ids

    async def register(
        self, caller: Caller, registered: d.DeviceRegistered, key: str | None
    ) -> tuple[d.Device, IssuedPairingCode | None, Done]:
        """A device and its first pairing code. A repeat shows the same code while it lives.

        Raises Invalid and what `check_binding` raises.
        """
        await self.check_binding(caller.tenant_id, registered)
        command_id = caller.command("device.register", key, self._ids.uuid())
        device_id = DeviceId(uuid5(command_id, "device") if key is not None else self._ids.uuid())
        done = await execute(
            self._log,
            caller.origin(command_id),
            caller.tenant_id,
            device_id,
            _rebuild,
            lambda device: d.register(device, registered),
        )
        device = await self.get(caller.tenant_id, device_id)
        if device.code_number == 0:
            code, done = await self.issue_pairing_code(caller, device_id, key)
            return await self.get(caller.tenant_id, device_id), code, done
        return device, self._codes.live(device), done

    async def get(self, tenant_id: TenantId, device_id: UUID) -> d.Device:
        """Raises NotFound (`device_not_found`) for an unknown and another tenant's device alike."""
        device = _rebuild(await self._log.load(tenant_id, device_id))
        if device is None:
            raise NotFound("device_not_found")
        return device

    async def issue_pairing_code(
        self, caller: Caller, device_id: UUID, key: str | None
    ) -> tuple[IssuedPairingCode, Done]:
        """A new code; the one before it is dead. Raises Conflict for a device that is paired."""
        command_id = uuid5(
            caller.command("device.pairing_code", key, self._ids.uuid()), device_id.hex
        )
        expires_at = self._clock.now() + timedelta(seconds=p.LIFETIME_S)
        distrusted = ca.rebuild(await self._log.load(PLATFORM, ca.DEVICE_CA)).distrusted

        async def beside() -> list[StreamAppend]:
            number = (await self.get(caller.tenant_id, device_id)).code_number + 1
            issued = p.PairingCodeIssued(
                for_tenant=caller.tenant_id,
                device_id=DeviceId(device_id),
                code_number=number,
                expires_at=expires_at,
            )
            return [
                StreamAppend(
                    tenant_id=PLATFORM,
                    stream_id=self._codes.numbered(device_id, number),
                    expected_version=0,
                    events=[issued],
                )
            ]

        def decide(device: d.Device | None) -> list[d.DeviceEvent]:
            if device is None:
                raise NotFound("device_not_found")
            held = device.certificate
            stranded = held is not None and held.authority in distrusted
            return d.issue_pairing_code(device, expires_at, stranded=stranded)

        done = await execute(
            self._log,
            caller.origin(command_id),
            caller.tenant_id,
            device_id,
            _rebuild,
            decide,
            beside,
        )
        device = await self.get(caller.tenant_id, device_id)
        code = self._codes.live(device)
        if code is None:
            raise Conflict("pairing_code_superseded")
        return code, done

    async def revoke(
        self,
        caller: Caller,
        device_id: UUID,
        reason: d.RevocationReason,
        if_version: int | None,
    ) -> Done:
        """Refuse the device from now on: here at once, in every process within a second."""

        def decide(device: d.Device | None) -> list[d.DeviceEvent]:
            if device is None:
                raise NotFound("device_not_found")
            if if_version is not None and device.version != if_version:
                raise PreconditionFailed("version_mismatch", f"current is {device.version}")
            return d.revoke(device, reason)

        done = await execute(
            self._log,
            caller.origin(self._ids.uuid()),
            caller.tenant_id,
            device_id,
            _rebuild,
            decide,
        )
        self._revocations.revoked(
            [
                fingerprint
                for event in done.events
                if isinstance(event, d.DeviceRevoked)
                for fingerprint in event.fingerprints
            ]
        )
        return done

    async def check_binding(self, tenant_id: TenantId, registered: d.DeviceRegistered) -> None:
        """Raises Invalid (`linked_service_not_found`, `action_not_allowed`), NotFound
        (`user_not_found`) and Forbidden (`user_suspended`, `user_erased`)."""
        if registered.bound_user is not None:
            user = _user(await self._log.load(tenant_id, registered.bound_user))
            if user is None:
                raise NotFound("user_not_found")
            u.serve(user)
        if registered.bound_product is None:
            return
        service = await by_product_key(self._streams, tenant_id, registered.bound_product)
        if service is None or service.status != "active":
            raise Invalid("linked_service_not_found", "bound_product names no active service")
        allowed = service.routing.allowed_actions
        if allowed and registered.bound_action not in allowed:
            raise Invalid("action_not_allowed", "the linked service does not allow this action")
