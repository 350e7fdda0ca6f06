"""The attestation extension of a certificate, read: what the hardware says of a key.

ASN.1 as in source.android.com/docs/security/features/keystore/attestation#schema. It is strict
DER; fields that nobody here asks for are not looked at, so that a newer schema is no error, but
they must stand in order.
"""

from typing import Final

import msgspec
from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier

from domain.attestation import AttestationLevel, BootState

OID: Final = ObjectIdentifier("1.3.6.1.4.1.11129.2.1.17")

LEVELS: Final[tuple[AttestationLevel, ...]] = ("software", "tee", "strongbox")
BOOT_STATES: Final[tuple[BootState, ...]] = ("verified", "self_signed", "unverified", "failed")
GENERATED: Final = 0
SIGN: Final = 2

_ENUMERATED: Final = b"\x0a"
_CONTEXT_CONSTRUCTED: Final = 0xA0
_LONG_TAG: Final = 0x1F
_SEQUENCE: Final = 0x30
_SET: Final = 0x31
_SHORT_LENGTH: Final = 0x80
_PURPOSE: Final = 1
_ORIGIN: Final = 702
_ROOT_OF_TRUST: Final = 704
_PATCH_LEVEL: Final = 706


class Unreadable(ValueError):
    """Not a description of a key."""


class KeyDescription(msgspec.Struct, frozen=True, kw_only=True):
    """What counts of it. `level` is the weaker of the two that it names; `boot` and `locked` are
    the bad value where nothing is said."""

    challenge: bytes
    level: AttestationLevel
    purposes: frozenset[int]
    origin: int | None
    boot: BootState = "unverified"
    locked: bool = False
    has_root_of_trust: bool = False
    patch_level: int | None = None


@asn1.sequence
class _KeyDescription:
    attestation_version: int
    attestation_level: asn1.TLV
    keymint_version: int
    keymint_level: asn1.TLV
    challenge: bytes
    unique_id: bytes
    by_software: list[asn1.TLV]
    by_hardware: list[asn1.TLV]


@asn1.sequence
class _RootOfTrust:
    boot_key: bytes
    locked: bool
    boot_state: asn1.TLV
    boot_hash: bytes | None


@asn1.sequence
class _Purposes:
    """A set that not every device sorts, as DER would have it: read as a sequence, which only a
    field can be."""

    purposes: list[int]


def read(extension: bytes) -> KeyDescription:
    """Raises Unreadable."""
    try:
        found = asn1.decode_der(_KeyDescription, extension)
        level = min(_level(found.attestation_level), _level(found.keymint_level))
        hardware, software = _fields(found.by_hardware), _fields(found.by_software)
        # A key that no hardware holds has its properties in the other list.
        said = hardware if level > 0 else software | hardware
        described = KeyDescription(
            challenge=found.challenge,
            level=LEVELS[level],
            purposes=_purposes(said.get(_PURPOSE)),
            origin=_integer(said.get(_ORIGIN)),
            patch_level=_patch_level(said.get(_PATCH_LEVEL)),
        )
        return _with_root_of_trust(described, hardware.get(_ROOT_OF_TRUST))
    except (ValueError, IndexError) as error:
        raise Unreadable from error


def _with_root_of_trust(described: KeyDescription, content: bytes | None) -> KeyDescription:
    if content is None:
        return described
    found = asn1.decode_der(_RootOfTrust, content)
    return msgspec.structs.replace(
        described,
        boot=BOOT_STATES[_enumerated(found.boot_state)],
        locked=found.locked,
        has_root_of_trust=True,
    )


def _fields(elements: list[asn1.TLV]) -> dict[int, bytes]:
    """What stands under each tag: explicit, in ascending order, each once."""
    fields: dict[int, bytes] = {}
    last = -1
    for element in elements:
        number = _tag(bytes(element.tag_bytes))
        if number <= last:
            raise Unreadable("tags are not in ascending order")
        fields[number] = bytes(element.data)
        last = number
    return fields


def _tag(encoded: bytes) -> int:
    """The number of a constructed, context-specific tag (X.690 §8.1.2)."""
    first, *rest = encoded
    if first & 0xE0 != _CONTEXT_CONSTRUCTED:
        raise Unreadable("a field without an explicit tag")
    if first & _LONG_TAG != _LONG_TAG:
        return first & _LONG_TAG
    number = 0
    for byte in rest:
        number = number << 7 | byte & 0x7F
    return number


def _enumerated(element: asn1.TLV) -> int:
    content = bytes(element.data)
    if bytes(element.tag_bytes) != _ENUMERATED or len(content) != 1:
        raise Unreadable("not an enumeration")
    return content[0]


def _level(element: asn1.TLV) -> int:
    number = _enumerated(element)
    if number >= len(LEVELS):
        raise Unreadable("a level that nobody knows")
    return number


def _integer(content: bytes | None) -> int | None:
    return None if content is None else asn1.decode_der(int, content)


def _purposes(content: bytes | None) -> frozenset[int]:
    if content is None:
        return frozenset()
    if content[0] != _SET or len(content) >= _SHORT_LENGTH:
        raise Unreadable("not a set of purposes")
    framed = bytes((_SEQUENCE, len(content), _SEQUENCE)) + content[1:]
    return frozenset(asn1.decode_der(_Purposes, framed).purposes)


def _patch_level(content: bytes | None) -> int | None:
    """None also for what is no month or day: some devices say 0."""
    number = _integer(content)
    return number if number is not None and len(str(number)) in (6, 8) and number > 0 else None
