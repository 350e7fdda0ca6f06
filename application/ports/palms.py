"""The palm vendor, in our words."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal, Protocol

import msgspec

from domain.ids import PalmRef, TenantId, UserId
from domain.matching import Candidate


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    """A palm as a device captured it; lives in memory only. Images are encoded files (PNG).

    `quality` (0 to 100), `liveness` (0 to 1) and `captured_at` are the device's own word.
    """

    format: str
    rgb: bytes
    ir: bytes
    hand: Literal["left", "right", "unknown"]
    sha256: str
    quality: float | None = None
    liveness: float | None = None
    captured_at: datetime | None = None


CANDIDATES_MAX: Final = 64
"""The most that may be sought at once."""


class Candidates(msgspec.Struct, frozen=True, kw_only=True):
    """What the vendor found, best first, with the four thresholds in force at the vendor."""

    found: Sequence[Candidate]
    thresholds: tuple[float, float, float, float]


class PalmQueryForbidden(Exception):
    """Vendor code 30008: this kind of palm may not be queried."""


VendorFault = Literal[
    "",
    "timeout",
    "connect",
    "blocked",
    "protocol",
    "too_large",
    "http_status",
    "malformed_answer",
    "duplicate_user_id",
    "unknown_user_id",
    "internal_error",
    "other_code",
]
"""What was wrong, in our words: the vendor's own could say anything, and events are for ever."""


class PalmVendorFailed(Exception):
    """The vendor answered something that is not an answer, or nothing at all.

    `vendor_code` is the vendor's own, where it gave one.
    """

    def __init__(
        self,
        reason: Literal["palm_vendor_error", "palm_vendor_timeout"],
        vendor_code: int | None = None,
        vendor_message: VendorFault = "",
    ) -> None:
        self.reason: Literal["palm_vendor_error", "palm_vendor_timeout"] = reason
        self.vendor_code = vendor_code
        self.vendor_message: VendorFault = vendor_message
        super().__init__(f"{reason} {vendor_code} {vendor_message}")


class PalmRejected(Exception):
    """The vendor would not take the palm: `low_quality` with hints for the person."""

    def __init__(self, reason: Literal["low_quality"], hints: Sequence[str] = ()) -> None:
        self.reason: Literal["low_quality"] = reason
        self.hints = tuple(hints)
        super().__init__(reason)


class PalmVerifier(Protocol):
    """The palm vendor, in our words (reference broker.md §3.10).

    Every call may raise PalmVendorFailed; `deadline_s` is a total, not per read.
    """

    async def identify(
        self, tenant_key: str, scan: Scan, *, k: int, deadline_s: float
    ) -> Candidates:
        """1:N within the tenant. Foreign candidates are dropped. Raises PalmQueryForbidden."""
        ...

    async def enroll(
        self, tenant_key: str, palm_ref: PalmRef, scan: Scan, *, deadline_s: float
    ) -> str:
        """Store a template under our reference; the vendor's palm id. Raises PalmRejected."""
        ...

    async def delete(
        self, tenant_key: str, palm_ref: PalmRef, *, deadline_s: float
    ) -> Literal["deleted", "absent", "not_supported"]:
        """Destroy the template under our reference; asking again is safe.

        `absent` when the vendor says that it has none, `not_supported` when it cannot delete.
        """
        ...


class PersonPalms(Protocol):
    """Where to look for what the vendor has of a person."""

    async def of_person(self, tenant_id: TenantId, user_id: UserId) -> Sequence[PalmRef]:
        """Every enrolment that was ever started for the person, as of the end of the log.

        Raises Unavailable (`position_not_reached`) when that is not known at the moment.
        """
        ...
