"""Asks a product for its decision over HTTP, once, and reads the answer without mercy.

What each answer means stands in reference broker.md §3.7, with one line settled: its table counts
every 4xx against the breaker, its checklist (§6 G) does not, because then one person's refused
context closes a lane. Here a 4xx says that the product is alive, and nothing more.
"""

import base64
import hashlib
from collections.abc import Mapping
from typing import Annotated, Final, Literal, Protocol

import msgspec

from application import trace
from application.ports import (
    AuthorizeCall,
    Authorized,
    AuthorizeFailed,
    AuthorizeFailure,
    Clock,
)
from domain.fail_mode import FailureClass
from domain.linked_service import BreakerSettings
from infrastructure.circuits.breakers import Breakers
from infrastructure.circuits.circuit_breaker import Outcome, Permit
from infrastructure.outbound.client import Answer, OutboundFailed
from infrastructure.strict_json import NotAnObject, read_object
from infrastructure.terminal_text import clean

ANSWER_BYTES_MAX: Final = 16 * 1024
DISPLAY_CHARACTERS_MAX: Final = 120
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
    """Implements `application.ports.LinkedServiceGateway`."""

    def __init__(self, client: Requests, clock: Clock, breakers: Breakers) -> None:
        self.client = client
        self._clock = clock
        self._breakers = breakers

    async def authorize(self, call: AuthorizeCall) -> Authorized:
        """Ask once, within `call.deadline_s` in all. Raises AuthorizeFailed; never retries."""
        permit = await self._permit(call)
        outcome: Outcome = "cancelled"
        failure: FailureClass = "authorize_timeout"
        retry_after_s = 0.0
        began = self._clock.monotonic()
        try:
            answer = await self._ask(call)
            retry_after_s = _retry_after_s(answer.headers)
            authorized = _read(answer)
            slow = self._clock.monotonic() - began > SLOW_SHARE * call.deadline_s
            outcome = "slow" if slow else "answered"
        except AuthorizeFailed as failed:
            outcome, failure = _weight(failed.failure, call.breaker)
            raise
        finally:
            if permit is not None:
                permit.settle(outcome, retry_after_s, failure)
        return authorized

    async def _permit(self, call: AuthorizeCall) -> Permit | None:
        """Leave to call; None for a call of which the breaker hears nothing. Raises
        AuthorizeFailed (`circuit_open`)."""
        if call.mode == "force_open":
            raise AuthorizeFailed("circuit_open", reached=False, detail="forced open")
        if call.mode == "force_closed":
            return None
        enforced = call.mode != "observe"
        permit = await self._breakers.admit(
            call.tenant_id, call.service_id, call.device_id, call.breaker, enforced=enforced
        )
        if permit is None and enforced:
            raise AuthorizeFailed("circuit_open", reached=False, detail="the circuit is open")
        return permit

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
            headers[trace.HEADER] = trace.traceparent(call.trace_id)
        try:
            return await self.client.request(
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


def _weight(failure: AuthorizeFailure, settings: BreakerSettings) -> tuple[Outcome, FailureClass]:
    """What a failure says to the breaker, and of which class it is if it failed."""
    match failure:
        case "assertion_rejected" | "product_refused":
            return "refused", "product_malformed"
        case "egress_blocked" | "circuit_open":
            return "cancelled", "product_malformed"
        case "authorize_timeout" | "connect_error" | "product_5xx" | "product_malformed":
            return "failed" if failure in settings.counted else "cancelled", failure


def _retry_after_s(headers: Mapping[str, str]) -> float:
    """RFC 9110 §10.2.3 in its form of seconds; a date is left to the breaker's own growth."""
    text = headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdecimal() and len(text) <= 6 else 0.0
