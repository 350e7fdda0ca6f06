"""LinkedService: a product backend that the broker asks, and how it may be asked (004 §10.2)."""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, ClassVar, Final, Literal

import msgspec

from domain import breaker_control as bc
from domain.errors import Conflict, Invalid
from domain.events import DomainEvent, Recorded
from domain.fail_mode import FAILURE_CLASSES, FailMode, FailureClass
from domain.folding import UnexpectedEvent, fold
from domain.ids import DeviceId, LinkedServiceId, TenantId

NetworkFailure = Literal["authorize_timeout", "connect_error", "product_5xx", "circuit_open"]

_PRODUCT_KEY: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_ACTION: Final = re.compile(r"[a-z][a-z0-9_.-]{0,62}")
_PATH: Final = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:/-]{0,255}")
_AMOUNT: Final = re.compile(r"[0-9]{1,18}(\.[0-9]{1,5})?")
_TOTAL: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,3})?")
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_POINTER: Final = re.compile(r"(/([^~/]|~[01])*)*")

Path = Annotated[str, msgspec.Meta(max_length=256)]


class StandInWindow(msgspec.Struct, frozen=True, kw_only=True):
    """How many stand-ins a lane may have in so many seconds, and how much they may add up to."""

    seconds: Annotated[int, msgspec.Meta(ge=60, le=86_400)] = 3600
    count: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] | None = None
    total_amount: Annotated[str, msgspec.Meta(max_length=16)] | None = None


class StandIn(msgspec.Struct, frozen=True, kw_only=True):
    """How far the platform may say `allow` in a silent product's place (design §2 row 20).

    Only for failures of the network class, and only within these budgets. The amount is a
    decimal string found in the context at `amount_pointer` (RFC 6901), and a context without one
    is not stood in for. Null says that nothing is paid here, so that no amount is looked for. With
    a `currency` (ISO 4217) the context must name that one at `currency_pointer`; without one
    `max_amount` counts in whatever the context says. What `per_window` bounds is the lane, beside
    `per_minute`; every bound must hold.
    """

    enabled_for: tuple[NetworkFailure, ...] = (
        "authorize_timeout",
        "connect_error",
        "product_5xx",
        "circuit_open",
    )
    max_amount: Annotated[str, msgspec.Meta(max_length=24)] = "100"
    amount_pointer: Annotated[str, msgspec.Meta(max_length=128)] | None = "/amount"
    currency: Annotated[str, msgspec.Meta(max_length=3)] | None = None
    currency_pointer: Annotated[str, msgspec.Meta(max_length=128)] = "/currency"
    per_user_per_hour: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 5
    per_minute: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 50
    per_window: StandInWindow | None = None


class BreakerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """When calls to one product stop and start again (004 §10.6; reference broker.md §3.8).

    Rates are fractions of 1, times are seconds. The circuit opens after `consecutive_failures`
    in a row, or when `failure_rate` (or `slow_rate`) is reached within `window_s` over at least
    `min_calls` calls. Only failures of the classes that are `counted` say anything.
    """

    window_s: Annotated[float, msgspec.Meta(ge=1, le=600)] = 30.0
    min_calls: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 10
    failure_rate: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.5
    slow_rate: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.8
    consecutive_failures: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 5
    open_s: Annotated[float, msgspec.Meta(ge=0.1, le=3600)] = 10.0
    open_max_s: Annotated[float, msgspec.Meta(ge=0.1, le=3600)] = 120.0
    half_open_calls: Annotated[int, msgspec.Meta(ge=1, le=3)] = 3
    counted: tuple[FailureClass, ...] = FAILURE_CLASSES


class ShadowPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Another way to meet the product's silence, tried without effect: whenever the product does
    not answer it is noted what this one would have decided, within budgets of its own."""

    fail_mode: FailMode = "open"
    stand_in: StandIn = StandIn()


class Routing(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how a product is called. The seed's fields and the broker's additions."""

    base_url: str
    authorize_path: Path = "/authorize"
    health_path: Path = "/health"
    void_path: Path | None = None
    advice_path: Path | None = None
    timeout_ms: Annotated[int, msgspec.Meta(ge=50, le=10_000)] = 800
    fail_mode: FailMode = "closed"
    allowed_actions: tuple[str, ...] = ()
    stand_in: StandIn = StandIn()
    breaker: BreakerSettings = BreakerSettings()
    shadow: ShadowPolicy | None = None


