"""The `DPoP` header of a request: which key proves possession with it (RFC 9449 §4.1, §4.3)."""

from typing import Any, Final

from litestar import Request

from application.ports import DpopProofs
from domain.errors import Unauthenticated
from domain.ids import TenantId

HEADER: Final = "dpop"


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
