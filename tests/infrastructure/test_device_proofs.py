"""Only the key of a certificate of ours speaks for a device, and only to us."""

import base64
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from application.ports.recovery import DeviceProof
from domain.errors import Unauthenticated
from infrastructure.fleet.device_proofs import CertificateProofs
from infrastructure.fleet.platform_ca import PlatformCA
from infrastructure.keys.signing_keys import SigningKey
from tests.application.hand_clock import HandClock
from tests.builders import DEVICE
from tests.infrastructure.forgeries import Forger
from tests.infrastructure.tokens import private_half
from tests.spec import TENANT

AUDIENCE = "https://id.example"
KIND = "device-cert-status+jwt"
NONCE = "n" * 43
SAID: Mapping[str, Any] = {"aud": AUDIENCE, "nonce": NONCE, "iat": 1_772_355_600}
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def authority() -> PlatformCA:
    return PlatformCA.generate(trust_domain="link.example", clock=HandClock())


OURS = authority()
KEY = ec.generate_private_key(ec.SECP256R1())


def certificate(key: Key, by: PlatformCA = OURS) -> x509.Certificate:
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    pem = csr.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
    issued = by.issue(pem, TENANT, DEVICE, validity_days=1)
    return x509.load_pem_x509_certificate(issued.certificate_pem.encode())


HELD = certificate(KEY)


def x5c(found: x509.Certificate) -> list[str]:
    return [base64.b64encode(found.public_bytes(Encoding.DER)).decode()]


def proof(
    key: Any = KEY,
    found: x509.Certificate = HELD,
    *,
    algorithm: str = "ES256",
    header: Mapping[str, Any] = {},
    **claims: Any,
) -> str:
    said = {name: value for name, value in {**SAID, **claims}.items() if value is not None}
    headers = {"typ": KIND, "x5c": x5c(found), **header}
    return jwt.encode(said, key, algorithm=algorithm, headers=headers)


def read(text: str) -> DeviceProof:
    proofs = CertificateProofs(OURS, "link.example", AUDIENCE)
    return proofs.read(text, "device-cert-status+jwt")


def test_who_has_the_key_is_the_device_though_its_certificate_has_run_out() -> None:
    assert read(proof(csr="a request")) == DeviceProof(
        tenant_id=TENANT,
        device_id=DEVICE,
        fingerprint=HELD.fingerprint(hashes.SHA256()).hex(),
        nonce=NONCE,
        made_at=datetime.fromtimestamp(SAID["iat"], UTC),
        csr="a request",
    )


@pytest.mark.parametrize("algorithm", ["PS256", "RS256"])
def test_a_device_may_have_another_kind_of_key(algorithm: str) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    assert read(proof(key, certificate(key), algorithm=algorithm)).device_id == DEVICE
    curve = ec.generate_private_key(ec.SECP384R1())
    assert read(proof(curve, certificate(curve), algorithm="ES384")).device_id == DEVICE


def forged() -> dict[str, str]:
    other = ec.generate_private_key(ec.SECP256R1())
    strange = certificate(other, authority())
    public = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    good = proof()
    head, body, signature = good.split(".")
    return {
        "nothing": "",
        "no token": "a.b",
        "another key": proof(other),
        "another CA": proof(other, strange),
        "our listener's certificate": proof(other, _server()),
        "no signature": f"{head}.{body}.",
        "another signature": f"{head}.{body}.{signature[:-4]}AAAA",
        "another body": f"{head}.{proof(nonce='m' * 43).split('.')[1]}.{signature}",
        "no algorithm": proof(None, algorithm="none"),
        "a secret that everybody knows": _by_hand("HS256", public),
        "another algorithm": proof(ec.generate_private_key(ec.SECP384R1()), algorithm="ES384"),
        "another kind": proof(header={"typ": "device-cert-recovery+jwt"}),
        "no kind": proof(header={"typ": "JWT"}),
        "no certificate": proof(header={"x5c": []}),
        "a certificate that is a word": proof(header={"x5c": "word"}),
        "a certificate that is a number": proof(header={"x5c": [1]}),
        "no base64": proof(header={"x5c": ["*"]}),
        "no DER": proof(header={"x5c": ["AAAA"]}),
        "too much": proof(header={"x5c": ["A" * 20_000]}),
        "another audience": proof(aud="https://other.example"),
        "no audience": proof(aud=None),
        "no nonce": proof(nonce=None),
        "a short nonce": proof(nonce="n"),
        "a nonce that is a number": proof(nonce=7),
        "no time": proof(iat=None),
        "a time before all times": proof(iat=-1),
        "a time after all times": proof(iat=2**60),
        "a request that is a list": proof(csr=["a"]),
    }


def _by_hand(algorithm: str, secret: bytes) -> str:
    """What the library refuses to make."""
    header = {"alg": algorithm, "typ": KIND, "x5c": x5c(HELD)}
    parts = [base64.urlsafe_b64encode(json.dumps(each).encode()) for each in (header, SAID)]
    signed = b".".join(part.rstrip(b"=") for part in parts)
    signature = hmac.digest(secret, signed, "sha256")
    return f"{signed.decode()}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def _server() -> x509.Certificate:
    chain, _ = OURS.issue_server(["localhost"])
    return x509.load_pem_x509_certificates(chain.encode())[0]


FORGED = forged()


@pytest.mark.parametrize("name", FORGED)
def test_nothing_else_is_a_proof(name: str) -> None:
    with pytest.raises(Unauthenticated, match="proof_invalid"):
        read(FORGED[name])


SIGNING = SigningKey.generate()
FORGER = Forger(
    key=SIGNING,
    header={"alg": "ES256", "typ": KIND, "x5c": x5c(certificate(private_half(SIGNING)))},
    claims=dict(SAID),
    other_types=("device-cert-recovery+jwt", "at+jwt", "dpop+jwt", "JWT", ""),
)
MAY_BE_LONG = "oversize"
"""A proof may hold a certificate request."""


def test_no_forgery_is_a_proof() -> None:
    """Seen to fail while duplicate members, other header members and padding were read over."""
    assert read(FORGER.good()).device_id == DEVICE
    forgeries = {name: text for name, text in FORGER.forgeries().items() if name != MAY_BE_LONG}
    assert len(forgeries) >= 60
    for text in forgeries.values():
        with pytest.raises(Unauthenticated, match="proof_invalid"):
            read(text)
    with pytest.raises(Unauthenticated, match="proof_invalid"):
        read(FORGER.claiming(csr="x" * 16_385))
