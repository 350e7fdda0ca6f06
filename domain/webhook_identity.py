"""WebhookIdentity: the certificate of a tenant's own CA that we show to its webhook endpoints.

We make a key and a request for it; the tenant signs the request with its CA and brings the
certificate (reference broker.md §3.9). The key never leaves us and is not in the log. One identity
of a tenant serves all of its endpoints, which say for themselves whether they want it.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import ClassVar, Final
from uuid import UUID

import msgspec

from domain.errors import Conflict, Invalid
from domain.events import DomainEvent, Recorded
from domain.folding import UnexpectedEvent, fold
from domain.ids import TenantId, WebhookIdentityId

WARN_DAYS: Final = (30, 7, 1, 0)
"""How long before a certificate runs out it is said, each once; 0 is when it has."""


class WebhookCsrMade(DomainEvent, frozen=True, kw_only=True):
    """There is a new key, and a request (PKCS#10) for the tenant's CA to sign."""

    NAME: ClassVar[str] = "webhook_identity.csr_made"
    key_id: UUID
    csr_pem: str
    spki_sha256: str


class WebhookCertificateInstalled(DomainEvent, frozen=True, kw_only=True):
    """The tenant's CA signed the request; from `active_from` on this is what we show."""

    NAME: ClassVar[str] = "webhook_identity.certificate_installed"
    key_id: UUID
    chain_pem: str
    fingerprint_sha256: str
    not_before: datetime
    not_after: datetime
    active_from: datetime


class WebhookCertificateExpiring(DomainEvent, frozen=True, kw_only=True):
    """The newest certificate runs out within so many days; with 0 it has run out."""

    NAME: ClassVar[str] = "webhook_identity.certificate_expiring"
    fingerprint_sha256: str
    not_after: datetime
    days: int


WebhookIdentityEvent = WebhookCsrMade | WebhookCertificateInstalled | WebhookCertificateExpiring


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """`warned` is the fewest days that have been told of; None before the first."""

    key_id: UUID
    chain_pem: str
    fingerprint_sha256: str
    not_before: datetime
    not_after: datetime
    active_from: datetime
    warned: int | None = None


class OpenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that no certificate has been brought for yet."""

    key_id: UUID
    csr_pem: str
    spki_sha256: str
    made_at: datetime


class WebhookIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """`certificates`: at most two, the one brought last at the end."""

    id: WebhookIdentityId
    tenant_id: TenantId
    version: int
    request: OpenRequest | None = None
    certificates: tuple[Certificate, ...] = ()

    def presented(self, now: datetime) -> Certificate | None:
        """What we show at this moment; None when there is nothing good to show."""
        for each in reversed(self.certificates):
            if each.active_from <= now < each.not_after:
                return each
        return None

    def keys(self) -> frozenset[UUID]:
        """The keys that are still needed."""
        held = {each.key_id for each in self.certificates}
        return frozenset(held if self.request is None else held | {self.request.key_id})


class Presented(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that the tenant brought, as far as it was checked by itself."""

    chain_pem: str
    fingerprint_sha256: str
    spki_sha256: str
    not_before: datetime
    not_after: datetime


def request(
    identity: WebhookIdentity | None, made: WebhookCsrMade, *, replace: bool
) -> list[WebhookIdentityEvent]:
    """While a request is open it is the one that counts, unless it is to be replaced."""
    if identity is not None and identity.request is not None and not replace:
        return []
    return [made]


def install(
    identity: WebhookIdentity | None,
    brought: Presented,
    *,
    active_from: datetime | None,
    now: datetime,
) -> list[WebhookIdentityEvent]:
    """A certificate that we have says nothing.

    Raises Conflict (`webhook_csr_missing`) when nothing waits for one, Invalid
    (`certificate_key_mismatch`, `active_from_invalid`). A later beginning leaves no gap: what is
    shown until then must be good until then.
    """
    known = () if identity is None else identity.certificates
    if any(each.fingerprint_sha256 == brought.fingerprint_sha256 for each in known):
        return []
    if identity is None or identity.request is None:
        raise Conflict("webhook_csr_missing", "ask for a request to sign first")
    if brought.spki_sha256 != identity.request.spki_sha256:
        raise Invalid("certificate_key_mismatch", "the certificate is for another key than ours")
    begins = now if active_from is None else active_from
    if begins > now:
        until_then = identity.presented(now)
        gap = until_then is None or until_then.not_after < begins
        if gap or not brought.not_before <= begins < brought.not_after:
            raise Invalid("active_from_invalid", "one of the two must be good at every moment")
    return [
        WebhookCertificateInstalled(
            key_id=identity.request.key_id,
            chain_pem=brought.chain_pem,
            fingerprint_sha256=brought.fingerprint_sha256,
            not_before=brought.not_before,
            not_after=brought.not_after,
            active_from=begins,
        )
    ]


def warn(identity: WebhookIdentity | None, now: datetime) -> list[WebhookIdentityEvent]:
    """That the newest certificate runs out, once for each of `WARN_DAYS`."""
    if identity is None or not identity.certificates:
        return []
    newest = identity.certificates[-1]
    near = [days for days in WARN_DAYS if newest.not_after - now <= timedelta(days=days)]
    if not near or (newest.warned is not None and newest.warned <= near[-1]):
        return []
    return [
        WebhookCertificateExpiring(
            fingerprint_sha256=newest.fingerprint_sha256,
            not_after=newest.not_after,
            days=near[-1],
        )
    ]


def evolve(identity: WebhookIdentity | None, recorded: Recorded) -> WebhookIdentity:
    event = recorded.event
    before = identity or WebhookIdentity(
        id=WebhookIdentityId(recorded.stream_id), tenant_id=recorded.tenant_id, version=0
    )
    now = msgspec.structs.replace(before, version=recorded.version)
    match event:
        case WebhookCsrMade():
            waiting = OpenRequest(
                key_id=event.key_id,
                csr_pem=event.csr_pem,
                spki_sha256=event.spki_sha256,
                made_at=recorded.recorded_at,
            )
            return msgspec.structs.replace(now, request=waiting)
        case WebhookCertificateInstalled():
            # The one before stays: it is shown until the new one begins.
            until_then = before.presented(recorded.recorded_at)
            brought = Certificate(
                key_id=event.key_id,
                chain_pem=event.chain_pem,
                fingerprint_sha256=event.fingerprint_sha256,
                not_before=event.not_before,
                not_after=event.not_after,
                active_from=event.active_from,
            )
            kept = () if until_then is None else (until_then,)
            return msgspec.structs.replace(now, request=None, certificates=(*kept, brought))
        case WebhookCertificateExpiring() if before.certificates:
            warned = msgspec.structs.replace(before.certificates[-1], warned=event.days)
            return msgspec.structs.replace(now, certificates=(*before.certificates[:-1], warned))
        case other:
            raise UnexpectedEvent(other)


def rebuild(past: Iterable[Recorded]) -> WebhookIdentity | None:
    return fold(evolve, past)
