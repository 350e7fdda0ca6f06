"""Which device certificates are refused in this process, and the connections they have open.

The set is the authority on revocation, not a CRL: OpenSSL reads and verifies a whole CRL in
every handshake (2.3 ms more for 100,000 entries, where the set costs nothing measurable), a
second CRL of the same second is silently ignored, and no CRL is looked at when a session is
resumed or a connection stays open (reference edge.md §2).

Everything here belongs to one event loop and is called on its thread.
"""

from collections.abc import Iterable, Sequence, Set
from typing import Protocol

FINGERPRINT_BYTES = 32


class Connection(Protocol):
    """The transport of an open connection."""

    def abort(self) -> None:
        """Close at once; what is still buffered is thrown away."""
        ...


def fingerprint_bytes(text: str) -> bytes:
    """A fingerprint from its form in the log: 64 lower-case hex digits. Raises ValueError."""
    if len(text) != 2 * FINGERPRINT_BYTES or text.strip("0123456789abcdef"):
        raise ValueError(f"{text!r} is not the SHA-256 of a certificate")
    return bytes.fromhex(text)


class RevokedCertificates:
    """`application.ports.Revocations` of this process. Nothing that was revoked comes back."""

    def __init__(self) -> None:
        self._denied: set[bytes] = set()
        self._open: dict[bytes, set[Connection]] = {}
        self._authorities: frozenset[bytes] | None = None
        self._signers: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        return len(self._denied)

    def denies(self, fingerprint: bytes, authority: bytes = b"") -> bool:
        """Whether this certificate is refused; two set look-ups, however many there are.

        `authority` is the key identifier of who signed it.
        """
        if self._authorities is not None and authority not in self._authorities:
            return True
        return fingerprint in self._denied

    def only(self, authorities: Set[bytes]) -> None:
        """From now on refuse what others than these signed, and abort what that has open."""
        self._authorities = frozenset(authorities)
        for fingerprint in tuple(self._open):
            if self.denies(fingerprint, self._signers.get(fingerprint, b"")):
                self._abort(fingerprint)

    def revoked(self, fingerprints: Sequence[str]) -> None:
        """Refuse these from now on, and abort what they have open before returning.

        Handshakes in progress, requests that were read but not yet begun, and pipelined ones are
        refused too. A request that the application already works on is not undone; its answer
        goes nowhere. Raises ValueError, with nothing done, when one is not a fingerprint.
        """
        for denied in [fingerprint_bytes(text) for text in fingerprints]:
            self._denied.add(denied)
            self._abort(denied)

    def restore(self, fingerprints: Iterable[str]) -> None:
        """Take over what the log says is revoked: at start, and after any gap in hearing of it.

        Made for hundreds of thousands: the cost beyond the set is per open connection.
        """
        self._denied |= {fingerprint_bytes(text) for text in fingerprints}
        for fingerprint in tuple(self._open):
            if fingerprint in self._denied:
                self._abort(fingerprint)

    def opened(self, fingerprint: bytes, connection: Connection, authority: bytes = b"") -> None:
        """A handshake came through. Aborted at once if it was revoked in the meantime."""
        self._open.setdefault(fingerprint, set()).add(connection)
        self._signers[fingerprint] = authority
        if self.denies(fingerprint, authority):
            connection.abort()

    def closed(self, fingerprint: bytes, connection: Connection) -> None:
        connections = self._open.get(fingerprint)
        if connections is None:
            return
        connections.discard(connection)
        if not connections:
            del self._open[fingerprint]
            self._signers.pop(fingerprint, None)

    def connections(self, fingerprint: bytes) -> int:
        """How many connections this certificate has open here."""
        return len(self._open.get(fingerprint, ()))

    def _abort(self, fingerprint: bytes) -> None:
        for connection in tuple(self._open.get(fingerprint, ())):
            connection.abort()
