"""Consent type: a purpose that a tenant asks its people to agree to, in which words, since when.

All types of a tenant are one stream, which changes when its lawyers change their minds. The words
themselves are the tenant's and are shown by its own screens; here is what proves them.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import ClassVar, Final
from uuid import uuid5

import msgspec

from domain.errors import Conflict, Invalid
from domain.events import DomainEvent, Recorded
from domain.folding import UnexpectedEvent, fold
from domain.ids import ConsentTypesId, TenantId

TYPES_MAX: Final = 100
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")


class ConsentTypePublished(DomainEvent, frozen=True, kw_only=True):
    """From here on people are asked to agree to this version, in words with these digests.

    `text_sha256` has the SHA-256, in hex, of the words of each locale. The versions before it are
    outdated.
    """

    NAME: ClassVar[str] = "consent_type.published"
    consent_type: str
    consent_version: str
    text_sha256: Mapping[str, str] = {}


class PublishedConsent(msgspec.Struct, frozen=True, kw_only=True):
    """The version in force of one type, and those before it, the oldest first."""

    version: str
    text_sha256: Mapping[str, str]
    published_at: datetime
    before: tuple[str, ...] = ()


class ConsentTypes(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    types: Mapping[str, PublishedConsent]


_NONE: Final[Mapping[str, PublishedConsent]] = {}


def consent_types_id(tenant_id: TenantId) -> ConsentTypesId:
    return ConsentTypesId(uuid5(tenant_id, "consent types"))


def check_type(consent_type: str) -> None:
    """Raises Invalid (`consent_type_invalid`)."""
    if _NAME.fullmatch(consent_type) is None:
        raise Invalid("consent_type_invalid", "a letter, then up to 62 of a-z, 0-9 and _")


def publish(
    known: ConsentTypes | None, published: ConsentTypePublished
) -> list[ConsentTypePublished]:
    """The same again says nothing.

    Raises Invalid (`consent_type_invalid`), Conflict (`consent_version_used`,
    `too_many_consent_types`): what people agreed to once keeps its meaning.
    """
    check_type(published.consent_type)
    types = _NONE if known is None else known.types
    found = types.get(published.consent_type)
    if found is None:
        if len(types) >= TYPES_MAX:
            raise Conflict("too_many_consent_types", f"{TYPES_MAX} at most")
        return [published]
    if found.version == published.consent_version:
        if dict(found.text_sha256) == dict(published.text_sha256):
            return []
        raise Conflict("consent_version_used", "other words are another version")
    if published.consent_version in found.before:
        raise Conflict("consent_version_used", "a version is in force once")
    return [published]


def evolve(known: ConsentTypes | None, recorded: Recorded) -> ConsentTypes:
    event = recorded.event
    if not isinstance(event, ConsentTypePublished):
        raise UnexpectedEvent(event)
    types = _NONE if known is None else known.types
    found = types.get(event.consent_type)
    now = PublishedConsent(
        version=event.consent_version,
        text_sha256=event.text_sha256,
        published_at=recorded.recorded_at,
        before=() if found is None else (*found.before, found.version),
    )
    return ConsentTypes(version=recorded.version, types={**types, event.consent_type: now})


def rebuild(past: Iterable[Recorded]) -> ConsentTypes | None:
    return fold(evolve, past)
