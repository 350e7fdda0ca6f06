"""Who may not vouch any more: Google's attestation status list, in a file that is kept fresh.

The form is that of android.googleapis.com/attestation/status:
`{"entries": {"<serial, hex>": {"status": "REVOKED" | "SUSPENDED", "reason": …}}}`.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from application.ports import Clock
from domain.errors import Unavailable


class StatusListUnreadable(ValueError):
    """The file is no attestation status list."""


class _Entry(msgspec.Struct):
    status: str


class _StatusList(msgspec.Struct):
    entries: Mapping[str, _Entry]


class StatusList:
    """The serials of a file, which is read again whenever it is another than before."""

    def __init__(self, path: Path, age_max: timedelta, clock: Clock) -> None:
        """Past `age_max` since the file was written, nobody is believed."""
        self._path = path
        self._age_max = age_max
        self._clock = clock
        self._read_at: tuple[int, int] | None = None
        self._revoked: frozenset[int] = frozenset()

    def revoked(self, serials: Iterable[int]) -> bool:
        """Whether one of these is listed, whatever it is listed for.

        Raises Unavailable (`attestation_status_stale`) when the list is too old or unreadable.
        """
        try:
            self.refresh()
        except StatusListUnreadable as error:
            raise _stale() from error
        if self.age() > self._age_max:
            raise _stale()
        return not self._revoked.isdisjoint(serials)

    def refresh(self) -> None:
        """Raises StatusListUnreadable; what was read before is kept then."""
        try:
            found = self._path.stat()
            if (found.st_mtime_ns, found.st_size) != self._read_at:
                self._revoked = parse(self._path.read_bytes())
                self._read_at = (found.st_mtime_ns, found.st_size)
        except OSError as error:
            raise StatusListUnreadable(f"{self._path}: {error.strerror}") from error

    def age(self) -> timedelta:
        """How long ago the file was written."""
        if self._read_at is None:
            return timedelta.max
        return self._clock.now() - datetime.fromtimestamp(self._read_at[0] / 1e9, UTC)


def parse(content: bytes) -> frozenset[int]:
    """Raises StatusListUnreadable."""
    try:
        listed = msgspec.json.decode(content, type=_StatusList)
        return frozenset(int(serial, 16) for serial in listed.entries)
    except (msgspec.DecodeError, ValueError) as error:
        raise StatusListUnreadable("not an attestation status list") from error


def _stale() -> Unavailable:
    return Unavailable(
        "attestation_status_stale",
        "it is not known who may still vouch for keys",
        retry_after_s=60,
    )
