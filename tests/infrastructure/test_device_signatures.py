"""What a device says of a match counts if the key of its certificate signed just that."""

from collections.abc import Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import Encoding

from infrastructure.canonical_json import JcsCanonicalJSON
from infrastructure.fleet.device_signatures import CertificateSignatures
from tests.infrastructure.forgeries import ORDER
from tests.infrastructure.test_device_proofs import Key, certificate

SAID: Mapping[str, Any] = {
    "idempotency_key": "k" * 22,
    "scan_sha256": "0" * 64,
    "user_id": "usr_" + "1" * 32,
    "model_version": "3.2.1",
    "library_version": "11",
    "scores": [0.9, 0.91],
    "thresholds": [0.8, 0.8],
}
ES256 = ec.ECDSA(hashes.SHA256())
PKCS = padding.PKCS1v15()
ELLIPTIC = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(public_exponent=65537, key_size=3072)


def message(**changes: Any) -> bytes:
    return JcsCanonicalJSON().canonical({**SAID, **changes})


def signed(key: Key, said: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(said, PKCS, hashes.SHA256())
    return key.sign(said, ES256)


OTHERWISE: list[dict[str, Any]] = [
    {"idempotency_key": "k" * 21 + "l"},
    {"idempotency_key": ""},
    {"idempotency_key": None},
    {"scan_sha256": "0" * 63 + "1"},
    {"scan_sha256": ""},
    {"user_id": "usr_" + "1" * 31 + "2"},
    {"user_id": "USR_" + "1" * 32},
    {"user_id": None},
    {"model_version": "3.2.2"},
    {"library_version": "12"},
    {"library_version": 11},
    {"scores": [0.91, 0.9]},
    {"scores": [0.9]},
    {"scores": [0.9, 0.91, 1.0]},
    {"scores": ["0.9", "0.91"]},
    {"scores": [0.9, 0.9100000000000001]},
    {"thresholds": [0.0, 0.0]},
    {"thresholds": []},
    {"context": {}},
    {"attempt": 2},
]


def spoilt(signature: bytes) -> list[bytes]:
    """A signature with something wrong with its bytes."""
    bits = [
        signature[:at] + bytes([signature[at] ^ 1]) + signature[at + 1 :]
        for at in range(0, len(signature), max(1, len(signature) // 24))
    ]
    return [
        b"",
        b"\0",
        signature[:-1],
        signature[1:],
        signature + b"\0",
        b"\0" + signature,
        signature * 2,
        signature[::-1],
        bytes(len(signature)),
        b"\xff" * len(signature),
        signature.hex().encode(),
        *bits,
    ]


def elliptic_only(signature: bytes, said: bytes) -> list[bytes]:
    r, s = decode_dss_signature(signature)
    raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    numbers = [(0, 0), (0, s), (r, 0), (s, r), (r + ORDER, s), (r, s + ORDER), (ORDER, ORDER)]
    return [
        raw,
        *(encode_dss_signature(*pair) for pair in numbers),
        ELLIPTIC.sign(said, ec.ECDSA(hashes.SHA384())),
        ELLIPTIC.sign(said, ec.ECDSA(hashes.SHA512())),
    ]


def rsa_only(said: bytes) -> list[bytes]:
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    return [
        RSA.sign(said, pss, hashes.SHA256()),
        RSA.sign(said, PKCS, hashes.SHA384()),
        RSA.sign(said, PKCS, hashes.SHA512()),
    ]


@pytest.mark.parametrize("key", [ELLIPTIC, RSA], ids=["elliptic", "RSA"])
def test_no_forged_word_of_a_device_counts(key: Key) -> None:
    pem = certificate(key).public_bytes(Encoding.PEM).decode()
    said, verify = message(), CertificateSignatures().verify
    good = signed(key, said)
    assert verify(pem, said, good)
    strangers: list[Key] = [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        RSA if key is ELLIPTIC else ELLIPTIC,
    ]
    forged = [
        *spoilt(good),
        *(signed(stranger, said) for stranger in strangers),
        *(signed(key, message(**changes)) for changes in OTHERWISE),
        *(elliptic_only(good, said) if key is ELLIPTIC else rsa_only(said)),
    ]
    assert len({*forged, good}) > 60
    for signature in forged:
        assert not verify(pem, said, signature), signature.hex()
