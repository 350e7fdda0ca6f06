"""What every way in is told of who asks, and what it answers with."""

from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response

from application.people.sign_in_guard import PER_ADDRESS, Entry
from application.people.user_sessions import Tokens
from domain.errors import NotFound, TooMany
from domain.ids import TenantId, parse, wire
from interfaces.http.caller_address import budget_address
from interfaces.http.possession import HEADER, proved_by
from interfaces.http.refusals import BODY, WRITE, Refusals, merged
from interfaces.http.request_id import correlation_id
from interfaces.http.services import Services

USER: Final = "usr"
SESSION: Final = "uss"

TenantWire = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Installation = Annotated[
    str,
    msgspec.Meta(
        pattern="^[A-Za-z0-9_-]{22,86}$",
        description="at least 128 random bits that your app draws once where it is installed",
    ),
]
Locale = Annotated[str, msgspec.Meta(pattern="^[a-z]{2}(-[A-Z]{2})?$")]

GUARDED: Final[Refusals] = merged(
    BODY,
    WRITE,
    {
        403: ("auth_method_disabled", "tenant_suspended"),
        404: ("tenant_not_found",),
        429: ("rate_limited",),
    },
)
"""What the guard in front of every way in answers."""
SERVED: Final[Refusals] = {403: ("tenant_suspended", "user_suspended", "user_erased")}
KEY_PROOF: Final[Refusals] = {401: ("invalid_dpop_proof", "use_dpop_nonce")}
FRESH: Final[Refusals] = {401: ("insufficient_user_authentication",)}
"""What is done only just after a proof, by a sign-in or at `/v1/auth/reauthenticate`."""
LAST: Final[Refusals] = merged(FRESH, {409: ("last_way_in",)})
"""What taking a way in away may come to."""


class UserTokensIssued(msgspec.Struct, frozen=True, kw_only=True):
    """The access token opens `/v1/auth/…` and proves to your backend who it is; nothing else.

    Keep the refresh token with the installation. It is replaced at every use, unless the session is
    bound to a key (`token_type` is then `DPoP`, RFC 9449).
    """

    user_id: str
    session_id: str
    access_token: str
    token_type: str
    expires_in: int
    refresh_token: str
    is_new_user: bool


async def entry(
    request: Request[Any, Any, Any], services: Services, tenant_id: str, installation: str
) -> Entry:
    """Raises NotFound (`tenant_not_found`), Unauthenticated (`invalid_dpop_proof`) and TooMany
    (`rate_limited`) for more proofs from one address than there may be sign-ins."""
    found = parse("ten", tenant_id)
    if found is None:
        raise NotFound("tenant_not_found")
    address = budget_address(request)
    tenant = TenantId(found)
    if HEADER in request.headers:
        limit, per_s = PER_ADDRESS
        if not await services.limiter.hit("sign_in.proof", address, limit=limit, per_s=per_s):
            raise TooMany("rate_limited", retry_after_s=per_s)
    return Entry(
        tenant_id=tenant,
        address=address,
        installation=installation,
        correlation_id=correlation_id(request),
        key_thumbprint=await proved_by(
            request, services.dpop_proofs, services.issuer, tenant, None
        ),
    )


def issued(tokens: Tokens, *, is_new_user: bool = False) -> Response[UserTokensIssued]:
    body = UserTokensIssued(
        user_id=wire(USER, tokens.user_id),
        session_id=wire(SESSION, tokens.session_id),
        access_token=tokens.access_token,
        token_type="DPoP" if tokens.key_bound else "Bearer",
        expires_in=tokens.expires_in_s,
        refresh_token=tokens.refresh_token,
        is_new_user=is_new_user,
    )
    return Response(body, status_code=200, headers={"cache-control": "no-store"})
