"""A listener of the house whose issuer is the address that it listens on, for clients that compare
the two, and what such a client is given to begin with."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from infrastructure.edge.listeners import serve
from infrastructure.edge.protocol import ASGIApp
from infrastructure.edge.tls import public_context
from infrastructure.keys.signing_keys import SigningKey, base64url
from interfaces.http.apps import build
from tests.house.world import House


@asynccontextmanager
async def at_its_issuer(house: House) -> AsyncGenerator[str]:
    """The issuer, and where everything of the public listener is."""
    app: ASGIApp | None = None

    async def whichever(scope: Any, receive: Any, send: Any) -> None:
        assert app is not None
        await app(scope, receive, send)

    chain, key = house.platform.authority.issue_server(["localhost", "127.0.0.1"])
    listener = await serve(
        whichever,
        host="127.0.0.1",
        port=0,
        ssl_context=public_context(certificate_chain_pem=chain, private_key_pem=key),
    )
    issuer = f"https://localhost:{listener.port}"
    services = msgspec.structs.replace(house.platform.services, issuer=issuer)
    app = cast("ASGIApp", build(services).public)
    try:
        yield issuer
    finally:
        await listener.stop(drain_s=1)


def private_jwk(key: SigningKey) -> dict[str, str]:
    """A key of ours as the client holds it, in JWK (RFC 7518 §6.2)."""
    private = load_pem_private_key(key.to_pem(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    number = private.private_numbers().private_value
    return {**public_jwk(key), "d": base64url(number.to_bytes(32, "big"))}


def public_jwk(key: SigningKey) -> dict[str, str]:
    return {name: key.jwk[name] for name in ("kty", "crv", "x", "y", "kid", "use", "alg")}
