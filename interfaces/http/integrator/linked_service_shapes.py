"""A linked service as callers write and see it."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec

from application.ports.health import HealthRecord
from domain.fail_mode import FailMode
from domain.ids import wire
from domain.linked_service import (
    BreakerSettings,
    LinkedService,
    Path,
    Routing,
    ShadowPolicy,
    StandIn,
    StandInWindow,
)
from interfaces.http.integrator.health import HealthShown, health_shown
from interfaces.http.services import Services
from projections import linked_services as view

PREFIX: Final = "lsvc"

Url = Annotated[str, msgspec.Meta(min_length=8, max_length=512)]
ProductKey = Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_-]{0,62}$")]
Timeout = Annotated[int, msgspec.Meta(ge=50, le=10_000)]
Actions = Annotated[
    tuple[Annotated[str, msgspec.Meta(max_length=63)], ...], msgspec.Meta(max_length=32)
]


class StandInWindowBody(StandInWindow, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller writes; the log reads the tolerant shape."""

    def plain(self) -> StandInWindow:
        return StandInWindow(
            **{name: getattr(self, name) for name in StandInWindow.__struct_fields__}
        )


class StandInBody(StandIn, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller writes; the log reads the tolerant shape."""

    per_window: StandInWindowBody | None = None

    def plain(self) -> StandIn:
        return StandIn(**{name: _plain(getattr(self, name)) for name in StandIn.__struct_fields__})


class BreakerBody(BreakerSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller writes; the log reads the tolerant shape."""

    def plain(self) -> BreakerSettings:
        return BreakerSettings(
            **{name: getattr(self, name) for name in BreakerSettings.__struct_fields__}
        )


class ShadowBody(ShadowPolicy, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller writes; the log reads the tolerant shape."""

    stand_in: StandInBody = StandInBody()

    def plain(self) -> ShadowPolicy:
        return ShadowPolicy(fail_mode=self.fail_mode, stand_in=self.stand_in.plain())


class NewLinkedService(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a Tenant Admin fills in (004 diagram 8.4) and what the broker adds to it."""

    product_key: ProductKey
    base_url: Url
    authorize_path: Path = "/authorize"
    health_path: Path = "/health"
    void_path: Path | None = None
    advice_path: Path | None = None
    timeout_ms: Timeout = 800
    fail_mode: FailMode = "closed"
    allowed_actions: Actions = ()
    stand_in: StandInBody = StandInBody()
    breaker: BreakerBody = BreakerBody()
    shadow: ShadowBody | None = None

    def routing(self) -> Routing:
        return Routing(**{name: _plain(getattr(self, name)) for name in Routing.__struct_fields__})


class LinkedServiceChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields to change; what is absent stays."""

    base_url: Url | msgspec.UnsetType = msgspec.UNSET
    authorize_path: Path | msgspec.UnsetType = msgspec.UNSET
    health_path: Path | msgspec.UnsetType = msgspec.UNSET
    void_path: Path | msgspec.UnsetType | None = msgspec.UNSET
    advice_path: Path | msgspec.UnsetType | None = msgspec.UNSET
    timeout_ms: Timeout | msgspec.UnsetType = msgspec.UNSET
    fail_mode: FailMode | msgspec.UnsetType = msgspec.UNSET
    allowed_actions: Actions | msgspec.UnsetType = msgspec.UNSET
    stand_in: StandInBody | msgspec.UnsetType = msgspec.UNSET
    breaker: BreakerBody | msgspec.UnsetType = msgspec.UNSET
    shadow: ShadowBody | msgspec.UnsetType | None = msgspec.UNSET
    status: Literal["active", "suspended"] | msgspec.UnsetType = msgspec.UNSET

    def apply(self, routing: Routing) -> Routing:
        given = {
            name: _plain(value)
            for name in Routing.__struct_fields__
            if (value := getattr(self, name)) is not msgspec.UNSET
        }
        return msgspec.structs.replace(routing, **given)


class LinkedServiceShown(msgspec.Struct, frozen=True, kw_only=True):
    """A linked service. No secret is part of it: products verify our assertion (004 §10.5).

    `health` is of this moment, and absent where the past is shown.
    """

    id: str
    product_key: str
    base_url: str
    authorize_path: str
    health_path: str
    void_path: str | None
    advice_path: str | None
    timeout_ms: int
    fail_mode: FailMode
    allowed_actions: tuple[str, ...]
    stand_in: StandIn
    breaker: BreakerSettings
    shadow: ShadowPolicy | None
    status: Literal["active", "suspended"]
    version: int
    audience: str
    registered_at: datetime | None = None
    changed_at: datetime | None = None
    health: HealthShown | None = None


class LinkedServicePage(msgspec.Struct, frozen=True, kw_only=True):
    items: list[LinkedServiceShown]
    next: str | None


def _plain(value: object) -> Any:
    if isinstance(value, StandInBody | StandInWindowBody | BreakerBody | ShadowBody):
        return value.plain()
    return value


def shown(
    services: Services,
    found: LinkedService | view.LinkedServiceRow,
    registered_at: datetime | None = None,
    changed_at: datetime | None = None,
    health: HealthRecord | None = None,
) -> LinkedServiceShown:
    service_id = found.id if isinstance(found, LinkedService) else found.service_id
    routing = {name: getattr(found.routing, name) for name in Routing.__struct_fields__}
    tenant, service = wire("ten", found.tenant_id), wire(PREFIX, service_id)
    return LinkedServiceShown(
        id=service,
        product_key=found.product_key,
        status="suspended" if found.status == "suspended" else "active",
        version=found.version,
        audience=f"{services.issuer}/tenants/{tenant}/linked-services/{service}",
        registered_at=registered_at,
        changed_at=changed_at,
        health=None if health is None else health_shown(health),
        **routing,
    )
