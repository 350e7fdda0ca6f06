"""PairingCode: nine symbols that let one key become one device, once (003 §3.9).

The stream belongs to the platform, because whoever redeems a code does not yet have a tenant.
Its id is computed from a keyed digest of the code; the code itself is kept nowhere.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar, Final, Literal

import msgspec

from domain.errors import NotFound
from domain.events import DomainEvent, Recorded
from domain.folding import UnexpectedEvent, fold
from domain.ids import DeviceId, PairingCodeId, TenantId

ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
LENGTH: Final = 9
LIFETIME_S: Final = 300


class PairingCodeIssued(DomainEvent, frozen=True, kw_only=True):
    """The holder of the code may pair this device until `expires_at`."""

    NAME: ClassVar[str] = "pairing_code.issued"
    for_tenant: TenantId
    device_id: DeviceId
    code_number: int
    expires_at: datetime


class PairingCodeRedeemed(DomainEvent, frozen=True, kw_only=True):
    """The code is used up, by the holder of the key in this CSR."""

    NAME: ClassVar[str] = "pairing_code.redeemed"
    csr_sha256: str


PairingCodeEvent = PairingCodeIssued | PairingCodeRedeemed


class PairingCode(msgspec.Struct, frozen=True, kw_only=True):
    id: PairingCodeId
    version: int
    tenant_id: TenantId
    device_id: DeviceId
    code_number: int
    expires_at: datetime
    redeemed_by: str | None = None


def draw(entropy: bytes) -> str:
    """A code from 32 unguessable bytes: 46.5 bits, evenly spread."""
    number = int.from_bytes(entropy, "big")
    symbols: list[str] = []
    for _ in range(LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        symbols.append(ALPHABET[digit])
    return "".join(symbols)


def normalise(text: str) -> str | None:
    """The code as it was drawn: upper case, without the spaces and hyphens people type.

    None for anything else, letters included that only become ASCII in upper case.
    """
    code = text.upper().replace("-", "").replace(" ", "")
    well_formed = text.isascii() and len(code) == LENGTH and not code.strip(ALPHABET)
    return code if well_formed else None


def shown(code: str) -> str:
    """The form for people: `K7Q-2ZM-9XP`."""
    return f"{code[:3]}-{code[3:6]}-{code[6:]}"


def redeem(
    code: PairingCode | None, csr_sha256: str, now: datetime
) -> tuple[Literal["redeem", "repeat"], PairingCode]:
    """First use, or the same key asking again because the answer was lost.

    Raises NotFound (`pairing_code_invalid`) for unknown, expired and used alike: the caller
    learns nothing from which one it was.
    """
    if code is None or now >= code.expires_at:
        raise NotFound("pairing_code_invalid")
    if code.redeemed_by is None:
        return "redeem", code
    if code.redeemed_by == csr_sha256:
        return "repeat", code
    raise NotFound("pairing_code_invalid")


def evolve(code: PairingCode | None, recorded: Recorded) -> PairingCode:
    match recorded.event:
        case PairingCodeIssued() as event:
            return PairingCode(
                id=PairingCodeId(recorded.stream_id),
                version=recorded.version,
                tenant_id=event.for_tenant,
                device_id=event.device_id,
                code_number=event.code_number,
                expires_at=event.expires_at,
            )
        case PairingCodeRedeemed() as event if code is not None:
            return msgspec.structs.replace(
                code, version=recorded.version, redeemed_by=event.csr_sha256
            )
        case other:
            raise UnexpectedEvent(other)


def rebuild(past: Iterable[Recorded]) -> PairingCode | None:
    return fold(evolve, past)
