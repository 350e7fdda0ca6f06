"""Attestation: what a device's hardware says of the key that it made (reference broker.md §3.1).

The level that was proved at the pairing is part of the device from then on, and a floor for every
renewal. What was offered must hold, also where nothing was asked for.
"""

import hashlib
from typing import Annotated, Final, Literal

import msgspec

from domain.errors import Invalid

AttestationLevel = Literal["software", "tee", "strongbox"]
"""Where the key lives: in the operating system, in a trusted execution environment, in a chip of
its own. The weaker of what is said of the key and of who attests it."""

RequiredLevel = Literal["none", "software", "tee", "strongbox"]
BootState = Literal["verified", "self_signed", "unverified", "failed"]
Assurance = Literal["unattested", "software", "tee", "strongbox"]

CHALLENGE_OF_PAIRING: Final = "link-pair-v1:"
CHALLENGE_OF_RENEWAL: Final = "link-renew-v1:"

_RANKS: Final[dict[str, int]] = {
    "none": 0,
    "unattested": 0,
    "software": 1,
    "tee": 2,
    "strongbox": 3,
}

_said = msgspec.Meta


class Attestation(msgspec.Struct, frozen=True, kw_only=True):
    """What was proved of a key: `boot` and `locked` of the system that it is in, its security
    `patch_level` (YYYYMM or YYYYMMDD), and the `serials` of who vouches, the nearest first (hex).
    """

    level: AttestationLevel
    boot: BootState
    locked: bool
    patch_level: int | None = None
    serials: tuple[str, ...] = ()


class AttestationPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What a device of each type must prove of its key to be paired."""

    pos: Annotated[RequiredLevel, _said(description="the least level of a till")] = "none"
    gate: Annotated[RequiredLevel, _said(description="the least level of a gate")] = "none"
    kiosk: Annotated[RequiredLevel, _said(description="the least level of a kiosk")] = "none"
    personal_scanner: Annotated[
        RequiredLevel, _said(description="the least level of a personal scanner")
    ] = "none"
    small_model: Annotated[
        RequiredLevel, _said(description="the least level of a device that matches by itself")
    ] = "tee"
    verified_boot: Annotated[
        bool, _said(description="an attested device runs a verified system, and is locked")
    ] = True

    def of_type(
        self, device_type: Literal["pos", "gate", "kiosk", "personal_scanner"]
    ) -> RequiredLevel:
        """The least level of a device of this type."""
        levels: dict[str, RequiredLevel] = {
            "pos": self.pos,
            "gate": self.gate,
            "kiosk": self.kiosk,
            "personal_scanner": self.personal_scanner,
        }
        return levels[device_type]


def pairing_challenge(code: str) -> bytes:
    """What the key must be attested for: `code` as it was drawn, without spaces and hyphens."""
    return hashlib.sha256(f"{CHALLENGE_OF_PAIRING}{code}".encode()).digest()


def renewal_challenge(fingerprint: str) -> bytes:
    """Of the certificate that the device shows: SHA-256 of its DER, hex in lower case."""
    return hashlib.sha256(f"{CHALLENGE_OF_RENEWAL}{fingerprint}".encode()).digest()


def reaches(proved: Assurance, least: RequiredLevel | Assurance) -> bool:
    """Whether what was proved is enough."""
    return _RANKS[proved] >= _RANKS[least]


def refused(reason: str, detail: str) -> Invalid:
    """The refusal of an attestation that does not hold, for a stable `reason`."""
    return Invalid("attestation_invalid", detail, extra={"attestation_reason": reason})


def check_pairing(
    proved: Attestation | None, required: tuple[RequiredLevel, ...], policy: AttestationPolicy
) -> None:
    """Raises Invalid (`attestation_required`, `attestation_invalid`) unless it is enough for all
    levels that are `required`."""
    if proved is None:
        if any(each != "none" for each in required):
            raise Invalid("attestation_required", "the key must be attested by its hardware")
        return
    _check_boot(proved, policy)
    for least in required:
        if not reaches(proved.level, least):
            raise refused("level_too_low", f"{least} is required, not {proved.level}")


def check_renewal(proved: Attestation | None, floor: Assurance, policy: AttestationPolicy) -> None:
    """Raises Invalid (`attestation_downgrade`, `attestation_invalid`) for less than was proved at
    the pairing.

    What a tenant requires of new devices strands none that it has.
    """
    if not reaches("unattested" if proved is None else proved.level, floor):
        raise Invalid("attestation_downgrade", f"the device was paired with a key of level {floor}")
    if proved is not None:
        _check_boot(proved, policy)


def _check_boot(proved: Attestation, policy: AttestationPolicy) -> None:
    if not policy.verified_boot:
        return
    if proved.boot != "verified":
        raise refused("boot_not_verified", f"the device's system is {proved.boot}")
    if not proved.locked:
        raise refused("device_unlocked", "the device's boot loader is not locked")
