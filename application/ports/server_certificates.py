"""What stands behind the certificate of our own listeners."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, Protocol

import msgspec

from domain.server_certificate import Brought, Certificate, ServerCsrMade, Source

Place = Literal["public", "device"]
"""The listeners of the API, or the device listener."""


class KnownNames(msgspec.Struct, frozen=True, kw_only=True):
    """The host names and addresses of this installation: `public` and `device` are those of the
    URLs that clients and devices are told, `all` has what the listeners are bound to besides."""

    public: tuple[str, ...]
    device: tuple[str, ...]
    all: tuple[str, ...]

    @property
    def told(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.public, *self.device)))


class CertificateFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a leaf says of itself; names as RFC 4514 writes them, `serial` hexadecimal."""

    subject: str
    issuer: str
    serial: str
    key: str


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What this process shows at one place."""

    source: Source
    chain_pem: str
    fingerprint_sha256: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime


class ServerKeys(Protocol):
    """Keys of our listeners, sealed and outside the log. Raises psycopg.Error."""

    async def request(self, names: Sequence[str], *, above: int) -> ServerCsrMade:
        """Make a key with a higher number than `above`, keep it, and write the request for it."""
        ...

    async def issue(self, names: Sequence[str], *, above: int) -> Certificate:
        """Make a key with a higher number than `above`, keep it, and have our server CA sign it."""
        ...

    async def check(self, number: int, chain_pem: str) -> None:
        """Whether a listener can show this chain by that key.

        Raises Invalid (`certificate_weak`) where the TLS library will not have it, LookupError.
        """
        ...


class ServerCertificateReader(Protocol):
    def read(self, pem: str, now: datetime) -> Brought:
        """A chain, the leaf first and perhaps its root last, held against what can be held against
        it alone.

        Raises Malformed (`certificate_invalid`), Invalid (`certificate_chain_broken`,
        `certificate_weak`, `certificate_not_valid_yet`, `certificate_run_out`,
        `certificate_of_a_ca`, `certificate_not_for_servers`).
        """
        ...

    def facts(self, chain_pem: str) -> CertificateFacts: ...


class ShownCertificates(Protocol):
    def shown(self, place: Place) -> Shown | None:
        """What this process shows there; None for one that has no listeners yet."""
        ...


class TrustHolders(Protocol):
    async def certified_before(self, since: datetime) -> int:
        """How many devices speak with a certificate that they were given before.

        Raises psycopg.Error, Unavailable (`position_not_reached`).
        """
        ...
