"""Asks a product for its decision over HTTP, once, and reads the answer without mercy.

What each answer means stands in reference broker.md §3.7, with one line settled: its table counts
every 4xx against the breaker, its checklist (§6 G) does not, because then one person's refused
context closes a lane. Here a 4xx says that the product is alive, and nothing more.
"""

import base64
import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Annotated, Final, Literal, Protocol, get_args
from uuid import UUID

import msgspec

from application.ports import (
    AuthorizeCall,
    Authorized,
    AuthorizeFailed,
    AuthorizeFailure,
    Clock,
)
from domain.ids import TenantId
from infrastructure.circuit_breaker import CircuitBreaker, Outcome, State
from infrastructure.outbound.client import Answer, OutboundFailed
from infrastructure.strict_json import NotAnObject, read_object
from infrastructure.terminal_text import clean

ANSWER_BYTES_MAX: Final = 16 * 1024
DISPLAY_CHARACTERS_MAX: Final = 120
BREAKERS_MAX: Final = 10_000
"""Beyond it the service that was not called for longest is forgotten, and counts as closed."""

SLOW_SHARE: Final = 0.8
"""An answer that takes more than this share of its deadline is slow to the breaker."""

_Printable = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[!-~ ]+\Z")]
_ReasonCode = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9_.\-]{1,64}\Z")]


class _Decision(msgspec.Struct, frozen=True):
    """The answer of 004 §10.4. Members that we do not know are ignored."""

    decision: Literal["allow", "deny"]
    display_message: Annotated[str, msgspec.Meta(max_length=4096)] | None = None
    reference_id: _Printable | None = None
    ttl_seconds: Annotated[int, msgspec.Meta(ge=0, le=300)] | None = None
    reason_code: _ReasonCode | None = None


class BreakerChange(msgspec.Struct, frozen=True, kw_only=True):
    """A circuit opened, half opened or closed. `open_s` is for how long, when it opened."""

    tenant_id: TenantId
    service_id: UUID
    before: State
    after: State
    open_s: float


