"""ID tokens of Google and Apple, verified against the keys that they publish (OpenID Connect Core
§3.1.3.7).

The algorithm is the key's: RS256 for RSA, which both use, ES256 for P-256. A token is good for the
apps that the tenant names, with the nonce that we gave, and for ten minutes from when it was made.
"""

import hashlib
import hmac
from collections.abc import Mapping, Set
from typing import Annotated, Final, Literal

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from application.ports import Clock
from application.ports.id_tokens import NONCE_LIFETIME_S, IdToken
from domain.errors import Unauthenticated, Unavailable
from domain.oauth_client import PublicJwk
from domain.user import Provider
from infrastructure.keys.signing_keys import SignatureInvalid, unbase64url
from infrastructure.outbound.client import OutboundClient
from infrastructure.tokens import foreign_jws
from infrastructure.tokens.foreign_jws import RSA_BITS, Jws, KeyUnusable, VerificationKey
from infrastructure.tokens.remote_jwks import RemoteJwks

CLOCK_SKEW_S: Final = 10
AGE_MAX_S: Final = NONCE_LIFETIME_S
"""A token that is older cannot have been made for a nonce that is still good."""
LIFETIME_MAX_S: Final = 25 * 3600
"""Google's live for an hour, Apple's for a day."""
TYPES: Final = frozenset({None, "JWT"})

_Moment = Annotated[float, msgspec.Meta(ge=0, le=2**40)]
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class Source(msgspec.Struct, frozen=True):
    """By which names a provider signs, and where its keys are."""

    issuers: frozenset[str]
    jwks_uri: str


SOURCES: Final[Mapping[Provider, Source]] = {
    "google": Source(
        frozenset({"https://accounts.google.com", "accounts.google.com"}),
        "https://www.googleapis.com/oauth2/v3/certs",
    ),
    "apple": Source(
        frozenset({"https://appleid.apple.com"}), "https://appleid.apple.com/auth/keys"
    ),
}


def sources_of_test_issuer(origin: str) -> Mapping[Provider, Source]:
    """Both providers at a test issuer (`examples/id_issuer`), for development."""
    return {
        "google": Source(frozenset({f"{origin}/google"}), f"{origin}/google/jwks.json"),
        "apple": Source(frozenset({f"{origin}/apple"}), f"{origin}/apple/jwks.json"),
    }


class _Jwk(msgspec.Struct, frozen=True):
    kid: _Text
    kty: Literal["RSA", "EC"]
    alg: Literal["RS256", "ES256"] | None = None
    use: Literal["sig"] | None = None
    crv: Literal["P-256"] | None = None
    x: str | None = None
    y: str | None = None
    n: Annotated[str, msgspec.Meta(max_length=700)] | None = None
    e: Annotated[str, msgspec.Meta(max_length=8)] | None = None


class _Key(msgspec.Struct, frozen=True):
    kid: str | None
    verification: VerificationKey


class _Claims(msgspec.Struct, frozen=True):
    """Others may stand beside these; they are not looked at."""

    iss: str
    aud: str | Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=8)]
    sub: Annotated[str, msgspec.Meta(pattern="^[!-~]{1,255}$")]
    iat: _Moment
    exp: _Moment
    nonce: Annotated[str, msgspec.Meta(pattern="^[!-~]{1,512}$")]
    nbf: _Moment | None = None
    azp: str | None = None
    email: Annotated[str, msgspec.Meta(max_length=320)] | None = None
    email_verified: bool | Literal["true", "false"] | None = None


