"""Notes in the log what the breakers of all processes do, and recalls it after a restart."""

from typing import Final
from uuid import UUID

from application.execute import execute
from application.ports import EventLog, IdSource
from application.ports.circuits import CircuitChange
from domain import circuit as c
from domain.errors import Unavailable
from domain.events import Origin
from domain.ids import LinkedServiceId, TenantId, circuit_id

ACTOR: Final = "system:breaker"


class Circuits:
    def __init__(self, log: EventLog, ids: IdSource) -> None:
        self._log = log
        self._ids = ids

    async def note(self, change: CircuitChange) -> None:
        """Note it, unless somebody has. Raises CommitFailed, Unavailable and StaleStream."""
        service_id = LinkedServiceId(change.service_id)
        event: c.CircuitEvent = c.CircuitClosed(service_id=service_id)
        if change.after == "open":
            event = c.CircuitOpened(
                service_id=service_id,
                openings=change.openings,
                open_s=change.open_s,
                failures=change.failures,
                devices=change.devices,
                enforced=change.enforced,
            )
        command_id = self._ids.uuid()
        await execute(
            self._log,
            Origin(actor=ACTOR, correlation_id=command_id, command_id=command_id),
            change.tenant_id,
            circuit_id(service_id),
            c.rebuild,
            lambda circuit: c.note(circuit, event),
        )

    async def recall(self, tenant_id: TenantId, service_id: UUID) -> c.Circuit | None:
        """How the circuit was noted last; None as well when the log cannot be asked now: then it
        counts as closed, and a product that is down is found out again."""
        try:
            return c.rebuild(await self._log.load(tenant_id, circuit_id(service_id)))
        except Unavailable:
            return None
