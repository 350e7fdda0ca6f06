"""Client assertions: a JWT signed with the client's own key, once, for us (RFC 7523 §3)."""

from collections.abc import Sequence, Set
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec

from application.ports import Clock
from domain.errors import Invalid, Unauthenticated
from domain.ids import TenantId, wire
from domain.oauth_client import OAuthClient, PublicJwk
from infrastructure.keys.signing_keys import SignatureInvalid
from infrastructure.shown_once import ShownOnce
from infrastructure.strict_json import NotAnObject, read_object
from infrastructure.tokens import foreign_jws
from infrastructure.tokens.client_jwks import ClientJwks
from infrastructure.tokens.foreign_jws import Jws, KeyUnusable, verification_key

TYPES: Final = frozenset({None, "JWT", "client-authentication+jwt"})
LIFETIME_MAX_S: Final = 10 * 60
CLOCK_SKEW_S: Final = 10
"""RFC 7523 §3 leaves it open; FAPI 2.0 §5.3.2.1 wants 10 s taken and 60 s refused."""

KEYS_TRIED_MAX: Final = 8

_Moment = Annotated[float, msgspec.Meta(ge=0, le=2**40)]
"""A NumericDate (RFC 7519 §2), with fractions if the client likes."""


class _Claims(msgspec.Struct, frozen=True):
    """Claims of the client's own may stand beside these; they are not looked at."""

    iss: str
    sub: str
    aud: str | tuple[str, ...]
    exp: _Moment
    jti: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    iat: _Moment | None = None
    nbf: _Moment | None = None


class SignedClientAssertions:
    """`ClientAssertions`. Raises psycopg.Error where nobody could say whether one was shown."""

    def __init__(self, jwks: ClientJwks, shown: ShownOnce, clock: Clock) -> None:
        self._jwks = jwks
        self._shown = shown
        self._clock = clock

    def check_keys(self, jwks: Sequence[PublicJwk]) -> None:
        for jwk in jwks:
            try:
                verification_key(jwk)
            except KeyUnusable as error:
                raise Invalid("client_keys_invalid", str(error)[:200]) from error

    def named(self, assertion: str) -> str:
        try:
            claims = read_object(foreign_jws.read(assertion, types=TYPES).payload)
        except (SignatureInvalid, NotAnObject) as error:
            raise Unauthenticated("invalid_client") from error
        return str(claims.get("iss"))

    async def accept(self, assertion: str, client: OAuthClient, audiences: Set[str]) -> None:
        try:
            claims = await self._verified(foreign_jws.read(assertion, types=TYPES), client)
        except (SignatureInvalid, msgspec.ValidationError) as error:
            raise Unauthenticated("invalid_client") from error
        name = wire("cli", client.id)
        if (claims.iss, claims.sub) != (name, name):
            raise Unauthenticated("invalid_client", "iss and sub are the client's id")
        given = (claims.aud,) if isinstance(claims.aud, str) else claims.aud
        if not given or not set(given) <= audiences:
            raise Unauthenticated("invalid_client", "aud is this platform's issuer, and no other")
        self._check_times(claims)
        if not await self._first_time(client.tenant_id, name, claims):
            raise Unauthenticated("invalid_client", "this jti was used before")

    async def _verified(self, jws: Jws, client: OAuthClient) -> _Claims:
        """Raises SignatureInvalid unless one of the client's keys signed it."""
        kid = jws.header.get("kid")
        if "jwk" in jws.header or (kid is not None and not isinstance(kid, str)):
            raise SignatureInvalid("a header that is not wanted here")
        keys = await self._jwks.of(client, kid)
        for jwk in keys[:KEYS_TRIED_MAX]:
            if kid is not None and jwk.kid is not None and jwk.kid != kid:
                continue
            try:
                verified = foreign_jws.verify(jws, verification_key(jwk))
            except (SignatureInvalid, KeyUnusable):
                continue
            return msgspec.convert(verified, _Claims)
        raise SignatureInvalid("no key of the client's signed this")

    def _check_times(self, claims: _Claims) -> None:
        now = self._clock.now().timestamp()
        if claims.exp <= now:
            raise Unauthenticated("invalid_client", "the assertion has expired")
        if claims.exp > now + LIFETIME_MAX_S:
            raise Unauthenticated("invalid_client", f"exp is at most {LIFETIME_MAX_S} s ahead")
        for moment in (claims.iat, claims.nbf):
            if moment is not None and moment > now + CLOCK_SKEW_S:
                raise Unauthenticated("invalid_client", "the assertion is from the future")

    async def _first_time(self, tenant_id: TenantId, name: str, claims: _Claims) -> bool:
        until = datetime.fromtimestamp(claims.exp, UTC)
        return await self._shown.first_time(
            tenant_id, "client_assertion", name, claims.jti, expires_at=until
        )
