"""Keys: their names, their public form, and what they sign, checked by a library of others."""

import base64
import hashlib
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from infrastructure.keys.assertion_signer import ASSERTION_TYP, JwtAssertionSigner
from infrastructure.keys.signing_keys import (
    SignatureInvalid,
    SigningKey,
    SigningKeys,
    SigningKeyUnusable,
    jwks_document,
)

# The key of RFC 7515, appendix A.3.
PEM_OF_RFC_7515 = ec.derive_private_key(
    int.from_bytes(
        bytes.fromhex("8e9b109e719098bf980487df1f5d77e9cb29606ebed2263b5f57c213df84f4b2"), "big"
    ),
    ec.SECP256R1(),
).private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)


def test_the_public_form_is_that_of_the_standard() -> None:
    key = SigningKey.from_pem(PEM_OF_RFC_7515)
    assert key.jwk["x"] == "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
    assert key.jwk["y"] == "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
    members = f'{{"crv":"P-256","kty":"EC","x":"{key.jwk["x"]}","y":"{key.jwk["y"]}"}}'
    thumbprint = hashlib.sha256(members.encode()).digest()
    assert key.kid == base64.urlsafe_b64encode(thumbprint).decode().rstrip("=")
    assert "d" not in key.jwk


def test_a_key_survives_its_pem() -> None:
    key = SigningKey.generate()
    again = SigningKey.from_pem(key.to_pem())
    assert again.kid == key.kid
    token = key.sign("a+jwt", {"x": 1})
    assert SigningKeys(again).verify(token, "a+jwt") == (key.kid, b'{"x":1}')


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ec.generate_private_key(ec.SECP384R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        ),
    ],
    ids=["empty", "garbage", "P-384", "RSA", "encrypted"],
)
def test_a_key_of_another_kind_is_unusable(pem: bytes) -> None:
    with pytest.raises(SigningKeyUnusable):
        SigningKey.from_pem(pem)


def test_the_document_holds_the_public_keys_of_all_families() -> None:
    access = SigningKeys(SigningKey.generate(), [SigningKey.generate()])
    assertions = SigningKeys(SigningKey.generate())
    document = jwks_document(access, assertions)
    assert len(document["keys"]) == 3
    for key in document["keys"]:
        assert set(key) == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    assert len(jwt.PyJWKSet.from_dict(json.loads(json.dumps(document))).keys) == 3


def test_a_key_in_two_families_is_refused() -> None:
    key = SigningKey.generate()
    with pytest.raises(ValueError, match="one family"):
        jwks_document(SigningKeys(key), SigningKeys(SigningKey.generate(), [key]))


def test_a_retiring_key_still_verifies_and_a_removed_one_does_not() -> None:
    old, new = SigningKey.generate(), SigningKey.generate()
    token = SigningKeys(old).current.sign("a+jwt", {})
    assert SigningKeys(new, [old]).verify(token, "a+jwt") == (old.kid, b"{}")
    with pytest.raises(SignatureInvalid):
        SigningKeys(new).verify(token, "a+jwt")


def test_an_assertion_is_understood_by_another_library() -> None:
    keys = SigningKeys(SigningKey.generate())
    signer = JwtAssertionSigner(keys, "https://identity.example")
    claims: dict[str, Any] = {
        "aud": ["wallet", "https://identity.example/tenants/ten_1/linked-services/lsvc_1"],
        "sub": "usr_1",
        "iss": "https://somebody.else",
        "name": "\u0645\u062d\u0645\u062f",
    }
    token = signer.sign(claims)
    header = jwt.get_unverified_header(token)
    assert header == {"alg": "ES256", "kid": keys.current.kid, "typ": ASSERTION_TYP}
    public = jwt.PyJWK(dict(keys.current.jwk))
    read = jwt.decode(token, public, algorithms=["ES256"], audience="wallet")
    assert read == {**claims, "iss": "https://identity.example"}


def test_a_hundred_signatures_all_have_the_fixed_length() -> None:
    """A coordinate with leading zero bytes must not shorten the signature (RFC 7518 §3.4)."""
    key = SigningKey.generate()
    keys = SigningKeys(key)
    for number in range(100):
        token = key.sign("a+jwt", {"n": number})
        assert len(token.rpartition(".")[2]) == 86
        assert keys.verify(token, "a+jwt")[1] == b'{"n":%d}' % number
