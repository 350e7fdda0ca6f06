"""Pairing codes: computed from a device and a number by a keyed function, and kept nowhere."""

import hashlib
from datetime import datetime
from uuid import UUID

import msgspec

from application.ports import Digests
from domain import device as d
from domain import pairing_code as p
from domain.ids import PairingCodeId, pairing_code_id


class IssuedPairingCode(msgspec.Struct, frozen=True, kw_only=True):
    """The only time that the code is seen, in the form for people."""

    code: str
    expires_at: datetime


class PairingCodes:
    def __init__(self, digests: Digests) -> None:
        self._digests = digests

    def live(self, device: d.Device) -> IssuedPairingCode | None:
        """The code that the device waits for, or None when it waits for none."""
        expires_at = device.code_expires_at
        if device.status != "pending_pairing" or expires_at is None:
            return None
        code = self._drawn(device.id, device.code_number)
        return IssuedPairingCode(code=p.shown(code), expires_at=expires_at)

    def numbered(self, device_id: UUID, number: int) -> PairingCodeId:
        """The stream of a device's n-th code."""
        return self.typed(self._drawn(device_id, number))

    def typed(self, code: str | None) -> PairingCodeId:
        """The stream of a code as it was typed in; None, one that can be no code, has one too."""
        return pairing_code_id(self._digests.digest("pairing_code", code or ""))

    def _drawn(self, device_id: UUID, number: int) -> str:
        """The n-th code of a device: unguessable without the key."""
        drawn = self._digests.digest("pairing_code.draw", f"{device_id}:{number}")
        return p.draw(hashlib.sha256(drawn.encode()).digest())
