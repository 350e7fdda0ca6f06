"""What anybody may fetch to verify our certificates: the authorities, and what they revoked."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from domain.device_ca import MadeAuthority
from domain.ids import DeviceId, TenantId


class RevokedCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a CRL. `serial` is hexadecimal; `reason` is ours, `superseded` among them."""

    serial: str
    revoked_at: datetime
    reason: str


class RevocationList(msgspec.Struct, frozen=True, kw_only=True):
    """A CRL (RFC 5280 §5) as it was signed; `number` grows with every one of its authority."""

    authority: int
    number: int
    this_update: datetime
    next_update: datetime
    der: bytes


class RevocationLists(Protocol):
    """Raises psycopg.Error."""

    async def current(self, authority: int) -> RevocationList | None:
        """The list in force; None for an authority whose key is not here."""
        ...

    async def trusted(self) -> Sequence[RevocationList]:
        """One list for each device CA that is trusted, the one that issues first."""
        ...


class AuthorityMaker(Protocol):
    async def make(self, above: int) -> MadeAuthority:
        """A new device CA whose key is kept, with a higher number than `above`.

        Raises psycopg.Error.
        """
        ...


class CertificateHolder(msgspec.Struct, frozen=True, kw_only=True):
    """A device that speaks with a certificate of this device CA."""

    tenant_id: TenantId
    device_id: DeviceId
    authority: int
    not_after: datetime


class CertificateHolders(Protocol):
    """Who speaks with certificates of which device CA, as of the end of the log.

    Raises psycopg.Error and Unavailable (`position_not_reached`).
    """

    async def counts(self) -> Mapping[int, int]:
        """How many devices of all tenants, by the number of the CA."""
        ...

    async def of_others(self, authority: int, limit: int) -> Sequence[CertificateHolder]:
        """Devices on another CA than this one; those first whose certificates run out first."""
        ...
