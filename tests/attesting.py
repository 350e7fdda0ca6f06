"""Hardware that vouches for keys as a test likes: chains of Android Key Attestation by a root of
our own, and everything that can be wrong with one."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from infrastructure.attestation.key_description import OID

Key = ec.EllipticCurvePrivateKey

BEGINNING: Final = datetime(2020, 1, 1, tzinfo=UTC)
SOFTWARE, TEE, STRONGBOX = 0, 1, 2
SIGN: Final = 2


def der(tag: int, *contents: bytes) -> bytes:
    """One element whose tag is one byte."""
    content = b"".join(contents)
    size = len(content)
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    length = octets if 0 < size < 128 else bytes((0x80 | len(octets), *octets))
    return bytes((tag,)) + (length if size else b"\x00") + content


def field(number: int, content: bytes) -> bytes:
    """An explicit, context-specific tag."""
    if number < 31:
        return der(0xA0 | number, content)
    encoded = bytes((0xBF, 0x80 | number >> 7, number & 0x7F))
    return encoded + der(0, content)[1:]


def integer(number: int) -> bytes:
    return der(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big"))


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What the hardware says of a key."""

    challenge: bytes
    level: int = TEE
    keymint_level: int | None = None
    origin: int | None = 0
    purposes: Sequence[int] = (SIGN,)
    boot_state: int | None = 0
    locked: bytes = b"\xff"
    patch_level: int = 202_602
    unknown_field: bool = False

    def encoded(self) -> bytes:
        purposes = field(1, der(0x31, *(integer(each) for each in self.purposes)))
        origin = b"" if self.origin is None else field(702, integer(self.origin))
        root = b""
        if self.boot_state is not None:
            locked, state = der(0x01, self.locked), der(0x0A, bytes((self.boot_state,)))
            root = field(704, der(0x30, der(0x04, bytes(32)), locked, state))
        patch = field(706, integer(self.patch_level))
        later = field(999, der(0x05)) if self.unknown_field else b""
        keymint = self.level if self.keymint_level is None else self.keymint_level
        return der(
            0x30,
            integer(400),
            der(0x0A, bytes((self.level,))),
            integer(400),
            der(0x0A, bytes((keymint,))),
            der(0x04, self.challenge),
            der(0x04),
            der(0x30),
            der(0x30, purposes, origin, root, patch, later),
        )


def new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def certificate(
    name: str,
    key: ec.EllipticCurvePublicKey,
    issuer: str,
    signer: Key,
    *,
    serial: int = 1,
    begins: datetime = BEGINNING,
    ends: datetime = BEGINNING + timedelta(days=36_500),
    description: bytes | None = None,
    ca: bool | None = None,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named(issuer))
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(begins)
        .not_valid_after(ends)
    )
    if description is not None:
        builder = builder.add_extension(
            x509.UnrecognizedExtension(OID, description), critical=False
        )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    return builder.sign(signer, hashes.SHA256())


class Maker:
    """A maker of devices: a root, and one who attests under it."""

    def __init__(self, *, ends: datetime = BEGINNING + timedelta(days=36_500)) -> None:
        self.root_key, self.attester_key = new_key(), new_key()
        root = self.root_key
        self.root = certificate("root", root.public_key(), "root", root, serial=10, ca=True)
        self.attester = certificate(
            "attester",
            self.attester_key.public_key(),
            "root",
            root,
            serial=0xA11CE,
            ca=True,
            ends=ends,
        )

    def attested(
        self, key: ec.EllipticCurvePublicKey, description: bytes | None
    ) -> list[x509.Certificate]:
        """The chain for a key, with this description of it."""
        leaf = certificate("key", key, "attester", self.attester_key, description=description)
        return [leaf, self.attester, self.root]

    def chain(self, key: ec.EllipticCurvePublicKey, said: Said) -> list[str]:
        return pem(self.attested(key, said.encoded()))


def pem(certificates: Sequence[x509.Certificate]) -> list[str]:
    return [each.public_bytes(Encoding.PEM).decode() for each in certificates]


MAKER: Final = Maker()
"""Whom every house of the tests trusts, and no other maker."""
