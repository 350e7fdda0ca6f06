"""The platform's ES256 keys: what it signs with, and what others verify with (RFC 7515, 7517).

A family of keys signs one kind of token and no other: access tokens have one, identity assertions
another, people's own tokens a third. What stands in the one JWKS document is told apart by the
`typ` that the signature covers and by the `kid` sets being disjoint.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from infrastructure.strict_json import NotAnObject, read_object

COORDINATE_BYTES: Final = 32
TOKEN_CHARACTERS_MAX: Final = 4096
_ES256: Final = ec.ECDSA(hashes.SHA256())
_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{86})")


class SigningKeyUnusable(Exception):
    """The stored key is not a P-256 private key in PEM."""


class SignatureInvalid(Exception):
    """The token is not a compact JWS of the expected type by one of these keys."""


class SigningKey:
    """A P-256 private key, loaded once: parsing PEM at each signature costs as much as signing."""

    def __init__(self, private_key: ec.EllipticCurvePrivateKey) -> None:
        if not isinstance(private_key.curve, ec.SECP256R1):
            raise SigningKeyUnusable("ES256 needs a key on the curve P-256")
        self._private_key = private_key
        self.public_key = private_key.public_key()
        numbers = self.public_key.public_numbers()
        members = {
            "crv": "P-256",
            "kty": "EC",
            "x": base64url(numbers.x.to_bytes(COORDINATE_BYTES, "big")),
            "y": base64url(numbers.y.to_bytes(COORDINATE_BYTES, "big")),
        }
        # RFC 7638: the required members in lexicographic order, no white space.
        self.kid = base64url(hashlib.sha256(msgspec.json.encode(members)).digest())
        self.jwk: Mapping[str, str] = {**members, "kid": self.kid, "use": "sig", "alg": "ES256"}
        self._headers: dict[str, str] = {}

    @classmethod
    def generate(cls) -> "SigningKey":
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_pem(cls, pem: bytes) -> "SigningKey":
        """Raises SigningKeyUnusable."""
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise SigningKeyUnusable("not an unencrypted private key in PEM") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise SigningKeyUnusable("ES256 needs an elliptic-curve key")
        return cls(key)

    def to_pem(self) -> bytes:
        """PKCS #8, unencrypted: seal it (`Keyring.seal`) before it is written anywhere."""
        return self._private_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def sign(self, typ: str, claims: Mapping[str, Any]) -> str:
        """A compact JWS whose header is `alg`, `kid` and `typ`."""
        header = self._headers.get(typ)
        if header is None:
            header = self._headers[typ] = base64url(
                msgspec.json.encode({"alg": "ES256", "kid": self.kid, "typ": typ})
            )
        signing_input = f"{header}.{base64url(msgspec.json.encode(claims))}"
        r, s = decode_dss_signature(self._private_key.sign(signing_input.encode(), _ES256))
        signature = r.to_bytes(COORDINATE_BYTES, "big") + s.to_bytes(COORDINATE_BYTES, "big")
        return f"{signing_input}.{base64url(signature)}"


class SigningKeys:
    """One family: `current` signs; `others` are published and verified (next, and retiring)."""

    current: SigningKey

    def __init__(self, current: SigningKey, others: Sequence[SigningKey] = ()) -> None:
        self.use(current, others)

    def use(self, current: SigningKey, others: Sequence[SigningKey]) -> None:
        """From now on these, and no others."""
        self.current = current
        self._by_kid = {key.kid: key for key in (current, *others)}

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The public halves as a JWK Set (RFC 7517 §5)."""
        return {"keys": [dict(key.jwk) for key in self._by_kid.values()]}

    def believes(self, kid: str) -> bool:
        """Whether a signature by this key counts now."""
        return kid in self._by_kid

    def verify(self, token: str, typ: str) -> tuple[str, bytes]:
        """The `kid` and the payload of a token by this family. Raises SignatureInvalid, and tells
        nobody why.

        The header must be exactly the one that `SigningKey.sign` writes: `alg` is not a choice of
        the token, and there is no `crit`, `jwk`, `jku`, `x5u` or `b64` to be talked into.
        """
        found = _COMPACT.fullmatch(token) if len(token) <= TOKEN_CHARACTERS_MAX else None
        if found is None:
            raise SignatureInvalid("not a compact JWS")
        try:
            header = read_object(unbase64url(found[1]))
        except NotAnObject as error:
            raise SignatureInvalid("the header is not plain JSON") from error
        key = self._by_kid.get(str(header.get("kid")))
        if key is None or header != {"alg": "ES256", "kid": key.kid, "typ": typ}:
            raise SignatureInvalid("not a header that we write")
        signature = unbase64url(found[3])
        der = encode_dss_signature(
            int.from_bytes(signature[:COORDINATE_BYTES], "big"),
            int.from_bytes(signature[COORDINATE_BYTES:], "big"),
        )
        try:
            key.public_key.verify(der, f"{found[1]}.{found[2]}".encode(), _ES256)
        except InvalidSignature as error:
            raise SignatureInvalid("the signature does not hold") from error
        return key.kid, unbase64url(found[2])


def jwks_document(*families: SigningKeys) -> dict[str, list[dict[str, str]]]:
    """All families' public keys in one document. Raises ValueError when two share a key."""
    keys = [key for family in families for key in family.jwks()["keys"]]
    if len({key["kid"] for key in keys}) != len(keys):
        raise ValueError("a key belongs to one family of tokens only")
    return {"keys": keys}


def base64url(data: bytes) -> str:
    """Without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unbase64url(text: str) -> bytes:
    """Only the one spelling that `base64url` writes: no padding, no stray trailing bits."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise SignatureInvalid("not base64url") from error
    if base64url(data) != text:
        raise SignatureInvalid("not the canonical base64url")
    return data
