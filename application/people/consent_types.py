"""Consent types: which purposes a tenant asks for, and in which words people agree to them."""

from collections.abc import Mapping
from typing import Final

import msgspec

from application.execute import Done, execute
from application.ports import EventLog, IdSource, Streams
from application.principals import Caller
from domain import consent_type as c
from domain import tenant as t
from domain.errors import Conflict, Invalid
from domain.ids import TenantId
from domain.user import PALM_ENROLLMENT

NONE: Final[Mapping[str, c.PublishedConsent]] = {}


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody who agrees now agrees to: the version in force and the digest of its words, if
    anybody knows it."""

    version: str
    text_sha256: str | None


class ConsentTypes:
    """A type that was never published is asked for in the version of the setting
    `consent_version`, in words that whoever shows them knows."""

    def __init__(self, log: EventLog, streams: Streams, ids: IdSource) -> None:
        self._log = log
        self._streams = streams
        self._ids = ids

    async def publish(
        self,
        caller: Caller,
        consent_type: str,
        version: str,
        text_sha256: Mapping[str, str],
    ) -> tuple[c.PublishedConsent, Done]:
        """Put a version of a type in force; the same again says nothing.

        Of `palm_enrollment` the setting `consent_version` says which version is in force, since
        enrolments and transactions obey it: raises Conflict (`consent_version_outdated`) for
        another, and what `domain.consent_type.publish` raises.
        """
        tenant_id = caller.tenant_id
        if consent_type == PALM_ENROLLMENT:
            tenant = t.rebuild(await self._log.load(tenant_id, tenant_id))
            current = None if tenant is None else tenant.settings.consent_version
            if version != current:
                raise Conflict("consent_version_outdated", extra={"current": current})
        published = c.ConsentTypePublished(
            consent_type=consent_type, consent_version=version, text_sha256=dict(text_sha256)
        )
        stream_id = c.consent_types_id(tenant_id)
        done = await execute(
            self._log,
            caller.origin(self._ids.uuid()),
            tenant_id,
            stream_id,
            c.rebuild,
            lambda known: c.publish(known, published),
        )
        known = c.rebuild(await self._log.load(tenant_id, stream_id))
        assert known is not None, "it was published just now, or before"
        return known.types[consent_type], done

    async def known(self, tenant_id: TenantId) -> Mapping[str, c.PublishedConsent]:
        """The versions in force by type."""
        found = await self._streams.state(tenant_id, c.consent_types_id(tenant_id), c.rebuild)
        return NONE if found is None else found.types

    async def asked(
        self, tenant: t.Tenant, consent_type: str, locale: str, text_sha256: str | None
    ) -> Asked:
        """What agreeing to this type means now. Raises Invalid (`consent_text_mismatch`) when the
        digest is not that of the words that were published in this locale."""
        published = (await self.known(tenant.id)).get(consent_type)
        version = tenant.settings.consent_version
        if published is None or (consent_type == PALM_ENROLLMENT and published.version != version):
            return Asked(version=version, text_sha256=text_sha256)
        words = published.text_sha256.get(locale)
        if text_sha256 is not None and published.text_sha256 and text_sha256 != words:
            raise Invalid("consent_text_mismatch", "not the words that were published")
        return Asked(version=published.version, text_sha256=words or text_sha256)
