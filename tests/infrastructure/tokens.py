"""Keys, a clock and ids for tests of tokens, and a way to write any token at all."""

import base64
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from infrastructure.keys.signing_keys import SigningKey


class FixedClock:
    """A clock that stands until it is moved."""

    def __init__(self, seconds: float = 1_800_000_000.0) -> None:
        self.seconds = seconds

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def monotonic(self) -> float:
        return self.seconds


class CountingIds:
    """Ids 1, 2, 3, …"""

    def __init__(self) -> None:
        self.count = 0

    def uuid(self) -> UUID:
        self.count += 1
        return UUID(int=self.count)

    def code(self, alphabet: str, length: int) -> str:
        return alphabet[0] * length


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def private_half(key: SigningKey) -> ec.EllipticCurvePrivateKey:
    private = serialization.load_pem_private_key(key.to_pem(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    return private


def es256(key: SigningKey, signing_input: str) -> bytes:
    """The raw signature of anything by a key of ours."""
    signature = private_half(key).sign(signing_input.encode(), ec.ECDSA(hashes.SHA256()))
    r, s = decode_dss_signature(signature)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def compact(key: SigningKey, header: dict[str, Any] | str, payload: dict[str, Any] | str) -> str:
    """A token with exactly this header and payload, properly signed. Text is taken as it is."""
    head = header if isinstance(header, str) else json.dumps(header)
    body = payload if isinstance(payload, str) else json.dumps(payload)
    signing_input = f"{encode(head.encode())}.{encode(body.encode())}"
    return f"{signing_input}.{encode(es256(key, signing_input))}"
