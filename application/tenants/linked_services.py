"""Linked-service commands: register, change, suspend, resume, delete (004 §10.2)."""

from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Final, Protocol
from uuid import UUID, uuid5

from application.execute import Done, execute, stream_of
from application.ports import Clock, EgressPolicy, EventLog, IdSource, StaleStream, Streams
from application.principals import Caller
from domain import breaker_control as bc
from domain import claim as k
from domain import linked_service as ls
from domain.errors import Conflict, NotFound, PreconditionFailed
from domain.events import StreamAppend
from domain.ids import ClaimId, LinkedServiceId, TenantId, claim_id

_rebuild: Final = stream_of(ls.LinkedServiceRegistered, ls.rebuild)


class BoundDevices(Protocol):
    async def count(self, tenant_id: TenantId, product_key: str) -> int:
        """How many devices that are not revoked are bound to the product, as of now."""
        ...


class LinkedServices:
    def __init__(
        self,
        log: EventLog,
        egress: EgressPolicy,
        devices: BoundDevices,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._egress = egress
        self._devices = devices
        self._clock = clock
        self._ids = ids

    async def register(
        self, caller: Caller, product_key: str, routing: ls.Routing, key: str | None
    ) -> tuple[ls.LinkedService, Done]:
        """Raises Conflict (`product_key_taken`) when the tenant already has such a product."""
        ls.check_routing(routing)
        await self._egress.check(routing.base_url)
        command_id = caller.command("linked_service.register", key, self._ids.uuid())
        service_id = LinkedServiceId(
            uuid5(command_id, "linked_service") if key is not None else self._ids.uuid()
        )
        done = await execute(
            self._log,
            caller.origin(command_id),
            caller.tenant_id,
            service_id,
            _rebuild,
            lambda service: ls.register(service, product_key=product_key, routing=routing),
            lambda: self._claim(caller.tenant_id, product_key, service_id),
        )
        return await self.get(caller.tenant_id, service_id), done

    async def get(self, tenant_id: TenantId, service_id: UUID) -> ls.LinkedService:
        """Raises NotFound for another tenant's, an unknown and a deleted service alike."""
        service = _rebuild(await self._log.load(tenant_id, service_id))
        if service is None or service.status == "deleted":
            raise NotFound("linked_service_not_found")
        return service

    async def change(
        self,
        caller: Caller,
        service_id: UUID,
        if_version: int | None,
        change: Callable[[ls.Routing], ls.Routing],
        status: str | None,
    ) -> tuple[ls.LinkedService, Done]:
        """Change the routing and, when `status` is given, suspend or resume, in one commit.

        Raises PreconditionFailed when the service is not at `if_version`.
        """
        routing = change((await self.get(caller.tenant_id, service_id)).routing)
        ls.check_routing(routing)
        await self._egress.check(routing.base_url)

        def decide(service: ls.LinkedService | None) -> list[ls.LinkedServiceEvent]:
            present = _at(service, if_version)
            events = ls.change(present, change(present.routing))
            if status == "suspended":
                events += ls.suspend(present)
            elif status == "active":
                events += ls.resume(present)
            return events

        done = await self._execute(caller, service_id, decide)
        return await self.get(caller.tenant_id, service_id), done

    async def set_breaker(
        self,
        caller: Caller,
        service_id: UUID,
        if_version: int | None,
        control: bc.BreakerControl,
        reason: bc.BreakerReason,
    ) -> tuple[ls.LinkedService, Done]:
        """Take the breaker in hand, or give it back.

        Raises PreconditionFailed when the service is not at `if_version`, Invalid
        (`until_invalid`, `devices_invalid`).
        """
        now = self._clock.now()

        def decide(service: ls.LinkedService | None) -> list[ls.LinkedServiceEvent]:
            return ls.set_breaker(_at(service, if_version), control, reason, now)

        done = await self._execute(caller, service_id, decide)
        return await self.get(caller.tenant_id, service_id), done

    async def delete(self, caller: Caller, service_id: UUID, if_version: int | None) -> Done:
        """Raises Conflict (`devices_bound`) while devices would be left without a product."""
        service = await self.get(caller.tenant_id, service_id)
        bound = await self._devices.count(caller.tenant_id, service.product_key)
        if bound:
            raise Conflict("devices_bound", extra={"count": bound})

        def decide(found: ls.LinkedService | None) -> list[ls.LinkedServiceEvent]:
            return ls.delete(_at(found, if_version))

        return await self._execute(
            caller,
            service_id,
            decide,
            lambda: self._release(caller.tenant_id, service.product_key),
        )

    async def _execute(
        self,
        caller: Caller,
        service_id: UUID,
        decide: Callable[[ls.LinkedService | None], Sequence[ls.LinkedServiceEvent]],
        beside: Callable[[], Awaitable[Sequence[StreamAppend]]] | None = None,
    ) -> Done:
        origin = caller.origin(self._ids.uuid())
        return await execute(
            self._log, origin, caller.tenant_id, service_id, _rebuild, decide, beside
        )

    async def _claim(
        self, tenant_id: TenantId, product_key: str, service_id: LinkedServiceId
    ) -> list[StreamAppend]:
        stream = product_claim(tenant_id, product_key)
        claim = k.rebuild(await self._log.load(tenant_id, stream))
        if claim is not None and claim.owner == service_id:
            # This very command got in between: look again, and find it carried out.
            raise StaleStream([service_id])
        if claim is not None and claim.owner is not None:
            raise Conflict("product_key_taken", "the tenant already has this product_key")
        taken = k.ClaimTaken(kind=k.PRODUCT_KEY, owner=service_id)
        return [_to_claim(tenant_id, stream, claim, taken)]

    async def _release(self, tenant_id: TenantId, product_key: str) -> list[StreamAppend]:
        stream = product_claim(tenant_id, product_key)
        claim = k.rebuild(await self._log.load(tenant_id, stream))
        return [_to_claim(tenant_id, stream, claim, k.ClaimReleased(kind=k.PRODUCT_KEY))]


@lru_cache(maxsize=4096)
def product_claim(tenant_id: TenantId, product_key: str) -> ClaimId:
    """The stream that says whose the key is. Every transaction asks, and few keys are asked for."""
    return claim_id(tenant_id, k.PRODUCT_KEY, product_key)


async def by_product_key(
    streams: Streams, tenant_id: TenantId, product_key: str
) -> ls.LinkedService | None:
    """The service that a product key stands for now: claim first, then its owner."""
    stream = product_claim(tenant_id, product_key)
    claim = await streams.state(tenant_id, stream, k.rebuild)
    if claim is None or claim.owner is None:
        return None
    return await streams.state(tenant_id, claim.owner, ls.rebuild)


def _present(service: ls.LinkedService | None) -> ls.LinkedService:
    if service is None or service.status == "deleted":
        raise NotFound("linked_service_not_found")
    return service


def _at(service: ls.LinkedService | None, if_version: int | None) -> ls.LinkedService:
    present = _present(service)
    if if_version is not None and present.version != if_version:
        raise PreconditionFailed("version_mismatch", f"current is {present.version}")
    return present


def _to_claim(
    tenant_id: TenantId, stream: UUID, claim: k.Claim | None, event: k.ClaimEvent
) -> StreamAppend:
    version = 0 if claim is None else claim.version
    return StreamAppend(
        tenant_id=tenant_id, stream_id=stream, expected_version=version, events=[event]
    )
