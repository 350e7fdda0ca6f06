"""Proofs of possession: one for each request, by the key that a token is bound to (RFC 9449 §4)."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final
from urllib.parse import SplitResult, urlsplit

import msgspec

from application.ports import Clock
from domain.errors import Unauthenticated
from domain.ids import TenantId
from domain.oauth_client import PublicJwk
from infrastructure.keys.signing_keys import SignatureInvalid, base64url
from infrastructure.shown_once import ShownOnce
from infrastructure.tokens import foreign_jws
from infrastructure.tokens.dpop_nonces import DpopNonces
from infrastructure.tokens.foreign_jws import KeyUnusable, verification_key

TYPES: Final = frozenset({"dpop+jwt"})
PAST_S: Final = 60
FUTURE_S: Final = 10
"""How old a proof may be, and how far ahead of ours its clock."""

_REQUIRED: Final = {
    "EC": ("crv", "kty", "x", "y"),
    "OKP": ("crv", "kty", "x"),
    "RSA": ("e", "kty", "n"),
}


class _Key(PublicJwk, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Whatever else stands in the header's key, a private member above all, is refused."""


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    typ: str
    alg: str
    jwk: _Key


class _Claims(msgspec.Struct, frozen=True):
    htm: str
    htu: Annotated[str, msgspec.Meta(max_length=2048)]
    iat: Annotated[float, msgspec.Meta(ge=0, le=2**40)]
    jti: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    ath: str | None = None
    nonce: str | None = None


class SignedDpopProofs:
    """`DpopProofs`. Raises psycopg.Error where nobody could say whether a proof was shown."""

    def __init__(self, shown: ShownOnce, nonces: DpopNonces, clock: Clock) -> None:
        self._shown = shown
        self._nonces = nonces
        self._clock = clock

    async def accept(
        self, proof: str, *, tenant_id: TenantId, method: str, url: str, token: str | None
    ) -> str:
        try:
            jws = foreign_jws.read(proof, types=TYPES)
            jwk = msgspec.convert(jws.header, _Header).jwk
            key = PublicJwk(**msgspec.structs.asdict(jwk))
            claims = msgspec.convert(foreign_jws.verify(jws, verification_key(key)), _Claims)
        except (SignatureInvalid, KeyUnusable, msgspec.ValidationError) as error:
            raise Unauthenticated("invalid_dpop_proof") from error
        self._check(claims, method, url, token)
        if await self._nonces.wanted(tenant_id) and not self._nonces.good(claims.nonce):
            fresh = {"dpop_nonce": self._nonces.current()}
            raise Unauthenticated("use_dpop_nonce", "the proof needs this nonce", extra=fresh)
        made = datetime.fromtimestamp(claims.iat, UTC)
        bound_to = thumbprint(key)
        if not await self._shown.first_time(
            tenant_id,
            "dpop",
            bound_to,
            claims.jti,
            expires_at=made + timedelta(seconds=PAST_S),
        ):
            raise Unauthenticated("invalid_dpop_proof", "this jti was used before")
        return bound_to

    def _check(self, claims: _Claims, method: str, url: str, token: str | None) -> None:
        if claims.htm != method or not _is_same(claims.htu, url):
            raise Unauthenticated("invalid_dpop_proof", f"htm and htu are {method} {url}"[:300])
        now = self._clock.now().timestamp()
        if not now - PAST_S <= claims.iat <= now + FUTURE_S:
            raise Unauthenticated("invalid_dpop_proof", f"iat is within {PAST_S} s of now")
        wanted = None if token is None else _hash(token)
        if claims.ath != wanted:
            raise Unauthenticated("invalid_dpop_proof", "ath is the hash of the access token")


def thumbprint(key: PublicJwk) -> str:
    """RFC 7638: the required members in lexicographic order, no white space, SHA-256."""
    members: dict[str, Any] = {name: getattr(key, name) for name in _REQUIRED[key.kty]}
    return base64url(hashlib.sha256(msgspec.json.encode(members)).digest())


def _hash(token: str) -> str:
    return base64url(hashlib.sha256(token.encode()).digest())


def _is_same(said: str, url: str) -> bool:
    """Whether `said` is this URL but for query and fragment (RFC 9449 §4.3, RFC 3986 §6.2)."""
    try:
        return _plain(urlsplit(said)) == _plain(urlsplit(url))
    except ValueError:
        return False


def _plain(url: SplitResult) -> tuple[str, str | None, int, str]:
    port = url.port or (443 if url.scheme == "https" else 80)
    if url.username is not None or url.password is not None:
        raise ValueError("a URL with user information")
    return url.scheme, url.hostname, port, url.path or "/"
