"""The leaf of an event: everything that the event log holds of it, in one spelling.

A leaf is a JSON object, its members in exactly this order and without white space between them:

    {"v":1,"position":P,"recorded_at":"2026-11-21T09:30:00.000000Z","tenant_id":"…",
     "stream_id":"…","stream_version":V,"name":"…","actor":"…","correlation_id":"…",
     "command_id":"…","payload":{…}}

UUIDs are lower-case with hyphens, times UTC with six digits of a second, strings escaped as in
RFC 8785. `payload` is the recorded JSON byte for byte, its spelling included. A payload that does
not begin with `{"v":` and end with `}`, which ours all do, stands as `"payload_base64":"…"`.

The database makes the same bytes (`event_leaf` in the migrations); tests hold the two together.
"""

import base64
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import msgspec

from domain.events import DomainEvent, Recorded
from domain.ids import TenantId
from domain.transparency.checkpoint import read_base64
from domain.transparency.tiles import LEAF_BYTES_MAX

_JSON: Final = msgspec.json.Encoder()


class LeafMalformed(Exception):
    """The bytes are not a leaf in the one spelling that `encode` writes."""


class LeafTooLong(Exception):
    """The event does not fit into 65,535 bytes."""


class LoggedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event as the log holds it, its payload not decoded: what a leaf says."""

    position: int
    recorded_at: datetime
    tenant_id: TenantId
    stream_id: UUID
    stream_version: int
    name: str
    actor: str
    correlation_id: UUID
    command_id: UUID
    payload: bytes


class _Members(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    v: int
    position: int
    recorded_at: str
    tenant_id: UUID
    stream_id: UUID
    stream_version: int
    name: str
    actor: str
    correlation_id: UUID
    command_id: UUID
    payload: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    payload_base64: str | None = None


_MEMBERS: Final = msgspec.json.Decoder(_Members)
_RECORDED: Final = b'{"v":'


def encode(event: LoggedEvent) -> bytes:
    """Raises LeafTooLong, and ValueError for a time without a zone."""
    if event.recorded_at.tzinfo is None:
        raise ValueError("a time without a zone")
    recorded_at = (
        event.recorded_at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
    )
    leaf = (
        f'{{"v":1,"position":{event.position},"recorded_at":"{recorded_at}Z",'
        f'"tenant_id":"{event.tenant_id}","stream_id":"{event.stream_id}",'
        f'"stream_version":{event.stream_version},"name":'
    ).encode() + b'%b,"actor":%b,"correlation_id":"%b","command_id":"%b",%b}' % (
        _JSON.encode(event.name),
        _JSON.encode(event.actor),
        str(event.correlation_id).encode(),
        str(event.command_id).encode(),
        _payload(event.payload),
    )
    if len(leaf) > LEAF_BYTES_MAX:
        raise LeafTooLong(f"{event.name} at {event.position} makes a leaf of {len(leaf)} bytes")
    return leaf


def read(leaf: bytes) -> LoggedEvent:
    """The event of a leaf, its payload byte for byte. Raises LeafMalformed."""
    try:
        leaf.decode()
        found = _MEMBERS.decode(leaf)
        event = LoggedEvent(
            position=found.position,
            recorded_at=datetime.fromisoformat(found.recorded_at),
            tenant_id=TenantId(found.tenant_id),
            stream_id=found.stream_id,
            stream_version=found.stream_version,
            name=found.name,
            actor=found.actor,
            correlation_id=found.correlation_id,
            command_id=found.command_id,
            payload=_read_payload(found),
        )
        again = encode(event)
    except (msgspec.MsgspecError, ValueError, RecursionError, LeafTooLong) as error:
        raise LeafMalformed(str(error)) from error
    if again != leaf:
        raise LeafMalformed("the same facts in another spelling")
    return event


def recorded(event: LoggedEvent, decoded: DomainEvent) -> Recorded:
    """What projections take in: `decoded` is the payload as today's class."""
    return Recorded(
        position=event.position,
        tenant_id=event.tenant_id,
        stream_id=event.stream_id,
        version=event.stream_version,
        event=decoded,
        actor=event.actor,
        correlation_id=event.correlation_id,
        command_id=event.command_id,
        recorded_at=event.recorded_at,
    )


def _payload(payload: bytes) -> bytes:
    if payload.startswith(_RECORDED) and payload.endswith(b"}"):
        return b'"payload":' + payload
    return b'"payload_base64":"%b"' % base64.b64encode(payload)


def _read_payload(found: _Members) -> bytes:
    payload = bytes(found.payload)
    if found.payload_base64 is None and payload:
        return payload
    if found.payload_base64 is not None and not payload:
        data = read_base64(found.payload_base64)
        if data is not None:
            return data
    raise LeafMalformed("a leaf has one payload")