class LinkedServiceRegistered(DomainEvent, frozen=True, kw_only=True):
    """A product backend can be bound to devices from now on."""

    NAME: ClassVar[str] = "linked_service.registered"
    product_key: str
    routing: Routing


class LinkedServiceChanged(DomainEvent, frozen=True, kw_only=True):
    """The product is called in this way from now on. `routing` is whole, `changed` names fields."""

    NAME: ClassVar[str] = "linked_service.changed"
    routing: Routing
    changed: tuple[str, ...]


class LinkedServiceSuspended(DomainEvent, frozen=True, kw_only=True):
    """The product is not called; its devices are refused."""

    NAME: ClassVar[str] = "linked_service.suspended"


class LinkedServiceResumed(DomainEvent, frozen=True, kw_only=True):
    """The product is called again."""

    NAME: ClassVar[str] = "linked_service.resumed"


class LinkedServiceBreakerSet(DomainEvent, frozen=True, kw_only=True):
    """Somebody took the breaker in hand, or gave it back (`auto`)."""

    NAME: ClassVar[str] = "linked_service.breaker_set"
    mode: bc.BreakerMode
    reason: bc.BreakerReason
    until: datetime | None
    devices: tuple[DeviceId, ...] = ()


class LinkedServiceDeleted(DomainEvent, frozen=True, kw_only=True):
    """The product is gone for good; its key is free."""

    NAME: ClassVar[str] = "linked_service.deleted"


LinkedServiceEvent = (
    LinkedServiceRegistered
    | LinkedServiceChanged
    | LinkedServiceSuspended
    | LinkedServiceResumed
    | LinkedServiceBreakerSet
    | LinkedServiceDeleted
)


class LinkedService(msgspec.Struct, frozen=True, kw_only=True):
    """`registered` is what was first asked for, so that a repeat of that request is known."""

    id: LinkedServiceId
    tenant_id: TenantId
    version: int
    product_key: str
    registered: Routing
    routing: Routing
    status: Literal["active", "suspended", "deleted"]
    control: bc.BreakerControl = bc.BreakerControl()


def register(
    service: LinkedService | None, *, product_key: str, routing: Routing
) -> list[LinkedServiceEvent]:
    """The same registration again says nothing; another one under the same id is refused."""
    if service is not None:
        if (service.product_key, service.registered) != (product_key, routing):
            raise Invalid("idempotency_key_reused", "this key was used for another request")
        return []
    if _PRODUCT_KEY.fullmatch(product_key) is None:
        raise Invalid("product_key_invalid", "a letter, then up to 62 of a-z, 0-9, _ and -")
    check_routing(routing)
    return [LinkedServiceRegistered(product_key=product_key, routing=routing)]


def change(service: LinkedService, routing: Routing) -> list[LinkedServiceEvent]:
    if service.status == "deleted":
        raise Conflict("linked_service_deleted")
    check_routing(routing)
    changed = tuple(
        field
        for field in Routing.__struct_fields__
        if getattr(routing, field) != getattr(service.routing, field)
    )
    return [LinkedServiceChanged(routing=routing, changed=changed)] if changed else []


def suspend(service: LinkedService) -> list[LinkedServiceEvent]:
    return [LinkedServiceSuspended()] if service.status == "active" else []


def resume(service: LinkedService) -> list[LinkedServiceEvent]:
    return [LinkedServiceResumed()] if service.status == "suspended" else []


def set_breaker(
    service: LinkedService, control: bc.BreakerControl, reason: bc.BreakerReason, now: datetime
) -> list[LinkedServiceEvent]:
    """Take the breaker in hand. Raises Invalid (`until_invalid`, `devices_invalid`)."""
    bc.check(control, now)
    said = msgspec.structs.replace(control, reason=reason)
    if said == service.control:
        return []
    return [
        LinkedServiceBreakerSet(
            mode=said.mode, reason=reason, until=said.until, devices=said.devices
        )
    ]