class ProviderIdTokens:
    """`IdTokens`."""

    def __init__(
        self,
        outbound: OutboundClient,
        clock: Clock,
        sources: Mapping[Provider, Source] = SOURCES,
    ) -> None:
        self._jwks = RemoteJwks(outbound, clock, _read_key)
        self._clock = clock
        self._sources = sources

    async def verify(
        self, provider: Provider, token: str, *, audiences: Set[str], nonce: str
    ) -> IdToken:
        source = self._sources[provider]
        try:
            jws = foreign_jws.read(token, types=TYPES)
            claims = await self._verified(provider, source, jws)
        except (SignatureInvalid, msgspec.ValidationError) as error:
            raise Unauthenticated("id_token_invalid") from error
        named = (claims.aud,) if isinstance(claims.aud, str) else claims.aud
        if claims.iss not in source.issuers or not set(named) <= audiences:
            raise Unauthenticated("id_token_invalid")
        if claims.azp not in audiences and (claims.azp is not None or len(named) > 1):
            raise Unauthenticated("id_token_invalid")
        self._check_times(claims)
        if not _is_nonce(claims.nonce, nonce):
            raise Unauthenticated("id_token_invalid")
        if claims.email is not None and claims.email_verified not in (True, "true"):
            raise Unauthenticated("id_token_invalid", "the provider has not verified the e-mail")
        return IdToken(provider=provider, subject=claims.sub, email=claims.email)

    async def _verified(self, provider: Provider, source: Source, jws: Jws) -> _Claims:
        """Raises SignatureInvalid unless the key that the token names signed it."""
        kid = jws.header.get("kid")
        if "jwk" in jws.header or not isinstance(kid, str):
            raise SignatureInvalid("a header that is not wanted here")
        keys = await self._jwks.of(provider, source.jwks_uri, kid)
        if not keys:
            raise Unavailable("provider_unavailable", f"no keys of {provider}", retry_after_s=5)
        for key in keys:
            if key.kid == kid:
                return msgspec.convert(foreign_jws.verify(jws, key.verification), _Claims)
        raise SignatureInvalid("no key of the provider's signed this")

    def _check_times(self, claims: _Claims) -> None:
        now = self._clock.now().timestamp()
        if (
            claims.exp <= now
            or not 0 < claims.exp - claims.iat <= LIFETIME_MAX_S
            or not now - AGE_MAX_S - CLOCK_SKEW_S <= claims.iat <= now + CLOCK_SKEW_S
            or (claims.nbf is not None and claims.nbf > now + CLOCK_SKEW_S)
        ):
            raise Unauthenticated("id_token_invalid")


def _is_nonce(said: str, nonce: str) -> bool:
    """The nonce, or its SHA-256 in hexadecimal, which is what apps hand to Apple."""
    hashed = hashlib.sha256(nonce.encode()).hexdigest()
    whole = hmac.compare_digest(said.encode(), nonce.encode())
    return whole | hmac.compare_digest(said.encode(), hashed.encode())


def _read_key(raw: msgspec.Raw) -> _Key | None:
    try:
        jwk = msgspec.json.decode(raw, type=_Jwk)
        return _Key(jwk.kid, _rsa(jwk) if jwk.kty == "RSA" else _elliptic(jwk))
    except (msgspec.DecodeError, KeyUnusable, SignatureInvalid, ValueError, UnsupportedAlgorithm):
        return None


def _elliptic(jwk: _Jwk) -> VerificationKey:
    """Raises KeyUnusable, msgspec.ValidationError."""
    members = {"kty": "EC", "crv": jwk.crv, "x": jwk.x, "y": jwk.y, "alg": jwk.alg}
    return foreign_jws.verification_key(msgspec.convert(members, PublicJwk))


def _rsa(jwk: _Jwk) -> VerificationKey:
    """Raises KeyUnusable, SignatureInvalid, ValueError."""
    if jwk.n is None or jwk.e is None or jwk.alg == "ES256":
        raise KeyUnusable("an RSA key has n and e, and is for RS256")
    modulus, exponent = (int.from_bytes(unbase64url(each), "big") for each in (jwk.n, jwk.e))
    key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    if not RSA_BITS[0] <= key.key_size <= RSA_BITS[1]:
        raise KeyUnusable(f"an RSA key has {RSA_BITS[0]} to {RSA_BITS[1]} bits")

    def check(signature: bytes, signed: bytes) -> None:
        key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())

    return VerificationKey(algorithms=frozenset({"RS256"}), verify=check)
