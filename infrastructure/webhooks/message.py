"""What a webhook says, byte for byte, and its signature (Standard Webhooks 1.0).

A payload is made from the log alone, so it is the same at every try. It holds pseudonymous ids,
enums, amounts and times: the log has nothing personal, and what is biometric or internal is left
out as it is in the audit.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from application.permissions import Permission
from domain import transaction as x
from domain.events import DomainEvent, Recorded
from domain.ids import wire
from domain.webhook_endpoint import WebhookEndpointTestRequested
from projections.audit import line, subject_of
from projections.published import PUBLISHED, SubjectKind, published

API_VERSION: Final = "1"
TEST_TYPE: Final = "webhook_endpoint.test"

SUBJECT_PREFIXES: Final[Mapping[SubjectKind, str]] = {
    "device": "dev",
    "user": "usr",
    "user_session": "uss",
    "enrollment": "plm",
    "transaction": "txn",
    "linked_service": "lsvc",
    "webhook_endpoint": "whe",
    "webhook_identity": "whi",
    "verification": "ver",
    "device_command": "cmd",
    "palm_challenge": "pch",
}
_PERMISSIONS: Final[Mapping[SubjectKind, Permission]] = {
    "device": "devices.read",
    "user": "users.read",
    "user_session": "users.read",
    "enrollment": "enrollments.read",
    "transaction": "transactions.read",
    "linked_service": "linked_services.read",
    "webhook_endpoint": "webhooks.read",
    "webhook_identity": "webhooks.read",
    "verification": "verifications.read",
    "device_command": "devices.read",
    "palm_challenge": "challenges.read",
}
WEBHOOK_TYPES: Final[Mapping[str, Permission]] = {
    "enrollment.duplicate_detected": "enrollments.read",
    **{
        entry.webhook: _PERMISSIONS[entry.subject]
        for entry in PUBLISHED.values()
        if entry.webhook is not None
    },
}
"""Every webhook name, and what one must be allowed to read to be told of it."""

_ID_PREFIXES: Final = {
    "user_id": "usr",
    "device_id": "dev",
    "service_id": "lsvc",
    "palm_ref": "plm",
}
_INTERNAL: Final = frozenset({"vendor_message", "detail", "fingerprints"})


def webhook_type(event: DomainEvent) -> str | None:
    """The webhook name of this very event; None for one that nobody is told of by webhook."""
    if isinstance(event, WebhookEndpointTestRequested):
        return TEST_TYPE
    return published(event).webhook


def told_events() -> tuple[type[DomainEvent], ...]:
    """Every class of which `webhook_type` may say something."""
    return tuple(PUBLISHED)


def body(past: Sequence[Recorded], version: int) -> bytes:
    """The message about the event at this version of a stream."""
    recorded = past[version - 1]
    message = {
        "type": webhook_type(recorded.event),
        "timestamp": recorded.recorded_at,
        "data": _data(past[:version]),
        "sequence": recorded.position,
        "tenant_id": wire("ten", recorded.tenant_id),
        "api_version": API_VERSION,
    }
    return msgspec.json.encode(message)


def signature(keys: Sequence[bytes], message_id: str, timestamp: int, content: bytes) -> str:
    """One `v1` signature for each key, the newest first."""
    signed = f"{message_id}.{timestamp}.".encode() + content
    return " ".join(
        "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        for key in keys
    )


def _data(past: Sequence[Recorded]) -> dict[str, Any]:
    recorded = past[-1]
    subject = published(recorded.event).subject
    data: dict[str, Any] = {"id": wire(SUBJECT_PREFIXES[subject], subject_of(recorded))}
    if subject == "transaction":
        return data | _decided(past)
    shown = line(recorded)
    facts: Mapping[str, Any] = {} if shown is None else shown.facts
    for name, value in facts.items():
        if name in _INTERNAL:
            continue
        prefix = _ID_PREFIXES.get(name)
        data[name] = wire(prefix, UUID(value)) if prefix and isinstance(value, str) else value
    return data


def _decided(past: Sequence[Recorded]) -> dict[str, Any]:
    """What `GET /v1/transactions/{id}` says too, to whoever may read transactions."""
    transaction = x.rebuild(past)
    assert transaction is not None, "a stream begins with its first event"
    known, intent = transaction.identified, transaction.intent
    data: dict[str, Any] = {
        "device_id": wire("dev", transaction.received.device_id),
        "user_id": None if known is None else wire("usr", known.user_id),
        "linked_service_id": None if intent is None else wire("lsvc", intent.service_id),
        "action": None if intent is None else intent.action,
    }
    if transaction.received.simulated:
        data["simulated"] = True
    if transaction.decision is not None:
        answer = x.answer(transaction)
        data |= {
            "decision": answer.decision,
            "reason": answer.reason,
            "stand_in": answer.stand_in,
            "decided_at": answer.decided_at,
        }
    return data
