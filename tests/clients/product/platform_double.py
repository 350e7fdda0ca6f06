"""A platform for a product's tests: real keys, a real JWKS over real HTTP, any assertion at all."""

import base64
import contextlib
import hashlib
import json
import ssl
import threading
import time
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import rfc8785

from infrastructure.keys.assertion_signer import ASSERTION_TYP
from infrastructure.keys.signing_keys import SigningKey, SigningKeys, jwks_document
from infrastructure.tokens.access_tokens import ACCESS_TOKEN_TYP

ISSUER = "https://identity.example"
TENANT = f"ten_{'1' * 32}"
OTHER_TENANT = f"ten_{'2' * 32}"
SERVICE = f"lsvc_{'a' * 32}"
USER = f"usr_{'5' * 32}"
DEVICE = f"dev_{'6' * 32}"


def audience(tenant: str = TENANT, service: str = SERVICE) -> str:
    return f"{ISSUER}/tenants/{tenant}/linked-services/{service}"


def sha256(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


class PlatformDouble:
    """Signs what it is told. `document` is what its JWKS endpoint serves; `fetches` counts."""

    def __init__(self) -> None:
        self.access = SigningKeys(SigningKey.generate())
        self.assertions = SigningKeys(SigningKey.generate())
        self.document: Any = jwks_document(self.access, self.assertions)
        self.fetches = 0
        self.url = ""

    def body(self, key: str = "key-1", **changes: Any) -> dict[str, Any]:
        return {
            "user_id": USER,
            "tenant_id": TENANT,
            "device_id": DEVICE,
            "transaction_id": f"txn_{sha256(key.encode())}",
            "action": "pay",
            "context": {"amount": "50.00", "currency": "SAR"},
            "idempotency_key": key,
            "attempt": 1,
            **changes,
        }

    def claims(self, body: dict[str, Any], raw: bytes) -> dict[str, Any]:
        now = int(time.time())
        return {
            "iss": ISSUER,
            "aud": ["wallet", audience(body["tenant_id"])],
            "sub": body["user_id"],
            "tenant_id": body["tenant_id"],
            "device_id": body["device_id"],
            "action": body["action"],
            "txn": body["transaction_id"],
            "context_hash": sha256(rfc8785.dumps(body["context"])),
            "body_sha256": sha256(raw),
            "idempotency_key": body["idempotency_key"],
            "acr": "palm.1n.server4",
            "device_assurance": "unattested",
            "iat": now,
            "nbf": now,
            "exp": now + 6,
            "jti": uuid4().hex,
        }

    def call(
        self,
        body: dict[str, Any] | None = None,
        *,
        key: SigningKey | None = None,
        typ: str = ASSERTION_TYP,
        **claims: Any,
    ) -> tuple[str, bytes]:
        """A bearer token and the exact body it is for. A claim of None is left out."""
        members = body or self.body()
        raw = json.dumps(members).encode()
        signed = {**self.claims(members, raw), **claims}
        present = {name: value for name, value in signed.items() if value is not None}
        return (key or self.assertions.current).sign(typ, present), raw

    def access_token(self) -> str:
        token, _ = self.call(key=self.access.current, typ=ACCESS_TOKEN_TYP)
        return token


@contextlib.contextmanager
def platform(tls: ssl.SSLContext | None = None) -> Generator[PlatformDouble]:
    """A platform whose JWKS is served from a thread on loopback."""
    double = PlatformDouble()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            double.fetches += 1
            body = json.dumps(double.document).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its signature
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    scheme = "http" if tls is None else "https"
    double.url = f"{scheme}://127.0.0.1:{server.server_port}/.well-known/jwks.json"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield double
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
