"""An authenticator and the browser in front of it, made in software from WebAuthn Level 3.

It shares no code with what it is tried against: its CBOR is its own. `Page` has what a test may
want to be wrong: another origin, another relying party, no user verification, a counter that
stands still.
"""

import base64
import hashlib
import json
import os
import struct
from typing import Any, cast

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

Json = dict[str, Any]
Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

UP, UV, BE, BS, AT = 0x01, 0x04, 0x08, 0x10, 0x40


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """What the browser says of the page, and the authenticator of what happened."""

    origin: str = "https://localhost:8443"
    rp_id: str | None = None
    challenge: str | None = None
    kind: str | None = None
    flags: int = UP | UV | BE | BS
    cross_origin: bool = False
    attestation: str = "none"


GOOD = Page()


def text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def plain(value: str) -> bytes:
    return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))


def cbor(value: object) -> bytes:
    """As CTAP2 wants it, of what a credential is made of (RFC 8949)."""
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        return _head(3, len(value.encode())) + value.encode()
    assert isinstance(value, dict)
    members = cast("dict[object, object]", value)
    found = b"".join(cbor(name) + cbor(member) for name, member in members.items())
    return _head(5, len(members)) + found


def _head(kind: int, number: int) -> bytes:
    for short, code, form in ((24, None, ""), (1 << 8, 24, ">B"), (1 << 16, 25, ">H")):
        if number < short:
            if code is None:
                return bytes([kind << 5 | number])
            return bytes([kind << 5 | code]) + struct.pack(form, number)
    return bytes([kind << 5 | 26]) + struct.pack(">I", number)


def _ec() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


class Authenticator:
    """One credential: `make` makes it, `show` signs with it. `count` goes up with every signature
    unless it is None: then the authenticator keeps none and says 0."""

    def __init__(self, key: Key | None = None, *, counts: bool = True) -> None:
        self.key = key or _ec()
        self.id = os.urandom(32)
        self.user_handle = b""
        self.rp_id = ""
        self.count = 1 if counts else None

    def make(self, options: Json, page: Page = GOOD) -> Json:
        """What `navigator.credentials.create(options)` says, by `toJSON()`."""
        self.rp_id, self.user_handle = options["rp"]["id"], plain(options["user"]["id"])
        attested = bytes(16) + struct.pack(">H", len(self.id)) + self.id + cbor(self.cose())
        data = self._data(page, page.flags | AT) + attested
        made: dict[str, object] = {"fmt": page.attestation, "attStmt": {}, "authData": data}
        return self._said(
            {
                "clientDataJSON": text(self._client_data(options, "webauthn.create", page)),
                "attestationObject": text(cbor(made)),
                "authenticatorData": text(data),
                "transports": ["internal", "hybrid"],
                "publicKeyAlgorithm": -7,
            }
        )

    def show(self, options: Json, page: Page = GOOD) -> Json:
        """What `navigator.credentials.get(options)` says, by `toJSON()`."""
        if self.count is not None:
            self.count += 1
        data = self._data(page, page.flags)
        client_data = self._client_data(options, "webauthn.get", page)
        return self._said(
            {
                "clientDataJSON": text(client_data),
                "authenticatorData": text(data),
                "signature": text(self._sign(data + hashlib.sha256(client_data).digest())),
                "userHandle": text(self.user_handle),
            }
        )

    def cose(self) -> dict[int, object]:
        """The public key (RFC 9053 §7, RFC 8230 §4)."""
        public = self.key.public_key()
        if isinstance(public, ec.EllipticCurvePublicKey):
            point = public.public_numbers()
            x, y = point.x.to_bytes(32, "big"), point.y.to_bytes(32, "big")
            return {1: 2, 3: -7, -1: 1, -2: x, -3: y}
        if isinstance(public, ed25519.Ed25519PublicKey):
            return {1: 1, 3: -8, -1: 6, -2: public.public_bytes(Encoding.Raw, PublicFormat.Raw)}
        numbers = public.public_numbers()
        modulus = numbers.n.to_bytes(public.key_size // 8, "big")
        return {1: 3, 3: -257, -1: modulus, -2: numbers.e.to_bytes(3, "big")}

    def _sign(self, message: bytes) -> bytes:
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            return self.key.sign(message, ec.ECDSA(hashes.SHA256()))
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        return self.key.sign(message)

    def _data(self, page: Page, flags: int) -> bytes:
        hashed = hashlib.sha256((page.rp_id or self.rp_id).encode()).digest()
        return hashed + struct.pack(">BI", flags, self.count or 0)

    def _client_data(self, options: Json, kind: str, page: Page) -> bytes:
        told = {
            "type": page.kind or kind,
            "challenge": page.challenge or options["challenge"],
            "origin": page.origin,
            "crossOrigin": page.cross_origin,
        }
        return json.dumps(told).encode()

    def _said(self, response: Json) -> Json:
        return {
            "id": text(self.id),
            "rawId": text(self.id),
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {"credProps": {"rk": True}},
            "response": response,
        }
