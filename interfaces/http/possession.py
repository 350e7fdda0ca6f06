"""What proves possession with a request: a key by its `DPoP` header (RFC 9449 §4.1, §4.3), and the
certificate of its connection (RFC 8705 §3)."""

from typing import Any, Final, cast

import msgspec
from litestar import Request

from application.ports import DpopProofs
from domain.errors import Unauthenticated
from domain.ids import TenantId

HEADER: Final = "dpop"


class ConnectionCertificate(msgspec.Struct, frozen=True):
    """What a client showed in the handshake; `thumbprint` is its `x5t#S256`."""

    der: bytes
    thumbprint: str


def certificate_of(request: Request[Any, Any, Any]) -> ConnectionCertificate | None:
    """None on every listener that asks clients for none. No header is believed."""
    extensions = cast("dict[str, Any]", request.scope.get("extensions") or {})
    shown = extensions.get("client_certificate")
    return None if shown is None else ConnectionCertificate(shown["der"], shown["thumbprint"])


async def proved_by(
    request: Request[Any, Any, Any],
    proofs: DpopProofs,
    issuer: str,
    tenant_id: TenantId,
    token: str | None,
) -> str | None:
    """The thumbprint of the key behind the header; None when there is no such header.

    Raises Unauthenticated (`invalid_dpop_proof`), also where it stands twice.
    """
    given = request.headers.getall(HEADER, [])
    if not given:
        return None
    if len(given) > 1:
        raise Unauthenticated("invalid_dpop_proof", "send one DPoP header")
    return await proofs.accept(
        given[0],
        tenant_id=tenant_id,
        method=request.method,
        url=issuer + str(request.scope["path"]),
        token=token,
    )
