"""The products behind linked services, and what a question to them is made of."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol
from uuid import UUID

import msgspec

from domain.breaker_control import BreakerMode
from domain.ids import DeviceId, TenantId
from domain.linked_service import BreakerSettings
from domain.transaction import ProductText

AuthorizeFailure = Literal[
    "authorize_timeout",
    "circuit_open",
    "connect_error",
    "product_5xx",
    "product_malformed",
    "assertion_rejected",
    "product_refused",
    "egress_blocked",
]


class Authorized(msgspec.Struct, frozen=True, kw_only=True):
    """A well-formed answer of the product (004 §10.4), cleaned for a terminal."""

    decision: Literal["allow", "deny"]
    display_message: str = ""
    reference_id: str | None = None
    ttl_seconds: int = 0
    reason_code: str | None = None

    @property
    def text(self) -> ProductText | None:
        """What it wrote; None when it wrote nothing."""
        if not self.display_message and self.reference_id is None:
            return None
        return ProductText(display_message=self.display_message, reference_id=self.reference_id)


class AuthorizeFailed(Exception):
    """No well-formed answer. `reached` is False only when certainly no byte left us; `drill` when
    nobody was meant to be asked."""

    def __init__(
        self, failure: AuthorizeFailure, *, reached: bool, detail: str = "", drill: bool = False
    ) -> None:
        self.failure: AuthorizeFailure = failure
        self.reached = reached
        self.detail = detail
        self.drill = drill
        super().__init__(failure)


class AuthorizeCall(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at one product, as 004 §10.4 and reference broker.md §3.7 describe it.

    `device_id` is for the circuit breaker alone, which weighs failures per device. `trace_id` is
    the id that everything caused by the device's request bears.
    """

    tenant_id: TenantId
    service_id: UUID
    device_id: DeviceId
    url: str
    bearer: str
    body: bytes
    idempotency_key: str
    deadline_s: float
    breaker: BreakerSettings = BreakerSettings()
    mode: BreakerMode = "auto"
    trace_id: UUID | None = None


class LinkedServiceGateway(Protocol):
    async def authorize(self, call: AuthorizeCall) -> Authorized:
        """Ask once, within a total deadline. Raises AuthorizeFailed; never retries."""
        ...


class EgressPolicy(Protocol):
    async def check(self, url: str) -> None:
        """Raises Invalid (`url_forbidden` and kin) unless we may call this URL."""
        ...


class AssertionSigner(Protocol):
    def sign(self, claims: Mapping[str, Any]) -> str:
        """A compact JWS, ES256, `typ: identity-assertion+jwt`; `iss` is set here."""
        ...


class CanonicalJSON(Protocol):
    def canonical(self, value: Any) -> bytes:
        """RFC 8785 (JCS) bytes. Raises Invalid (`context_not_canonical`) for what has none."""
        ...
