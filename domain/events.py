"""What a domain event is, and the envelope in which the log keeps it.

An event is pure data: what happened, in the words of its aggregate. Who asked, in which
request, when and in which order is the envelope (`Recorded`), so that a decision can be
tested as `decide(state, command) == [events]` with nothing else in the way.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

import msgspec

from domain.ids import TenantId, UserId

Payload = dict[str, Any]
"""An event's data as plain JSON values: what an upcaster reads and writes."""


class DomainEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A fact about one aggregate. Past tense, immutable, never renamed once stored.

    `NAME` is the stored name, chosen by us and never a class path; `VERSION` moves only when
    the data changes in a way that a default cannot cover, and then an upcaster stands in
    `domain/catalogue.py`. No personal value may stand in an event (design §6).
    """

    NAME: ClassVar[str]
    VERSION: ClassVar[int] = 1


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Who asked, and in which request.

    `actor` is a kind and an id (`device:dev_…`, `client:cli_…`, `system:sweeper`).
    `command_id` makes the append idempotent: the same id twice is the same submission, and the
    second is answered with the positions of the first.
    """

    actor: str
    correlation_id: UUID
    command_id: UUID


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """A value of a person under the person's key, and the salted commitment that stands for it."""

    user_id: UserId
    key_version: int
    ciphertext: bytes
    commitment: str


class SealedValue(msgspec.Struct, frozen=True, kw_only=True):
    """A value of one of a person's fields in the vault, under the person's key."""

    user_id: UserId
    field: str
    key_version: int
    ciphertext: bytes


class StreamAppend(msgspec.Struct, frozen=True, kw_only=True):
    """New events of one stream. The first gets version `expected_version + 1`.

    `unless_begun` names a stream that must not have begun: it keeps the whole submission out, as a
    wrong expected version does.

    `sealed` is kept outside the log, in the same commit, and goes with the person's key; where
    that is gone already, it is not kept at all. So are `values`, which take the place of
    those that their fields had.
    """

    tenant_id: TenantId
    stream_id: UUID
    expected_version: int
    events: Sequence[DomainEvent]
    sealed: Sealed | None = None
    values: Sequence[SealedValue] = ()
    unless_begun: UUID | None = None


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """An event as the log holds it. `position` is gap-free over the whole log."""

    position: int
    tenant_id: TenantId
    stream_id: UUID
    version: int
    event: DomainEvent
    actor: str
    correlation_id: UUID
    command_id: UUID
    recorded_at: datetime
