"""Circuit: what the breaker before one linked service did, for whoever must know (004 §10.6).

Whether calls go through is settled where they are made and is gone with the processes; these are
the notes of it. They stand in a stream of their own, so that an outage moves no ETag under an
admin's hands. Several processes may note the same thing; it is noted once.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import ClassVar, Literal

import msgspec

from domain.events import DomainEvent, Recorded
from domain.fail_mode import FailureClass
from domain.folding import UnexpectedEvent, fold
from domain.ids import LinkedServiceId

CircuitState = Literal["closed", "open", "half_open"]
"""Half open is an opening that has run its time: a few calls show whether the product is back."""


class FailureCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many calls failed, by the way in which they did."""

    authorize_timeout: int = 0
    connect_error: int = 0
    product_5xx: int = 0
    product_malformed: int = 0

    def and_one(self, failure: FailureClass) -> "FailureCounts":
        return msgspec.structs.replace(self, **{failure: getattr(self, failure) + 1})


class CircuitOpened(DomainEvent, frozen=True, kw_only=True):
    """The product is not asked for `open_s` seconds, because calls of `devices` devices failed.

    `openings` is 1 for a circuit that was closed; beyond it a probe has failed, and that call is
    what `failures` counts. `enforced` is False where the breaker only observes.
    """

    NAME: ClassVar[str] = "linked_service.circuit_opened"
    service_id: LinkedServiceId
    openings: int
    open_s: float
    failures: FailureCounts
    devices: int
    enforced: bool = True


class CircuitClosed(DomainEvent, frozen=True, kw_only=True):
    """The product is asked again."""

    NAME: ClassVar[str] = "linked_service.circuit_closed"
    service_id: LinkedServiceId


CircuitEvent = CircuitOpened | CircuitClosed


class Circuit(msgspec.Struct, frozen=True, kw_only=True):
    """As it was noted last; `openings` is 0 for a closed one, and `open_until` is then past."""

    openings: int
    open_until: datetime


def note(circuit: Circuit | None, event: CircuitEvent) -> list[CircuitEvent]:
    """What is news of this: an opening beyond those that are known, the end of one."""
    openings = 0 if circuit is None else circuit.openings
    if isinstance(event, CircuitOpened):
        return [event] if event.openings > openings else []
    return [event] if openings else []


def evolve(_: Circuit | None, recorded: Recorded) -> Circuit:
    match recorded.event:
        case CircuitOpened() as event:
            until = recorded.recorded_at + timedelta(seconds=event.open_s)
            return Circuit(openings=event.openings, open_until=until)
        case CircuitClosed():
            return Circuit(openings=0, open_until=recorded.recorded_at)
        case other:
            raise UnexpectedEvent(other)


def rebuild(past: Iterable[Recorded]) -> Circuit | None:
    return fold(evolve, past)
