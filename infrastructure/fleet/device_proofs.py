"""Reads what a device signs with the key of a certificate of ours (reference broker.md §3.2).

The certificate comes in the proof, so that it is looked at first and believed only as far as our
device CA signed it. Whether it still counts is for whoever asks.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, cast

import jwt
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from application.ports.recovery import DeviceProof, ProofKind
from domain.errors import Unauthenticated
from domain.spiffe import DeviceIdentity, read_device_uri
from infrastructure.fleet.platform_ca import PlatformCA
from infrastructure.keys.signing_keys import SignatureInvalid, unbase64url
from infrastructure.strict_json import NotAnObject, read_object

CERTIFICATE_BYTES_MAX: Final = 4096
PROOF_CHARACTERS_MAX: Final = 49_152
"""Room for a certificate request and a certificate, each in base64, and for a signature."""

_HEADER: Final = frozenset({"alg", "typ", "x5c"})
_COMPACT: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")


class _Attestation(msgspec.Struct):
    format: Literal["android-key"]
    chain: Annotated[
        tuple[Annotated[str, msgspec.Meta(max_length=8192)], ...], msgspec.Meta(max_length=10)
    ]


class _Claims(msgspec.Struct):
    nonce: Annotated[str, msgspec.Meta(min_length=16, max_length=128)]
    iat: Annotated[int, msgspec.Meta(ge=0, le=2**40)]
    csr: Annotated[str, msgspec.Meta(max_length=16_384)] | None = None
    attestation: _Attestation | None = None


class CertificateProofs:
    """`application.ports.recovery.DeviceProofs`; a proof is for `audience` and nobody else.

    A device CA of before will do: the key of a certificate that the log knows is proof enough.
    """

    def __init__(self, authority: PlatformCA, trust_domain: str, audience: str) -> None:
        self._authority = authority
        self._trust_domain = trust_domain
        self._audience = audience

    def read(self, proof: str, kind: ProofKind) -> DeviceProof:
        try:
            certificate = self._certificate(_header(proof), kind)
            key, algorithms = _verifying(certificate)
            claims: dict[str, Any] = jwt.decode(
                proof,
                key,
                algorithms=algorithms,
                audience=self._audience,
                options={
                    "require": ["aud", "iat", "nonce"],
                    "verify_iat": False,
                    "verify_exp": False,
                    "verify_nbf": False,
                },
            )
            said = msgspec.convert(claims, _Claims)
        except (
            jwt.InvalidTokenError,
            msgspec.ValidationError,
            SignatureInvalid,
            NotAnObject,
            ValueError,
            _Odd,
        ) as error:
            raise Unauthenticated("proof_invalid") from error
        identity = self._identity(certificate)
        if identity is None:
            raise Unauthenticated("proof_invalid")
        return DeviceProof(
            tenant_id=identity.tenant_id,
            device_id=identity.device_id,
            fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
            nonce=said.nonce,
            made_at=datetime.fromtimestamp(said.iat, UTC),
            csr=said.csr,
            attestation=said.attestation.chain if said.attestation is not None else None,
        )

    def _certificate(self, header: Mapping[str, Any], kind: ProofKind) -> x509.Certificate:
        chain = header.get("x5c")
        if header.get("typ") != kind or not isinstance(chain, list) or not chain:
            raise _Odd
        leaf = cast("list[object]", chain)[0]
        if not isinstance(leaf, str) or len(leaf) > 2 * CERTIFICATE_BYTES_MAX:
            raise _Odd
        try:
            certificate = x509.load_der_x509_certificate(base64.b64decode(leaf, validate=True))
        except (binascii.Error, ValueError) as error:
            raise _Odd from error
        if self._authority.signer_of(certificate) is None:
            raise _Odd
        return certificate

    def _identity(self, certificate: x509.Certificate) -> DeviceIdentity | None:
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except (x509.ExtensionNotFound, ValueError):
            return None
        uris = names.value.get_values_for_type(x509.UniformResourceIdentifier)
        return read_device_uri(self._trust_domain, uris[0]) if len(uris) == 1 else None


class _Odd(Exception):
    """Not a proof of this kind with a certificate of ours."""


def _header(proof: str) -> Mapping[str, Any]:
    """Of a proof whose parts can be read in one way only. Raises _Odd, SignatureInvalid and
    NotAnObject."""
    found = _COMPACT.fullmatch(proof) if len(proof) <= PROOF_CHARACTERS_MAX else None
    if found is None:
        raise _Odd
    header = read_object(unbase64url(found[1]))
    if header.keys() - _HEADER:
        raise _Odd
    read_object(unbase64url(found[2]))
    unbase64url(found[3])
    return header


def _verifying(
    certificate: x509.Certificate,
) -> tuple[ec.EllipticCurvePublicKey | rsa.RSAPublicKey, list[str]]:
    """The key, and what it may have signed with; never what the proof asks for."""
    key = certificate.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key, ["ES256"] if isinstance(key.curve, ec.SECP256R1) else ["ES384"]
    if isinstance(key, rsa.RSAPublicKey):
        return key, ["PS256", "RS256"]
    raise _Odd