def delete(service: LinkedService) -> list[LinkedServiceEvent]:
    return [] if service.status == "deleted" else [LinkedServiceDeleted()]


def allows(service: LinkedService, action: str) -> bool:
    """Whether a device may ask for this action; a service without a list takes every one."""
    allowed = service.routing.allowed_actions
    return not allowed or action in allowed


def check_routing(routing: Routing) -> None:
    """Raises Invalid for a path or action that could be read as something else (broker.md §6 E).

    A client that follows RFC 3986 §6.2.2 reads `/a/%2e%2e/b` as `/b`, so a path is written
    without percent signs.
    """
    paths = (routing.authorize_path, routing.health_path, routing.void_path, routing.advice_path)
    for path in paths:
        if path is not None and not _is_plain_path(path):
            raise Invalid(
                "path_invalid", "a path begins with a / and has no dot segments, %, // or query"
            )
    _check_stand_in(routing.stand_in)
    if routing.shadow is not None:
        _check_stand_in(routing.shadow.stand_in)
    if len(routing.allowed_actions) > 32 or len(set(routing.allowed_actions)) != len(
        routing.allowed_actions
    ):
        raise Invalid("allowed_actions_invalid", "at most 32 different actions")
    for action in routing.allowed_actions:
        check_action(action)


def _check_stand_in(stand_in: StandIn) -> None:
    if _AMOUNT.fullmatch(stand_in.max_amount) is None:
        raise Invalid("stand_in_invalid", "max_amount is a decimal number without sign")
    total = None if stand_in.per_window is None else stand_in.per_window.total_amount
    if total is not None and _TOTAL.fullmatch(total) is None:
        raise Invalid("stand_in_invalid", "total_amount is a decimal number without sign")
    if total is not None and stand_in.amount_pointer is None:
        raise Invalid("stand_in_invalid", "a total without an amount says nothing")
    for pointer in (stand_in.amount_pointer, stand_in.currency_pointer):
        if pointer is not None and _POINTER.fullmatch(pointer) is None:
            raise Invalid("stand_in_invalid", "a pointer is a JSON pointer (RFC 6901)")
    if stand_in.currency is not None:
        if _CURRENCY.fullmatch(stand_in.currency) is None:
            raise Invalid("stand_in_invalid", "currency is a code of ISO 4217")
        if stand_in.amount_pointer is None:
            raise Invalid("stand_in_invalid", "a currency without an amount says nothing")


def _is_plain_path(path: str) -> bool:
    if _PATH.fullmatch(path) is None:
        return False
    return not ("//" in path or ".." in path or "." in path.split("/"))


def check_action(action: str) -> None:
    if _ACTION.fullmatch(action) is None:
        raise Invalid("action_invalid", "a letter, then up to 62 of a-z, 0-9, _, . and -")


def evolve(service: LinkedService | None, recorded: Recorded) -> LinkedService:
    replace = msgspec.structs.replace
    match recorded.event:
        case LinkedServiceRegistered() as event:
            return LinkedService(
                id=LinkedServiceId(recorded.stream_id),
                tenant_id=recorded.tenant_id,
                version=recorded.version,
                product_key=event.product_key,
                registered=event.routing,
                routing=event.routing,
                status="active",
            )
        case LinkedServiceChanged() as event if service is not None:
            return replace(service, version=recorded.version, routing=event.routing)
        case LinkedServiceSuspended() if service is not None:
            return replace(service, version=recorded.version, status="suspended")
        case LinkedServiceResumed() if service is not None:
            return replace(service, version=recorded.version, status="active")
        case LinkedServiceBreakerSet() as event if service is not None:
            control = bc.BreakerControl(
                mode=event.mode, reason=event.reason, until=event.until, devices=event.devices
            )
            return replace(service, version=recorded.version, control=control)
        case LinkedServiceDeleted() if service is not None:
            return replace(service, version=recorded.version, status="deleted")
        case other:
            raise UnexpectedEvent(other)


def rebuild(past: Iterable[Recorded]) -> LinkedService | None:
    return fold(evolve, past)
