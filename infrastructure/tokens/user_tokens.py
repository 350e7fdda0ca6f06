"""Tokens of signed-in people: keys, type and audience of their own, so that none of them opens
anything of an integrator's, and the other way round (003 §3.5, §3.7)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final

import msgspec

from application.ports import Clock, IdSource
from application.ports.user_sessions import UserToken
from domain.errors import Unauthenticated
from domain.ids import TenantId, UserId, UserSessionId, parse, wire
from domain.user_session import SignInMethod, acr
from infrastructure.keys.signing_keys import SignatureInvalid, SigningKeys
from infrastructure.strict_json import NotAnObject, read_object
from infrastructure.tokens.access_tokens import CLOCK_SKEW_S, TENANT_PREFIX

USER_TOKEN_TYP: Final = "user+jwt"  # noqa: S105 - a media type of ours, not a password
LIFETIME_MAX_S: Final = 3600

_Seconds = Annotated[int, msgspec.Meta(ge=0, le=2**40)]


class _Confirmation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    jkt: Annotated[str, msgspec.Meta(min_length=43, max_length=43)]


class _Claims(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    iss: str
    aud: str
    sub: str
    tenant_id: str
    sid: str
    amr: tuple[str, ...]
    auth_time: _Seconds
    iat: _Seconds
    exp: _Seconds
    jti: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    cnf: _Confirmation | None = None
    acr: str | None = None


class JwtUserTokens:
    """`UserTokens`. The audience is the auth endpoints and nothing else of this platform."""

    def __init__(self, keys: SigningKeys, issuer: str, clock: Clock, ids: IdSource) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = f"{issuer}/v1/auth"
        self._clock = clock
        self._ids = ids

    def issue(
        self,
        tenant_id: TenantId,
        user_id: UserId,
        session_id: UserSessionId,
        methods: Sequence[SignInMethod],
        authenticated_at: datetime,
        lifetime_s: int,
        bound_to: str | None = None,
    ) -> str:
        now = int(self._clock.now().timestamp())
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": wire("usr", user_id),
            "tenant_id": wire(TENANT_PREFIX, tenant_id),
            "sid": wire("uss", session_id),
            "acr": acr(methods),
            "amr": list(methods),
            "auth_time": int(authenticated_at.timestamp()),
            "iat": now,
            "exp": now + min(lifetime_s, LIFETIME_MAX_S),
            "jti": self._ids.uuid().hex,
            **({} if bound_to is None else {"cnf": {"jkt": bound_to}}),
        }
        return self._keys.current.sign(USER_TOKEN_TYP, claims)

    def verify(self, token: str) -> UserToken:
        """Raises Unauthenticated: `token_expired` for one of ours past its time, else
        `token_invalid`, whatever is wrong with it."""
        try:
            _, payload = self._keys.verify(token, USER_TOKEN_TYP)
            claims = msgspec.convert(read_object(payload), _Claims)
        except (SignatureInvalid, NotAnObject, msgspec.ValidationError) as error:
            raise Unauthenticated("token_invalid") from error
        tenant, user = parse(TENANT_PREFIX, claims.tenant_id), parse("usr", claims.sub)
        session = parse("uss", claims.sid)
        now = self._clock.now().timestamp()
        if (
            tenant is None
            or user is None
            or session is None
            or (claims.iss, claims.aud) != (self._issuer, self._audience)
            or claims.iat > now + CLOCK_SKEW_S
            or not 0 < claims.exp - claims.iat <= LIFETIME_MAX_S
        ):
            raise Unauthenticated("token_invalid")
        if claims.exp <= now:
            raise Unauthenticated("token_expired")
        return UserToken(
            tenant_id=TenantId(tenant), user_id=UserId(user), session_id=UserSessionId(session)
        )