class Requests(Protocol):
    """The part of `OutboundClient` that is used here."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        deadline_s: float,
        max_bytes: int,
    ) -> Answer: ...


class HttpLinkedServiceGateway:
    """Implements `application.ports.LinkedServiceGateway`. One per process: it holds the breakers.

    `on_breaker_change` is called in the middle of a transaction, so it must only take note.
    """

    def __init__(
        self,
        client: Requests,
        clock: Clock,
        on_breaker_change: Callable[[BreakerChange], None] | None = None,
    ) -> None:
        self._client = client
        self._clock = clock
        self._on_breaker_change = on_breaker_change
        self._breakers: OrderedDict[UUID, CircuitBreaker] = OrderedDict()

    def breaker_states(self) -> Mapping[State, int]:
        """How many of the services that this process has called are in each state."""
        counted = dict.fromkeys(get_args(State), 0)
        for breaker in self._breakers.values():
            counted[breaker.state] += 1
        return counted

    async def authorize(self, call: AuthorizeCall) -> Authorized:
        """Ask once, within `call.deadline_s` in all. Raises AuthorizeFailed; never retries."""
        permit = self._breaker(call).admit(call.device_id)
        if permit is None:
            raise AuthorizeFailed("circuit_open", reached=False, detail="the circuit is open")
        outcome: Outcome = "cancelled"
        retry_after_s = 0.0
        began = self._clock.monotonic()
        try:
            answer = await self._ask(call)
            retry_after_s = _retry_after_s(answer.headers)
            authorized = _read(answer)
            slow = self._clock.monotonic() - began > SLOW_SHARE * call.deadline_s
            outcome = "slow" if slow else "answered"
        except AuthorizeFailed as failed:
            outcome = _weight(failed.failure)
            raise
        finally:
            permit.settle(outcome, retry_after_s)
        return authorized

    async def _ask(self, call: AuthorizeCall) -> Answer:
        digest = base64.b64encode(hashlib.sha256(call.body).digest()).decode()
        headers = {
            "Authorization": f"Bearer {call.bearer}",
            "Content-Type": "application/json",
            "Content-Digest": f"sha-256=:{digest}:",
            "Idempotency-Key": call.idempotency_key,
            "X-Deadline-Ms": str(int(call.deadline_s * 1000)),
        }
        if call.trace_id is not None:
            # W3C Trace Context: the call is a step of its own in the trace.
            headers["traceparent"] = f"00-{call.trace_id.hex}-{os.urandom(8).hex()}-01"
        try:
            return await self._client.request(
                "POST",
                call.url,
                headers=headers,
                body=call.body,
                deadline_s=call.deadline_s,
                max_bytes=ANSWER_BYTES_MAX,
            )
        except OutboundFailed as failed:
            raise AuthorizeFailed(
                _failure_of(failed), reached=failed.reached, detail=failed.detail
            ) from failed

    def _breaker(self, call: AuthorizeCall) -> CircuitBreaker:
        breaker = self._breakers.get(call.service_id)
        if breaker is None:
            tenant_id, service_id = call.tenant_id, call.service_id
            breaker = self._breakers[service_id] = CircuitBreaker(
                call.breaker,
                self._clock.monotonic,
                lambda before, after, open_s: self._changed(
                    tenant_id, service_id, before, after, open_s
                ),
            )
            if len(self._breakers) > BREAKERS_MAX:
                self._breakers.popitem(last=False)
        else:
            self._breakers.move_to_end(call.service_id)
        breaker.settings = call.breaker
        return breaker

    def _changed(
        self, tenant_id: TenantId, service_id: UUID, before: State, after: State, open_s: float
    ) -> None:
        if self._on_breaker_change is not None:
            self._on_breaker_change(
                BreakerChange(
                    tenant_id=tenant_id,
                    service_id=service_id,
                    before=before,
                    after=after,
                    open_s=open_s,
                )
            )


def _read(answer: Answer) -> Authorized:
    failure = _failure_of_status(answer.status)
    if failure is not None:
        raise AuthorizeFailed(failure, reached=True, detail=f"status {answer.status}")
    media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise AuthorizeFailed("product_malformed", reached=True, detail="not application/json")
    try:
        decision = msgspec.convert(read_object(answer.body), _Decision)
    except (NotAnObject, msgspec.ValidationError) as error:
        # What the product sent is not repeated: the detail may be shown to an admin.
        detail = str(error) if isinstance(error, NotAnObject) else "not the agreed members"
        raise AuthorizeFailed("product_malformed", reached=True, detail=detail) from error
    return Authorized(
        decision=decision.decision,
        display_message=clean(decision.display_message or "", DISPLAY_CHARACTERS_MAX),
        reference_id=decision.reference_id,
        ttl_seconds=decision.ttl_seconds or 0,
        reason_code=decision.reason_code,
    )


def _failure_of_status(status: int) -> AuthorizeFailure | None:
    if status == 200:
        return None
    if status in (401, 403):
        return "assertion_rejected"
    if status == 429 or 500 <= status <= 599:
        # Both are of the network class: the product did not decide, it could not.
        return "product_5xx"
    if 400 <= status <= 499:
        return "product_refused"
    return "product_malformed"


def _failure_of(failed: OutboundFailed) -> AuthorizeFailure:
    if failed.status is not None:
        # A refusal whose body never ended is still a refusal, and must not turn into an allow.
        failure = _failure_of_status(failed.status)
        if failure is not None:
            return failure
    match failed.kind:
        case "timeout":
            return "authorize_timeout"
        case "connect":
            return "connect_error"
        case "blocked":
            return "egress_blocked"
        case "protocol" | "too_large":
            return "product_malformed"


def _weight(failure: AuthorizeFailure) -> Outcome:
    match failure:
        case "assertion_rejected" | "product_refused":
            return "refused"
        case "egress_blocked" | "circuit_open":
            return "cancelled"
        case "authorize_timeout" | "connect_error" | "product_5xx" | "product_malformed":
            return "failed"


def _retry_after_s(headers: Mapping[str, str]) -> float:
    """RFC 9110 §10.2.3 in its form of seconds; a date is left to the breaker's own growth."""
    text = headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdecimal() and len(text) <= 6 else 0.0
