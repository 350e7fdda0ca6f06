"""Compact JWS that clients sign: read strictly, verified by a key that we hold or were handed.

The algorithm is the key's and never the token's: P-256 is ES256, Ed25519 is EdDSA (also under its
name of RFC 9864), RSA is PS256. There is no `crit`, `b64`, `zip` or nesting, and of the header's
`jwk` only a proof of possession makes use (RFC 9449); `jku`, `x5u` and `x5c` are refused.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from domain.oauth_client import PublicJwk
from infrastructure.keys.signing_keys import SignatureInvalid, unbase64url
from infrastructure.strict_json import NotAnObject, read_object

ALGORITHMS: Final = ("ES256", "EdDSA", "Ed25519", "PS256")
"""What we accept, for the metadata (RFC 8414 §2)."""

TOKEN_CHARACTERS_MAX: Final = 8192
RSA_BITS: Final = (2048, 4096)
_HEADER: Final = frozenset({"alg", "typ", "kid", "jwk"})
_COMPACT: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_PSS: Final = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
_ES256: Final = ec.ECDSA(hashes.SHA256())


class KeyUnusable(Exception):
    """Not a public key of a kind that we verify with."""


class Jws(msgspec.Struct, frozen=True, kw_only=True):
    """A token taken apart and not yet verified."""

    header: Mapping[str, Any]
    payload: bytes
    signing_input: bytes
    signature: bytes


class VerificationKey(msgspec.Struct, frozen=True, kw_only=True):
    """`verify` takes signature and signed bytes and raises InvalidSignature, ValueError."""

    algorithms: frozenset[str]
    verify: Callable[[bytes, bytes], None]


def read(token: str, *, types: frozenset[str | None]) -> Jws:
    """Raises SignatureInvalid for what is not one JWS of one of these `typ`s (None: without)."""
    found = _COMPACT.fullmatch(token) if len(token) <= TOKEN_CHARACTERS_MAX else None
    if found is None:
        raise SignatureInvalid("not a compact JWS")
    try:
        header = read_object(unbase64url(found[1]))
    except NotAnObject as error:
        raise SignatureInvalid("the header is not plain JSON") from error
    typ = header.get("typ")
    if not header.keys() <= _HEADER or not isinstance(header.get("alg"), str):
        raise SignatureInvalid("a header that is not wanted here")
    if (typ is not None and not isinstance(typ, str)) or typ not in types:
        raise SignatureInvalid("a token of another kind")
    return Jws(
        header=header,
        payload=unbase64url(found[2]),
        signing_input=f"{found[1]}.{found[2]}".encode(),
        signature=unbase64url(found[3]),
    )


def verify(jws: Jws, key: VerificationKey) -> dict[str, Any]:
    """The claims, once the signature holds under the key's own algorithm. Raises
    SignatureInvalid."""
    if jws.header["alg"] not in key.algorithms:
        raise SignatureInvalid("another algorithm than the key's")
    try:
        key.verify(jws.signature, jws.signing_input)
    except (InvalidSignature, ValueError) as error:
        raise SignatureInvalid("the signature does not hold") from error
    try:
        return read_object(jws.payload)
    except NotAnObject as error:
        raise SignatureInvalid("the payload is not plain JSON") from error


@lru_cache(maxsize=4096)
def verification_key(jwk: PublicJwk) -> VerificationKey:
    """The key in a JWK; making one costs as much as verifying with it. Raises KeyUnusable."""
    try:
        made = _MAKERS[jwk.kty](jwk)
    except (ValueError, SignatureInvalid, UnsupportedAlgorithm) as error:
        raise KeyUnusable(f"not a public key of {jwk.kty}: {error}") from error
    if jwk.alg is not None and jwk.alg not in made.algorithms:
        raise KeyUnusable(f"a key of {jwk.kty} is not for {jwk.alg}")
    return made


def _elliptic(jwk: PublicJwk) -> VerificationKey:
    if jwk.crv != "P-256" or jwk.x is None or jwk.y is None or jwk.n or jwk.e:
        raise KeyUnusable("an EC key has crv P-256, x and y")
    numbers = ec.EllipticCurvePublicNumbers(_number(jwk.x), _number(jwk.y), ec.SECP256R1())
    key = numbers.public_key()

    def check(signature: bytes, signed: bytes) -> None:
        if len(signature) != 64:
            raise InvalidSignature
        r, s = signature[:32], signature[32:]
        der = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
        key.verify(der, signed, _ES256)

    return VerificationKey(algorithms=frozenset({"ES256"}), verify=check)


def _edwards(jwk: PublicJwk) -> VerificationKey:
    if jwk.crv != "Ed25519" or jwk.x is None or jwk.y or jwk.n or jwk.e:
        raise KeyUnusable("an OKP key has crv Ed25519 and x")
    key = ed25519.Ed25519PublicKey.from_public_bytes(unbase64url(jwk.x))
    return VerificationKey(algorithms=frozenset({"EdDSA", "Ed25519"}), verify=key.verify)


def _rsa(jwk: PublicJwk) -> VerificationKey:
    if jwk.n is None or jwk.e is None or jwk.crv or jwk.x or jwk.y:
        raise KeyUnusable("an RSA key has n and e")
    key = rsa.RSAPublicNumbers(_number(jwk.e), _number(jwk.n)).public_key()
    if not RSA_BITS[0] <= key.key_size <= RSA_BITS[1]:
        raise KeyUnusable(f"an RSA key has {RSA_BITS[0]} to {RSA_BITS[1]} bits")

    def check(signature: bytes, signed: bytes) -> None:
        key.verify(signature, signed, _PSS, hashes.SHA256())

    return VerificationKey(algorithms=frozenset({"PS256"}), verify=check)


_MAKERS: Final = {"EC": _elliptic, "OKP": _edwards, "RSA": _rsa}


def _number(text: str) -> int:
    return int.from_bytes(unbase64url(text), "big")
