"""Access tokens of the platform's own API: issued to OAuth clients, verified at every request."""

from collections import OrderedDict
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec

from application.ports import AccessToken, Clock, IdSource, IssuedToken
from domain.errors import Unauthenticated
from domain.ids import OAuthClientId, TenantId, parse, wire
from infrastructure.keys.signing_keys import SignatureInvalid, SigningKeys
from infrastructure.strict_json import NotAnObject, read_object

ACCESS_TOKEN_TYP: Final = "at+jwt"  # noqa: S105 - a media type of RFC 9068, not a password
LIFETIME_DEFAULT_S: Final = 15 * 60
LIFETIME_MAX_S: Final = 24 * 60 * 60
CLOCK_SKEW_S: Final = 5

REMEMBERED_MAX: Final = 10_000

CLIENT_PREFIX: Final = "cli"
TENANT_PREFIX: Final = "ten"


_Seconds = Annotated[int, msgspec.Meta(ge=0, le=2**40)]


_Thumbprint = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_-]{43}$")]


class _Confirmation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """RFC 7800 §3.1, RFC 9449 §6.1, RFC 8705 §3.1."""

    jkt: _Thumbprint | msgspec.UnsetType = msgspec.UNSET
    x5t: _Thumbprint | msgspec.UnsetType = msgspec.field(name="x5t#S256", default=msgspec.UNSET)

    def __post_init__(self) -> None:
        if self.jkt is msgspec.UNSET and self.x5t is msgspec.UNSET:
            raise ValueError("a confirmation that confirms nothing")


class _Claims(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    iss: str
    aud: str
    sub: str
    client_id: str
    tenant_id: str
    scope: str
    iat: _Seconds
    exp: _Seconds
    jti: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    cnf: _Confirmation | msgspec.UnsetType = msgspec.UNSET


class _Verified:
    """What tokens said whose signatures were verified, or made, here; the last ones used.

    A token comes back with every request, and its signature costs as much as all else of the
    door. Time and client are looked at anew, and so is whether its key is still believed.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[str, _Claims]] = OrderedDict()

    def claims(self, token: str, keys: SigningKeys) -> _Claims | None:
        found = self._kept.get(token)
        if found is None or not keys.believes(found[0]):
            return None
        self._kept.move_to_end(token)
        return found[1]

    def keep(self, token: str, kid: str, claims: _Claims) -> None:
        self._kept[token] = (kid, claims)
        while len(self._kept) > REMEMBERED_MAX:
            self._kept.popitem(last=False)


class AccessTokens:
    """RFC 9068 tokens for `client_credentials`. `audience` is this platform's API."""

    def __init__(
        self, keys: SigningKeys, issuer: str, audience: str, clock: Clock, ids: IdSource
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._ids = ids
        self._verified = _Verified()

    def issue(
        self,
        tenant_id: TenantId,
        client_id: OAuthClientId,
        scopes: Iterable[str],
        lifetime_s: int = LIFETIME_DEFAULT_S,
        bound_to: str | None = None,
        certificate: str | None = None,
    ) -> IssuedToken:
        """Raises ValueError for a lifetime outside of 1 second to 24 hours (design §2 row 3)."""
        if not 1 <= lifetime_s <= LIFETIME_MAX_S:
            raise ValueError(f"an access token lives between 1 and {LIFETIME_MAX_S} seconds")
        now = int(self._clock.now().timestamp())
        scope = " ".join(sorted(set(scopes)))
        client = wire(CLIENT_PREFIX, client_id)
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": client,
            "client_id": client,
            "tenant_id": wire(TENANT_PREFIX, tenant_id),
            "scope": scope,
            "iat": now,
            "exp": now + lifetime_s,
            "jti": self._ids.uuid().hex,
        }
        bound = {"jkt": bound_to, "x5t#S256": certificate}
        if confirmation := {name: value for name, value in bound.items() if value is not None}:
            claims["cnf"] = confirmation
        token = self._keys.current.sign(ACCESS_TOKEN_TYP, claims)
        self._verified.keep(token, self._keys.current.kid, msgspec.convert(claims, _Claims))
        return IssuedToken(access_token=token, expires_in=lifetime_s, scope=scope)

    def verify(self, token: str) -> AccessToken:
        """Raises Unauthenticated: `token_expired` for one of ours past its time, else
        `token_invalid`, whatever is wrong with it."""
        claims = self._verified.claims(token, self._keys) or self._read(token)
        return self._token(claims)

    def _read(self, token: str) -> _Claims:
        """Raises Unauthenticated (`token_invalid`) unless a key of ours signed it."""
        try:
            kid, payload = self._keys.verify(token, ACCESS_TOKEN_TYP)
            claims = msgspec.convert(read_object(payload), _Claims)
        except (SignatureInvalid, NotAnObject, msgspec.ValidationError) as error:
            raise Unauthenticated("token_invalid") from error
        self._verified.keep(token, kid, claims)
        return claims

    def _token(self, claims: _Claims) -> AccessToken:
        """Raises Unauthenticated (`token_expired`, `token_invalid`)."""
        client = parse(CLIENT_PREFIX, claims.client_id)
        tenant = parse(TENANT_PREFIX, claims.tenant_id)
        now = self._clock.now().timestamp()
        if (
            client is None
            or tenant is None
            or claims.sub != claims.client_id
            or claims.iss != self._issuer
            or claims.aud != self._audience
            or claims.iat > now + CLOCK_SKEW_S
            or not 0 < claims.exp - claims.iat <= LIFETIME_MAX_S
        ):
            raise Unauthenticated("token_invalid")
        if claims.exp <= now:
            raise Unauthenticated("token_expired")
        cnf = claims.cnf or None
        return AccessToken(
            client_id=OAuthClientId(client),
            tenant_id=TenantId(tenant),
            scopes=frozenset(claims.scope.split()),
            issued_at=datetime.fromtimestamp(claims.iat, UTC),
            expires_at=datetime.fromtimestamp(claims.exp, UTC),
            jti=claims.jti,
            bound_to=None if cnf is None else cnf.jkt or None,
            certificate=None if cnf is None else cnf.x5t or None,
        )
