"""Readings of the audit: that somebody looked, at most once a minute in each way of looking.

A reading is a stream of one event whose id is made of who, how and which minute, so that the
second reading of a minute meets the first one's stream, in whichever process, and says nothing.
"""

from datetime import datetime
from typing import ClassVar, Literal

from domain.events import DomainEvent

ReadingKind = Literal["search", "stream", "accesses", "evaluation"]
"""How the record of what happened was read: the audit by search or as a stream, a person's list
of accesses, or past decisions judged again."""


class AuditRead(DomainEvent, frozen=True, kw_only=True):
    """The actor read the audit in this way, once or more often, in the minute that began then."""

    NAME: ClassVar[str] = "audit.read"
    kind: ReadingKind
    minute: datetime


def minute_of(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)
