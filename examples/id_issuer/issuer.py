"""Signs ID tokens as the two providers do: RS256, a key set, and every claim to choose."""

import base64
import json
import time
from collections.abc import Mapping
from typing import Any, Final
from uuid import uuid4

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

PROVIDERS: Final = ("google", "apple")
LIFETIME_S: Final = 3600


class Issuer:
    """Holds one signing key at a time; `rotate` forgets it, and the next one has another name."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.rotate()

    def rotate(self) -> None:
        self.kid = uuid4().hex
        self._made: rsa.RSAPrivateKey | None = None

    @property
    def _key(self) -> rsa.RSAPrivateKey:
        if self._made is None:
            self._made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return self._made

    def jwks(self) -> dict[str, Any]:
        numbers = self._key.public_key().public_numbers()
        return {
            "keys": [
                {
                    "kty": "RSA",
                    "use": "sig",
                    "alg": "RS256",
                    "kid": self.kid,
                    "n": _number(numbers.n),
                    "e": _number(numbers.e),
                }
            ]
        }

    def claims(
        self, provider: str, client_id: str, subject: str, nonce: str, email: str | None = None
    ) -> dict[str, Any]:
        """Those of a good token, made now."""
        now = int(time.time())
        known = {} if email is None else {"email": email, "email_verified": True}
        return {
            "iss": f"{self.origin}/{provider}",
            "aud": client_id,
            "sub": subject,
            "nonce": nonce,
            "iat": now,
            "exp": now + LIFETIME_S,
            **known,
        }

    def sign(self, claims: Mapping[str, Any], **header: Any) -> str:
        """A compact JWS of any claims; `header` changes what stands in its header."""
        headed = {"alg": "RS256", "kid": self.kid, "typ": "JWT", **header}
        signed = f"{_encoded(headed)}.{_encoded(claims)}"
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_base64url(signature)}"


def _encoded(value: Mapping[str, Any]) -> str:
    return _base64url(json.dumps(value).encode())


def _number(value: int) -> str:
    return _base64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
