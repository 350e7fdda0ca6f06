"""Checks that an authorize call comes from the platform and is about exactly this request.

An assertion is a short-lived ES256 JWT (004 §10.5). A product that skips one of the checks here
can be made to pay for another tenant's customer, for another amount, or twice.
"""

import base64
import hashlib
import json
import re
import ssl
import time
from collections.abc import Callable, Collection, Iterable
from typing import Annotated, Any, Final

import jwt
import msgspec
import rfc8785
from jwt.exceptions import PyJWKClientConnectionError, PyJWKClientError, PyJWKSetError, PyJWTError

from clients.product.replay import SeenAssertions

TYP: Final = "identity-assertion+jwt"
LIFETIME_MAX_S: Final = 60
SKEW_S: Final = 5
JWKS_LIFESPAN_S: Final = 300.0
JWKS_COOLDOWN_S: Final = 10.0
"""An unknown `kid` may make us fetch the keys again, but not more often than this: otherwise
anybody with a made-up token can have us ask the platform without end."""
JWKS_TIMEOUT_S: Final = 2.0

_AUDIENCE = re.compile(
    r"https?://[^ ]+/tenants/(ten_[0-9a-f]{32})/linked-services/lsvc_[0-9a-f]{32}"
)
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class AssertionRefused(Exception):
    """The caller is not the platform, or the assertion is not for this request. Answer 401 or 403.

    `code` is stable and says which check failed; `status` is the HTTP status to answer with.
    """

    def __init__(self, code: str, status: int = 401) -> None:
        self.code = code
        self.status = status
        super().__init__(code)


class KeysUnavailable(Exception):
    """The platform's keys could not be fetched, so nobody can be believed. Answer 503."""


class AuthorizeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A verified authorize call. Everything here is covered by the platform's signature.

    `fingerprint` is of all that the decision may depend on. `attempt` is not: it counts the
    platform's own tries of one and the same request. An advice has the fingerprint of the request
    that was decided in the product's place, whose action is `advised_action`.
    `simulated`: somebody tries the product in a sandbox tenant, and no palm was there.
    """

    user_id: str
    tenant_id: str
    device_id: str
    transaction_id: str
    action: str
    context: dict[str, Any]
    idempotency_key: str
    attempt: int
    fingerprint: str
    advised_action: str | None = None
    simulated: bool = False


class _Claims(msgspec.Struct, frozen=True):
    iss: str
    aud: Annotated[list[_Text], msgspec.Meta(min_length=1, max_length=16)]
    sub: _Text
    tenant_id: _Text
    device_id: _Text
    action: _Text
    txn: _Text
    context_hash: _Text
    body_sha256: _Text
    idempotency_key: _Text
    iat: int
    nbf: int
    exp: int
    jti: _Text
    simulated: bool = False


class _Body(msgspec.Struct, frozen=True):
    user_id: str
    tenant_id: str
    device_id: str
    transaction_id: str
    action: str
    context: dict[str, Any]
    idempotency_key: str
    attempt: Annotated[int, msgspec.Meta(ge=1)] = 1
    advised_action: _Text | None = None


class AssertionVerifier:
    """One per product and process; safe to use from several threads.

    `audiences` are the product's own global audiences, one per tenant it is registered with:
    `{issuer}/tenants/{ten_…}/linked-services/{lsvc_…}`. The short `product_key` is unique within
    a tenant only and therefore proves nothing. `clock` is in seconds since 1970.
    """

    def __init__(
        self,
        jwks_url: str,
        issuer: str,
        audiences: Iterable[str],
        *,
        seen: SeenAssertions,
        cafile: str | None = None,
        clock: Callable[[], float] = time.time,
        keys_cooldown_s: float = JWKS_COOLDOWN_S,
    ) -> None:
        self._issuer = issuer
        self._seen = seen
        self._clock = clock
        self._tenants: dict[str, str] = {}
        for audience in audiences:
            self.accept(audience)
        self._keys = jwt.PyJWKClient(
            jwks_url,
            lifespan=JWKS_LIFESPAN_S,
            timeout=JWKS_TIMEOUT_S,
            cooldown_duration=keys_cooldown_s,
            ssl_context=_trust(cafile) if jwks_url.startswith("https:") else None,
        )

    def accept(self, audience: str) -> None:
        """Serve one more tenant's linked service. Raises ValueError for what is no audience."""
        found = _AUDIENCE.fullmatch(audience)
        if found is None:
            raise ValueError(f"{audience!r} is not an audience of a linked service")
        self._tenants = {**self._tenants, audience: found[1]}

    def verify(self, token: str, body: bytes, actions: Collection[str]) -> AuthorizeRequest:
        """The request, once. Raises AssertionRefused, KeysUnavailable or StoreFull.

        `actions` are those of the endpoint that was called: `void` is never among those of
        authorize. The `jti` is used up last, by a request that is right in every other way.
        """
        claims = self._read(token)
        self._check_times(claims)
        self._check_audience(claims)
        if claims.action not in actions:
            raise AssertionRefused("action_not_allowed", status=403)
        request = _read_body(body, claims)
        if not self._seen.remember(claims.iss, claims.jti, claims.exp, self._clock()):
            raise AssertionRefused("assertion_replayed")
        return request

    def _read(self, token: str) -> _Claims:
        try:
            header = jwt.get_unverified_header(token)
        except (PyJWTError, UnicodeError, RecursionError) as error:
            raise AssertionRefused("assertion_malformed") from error
        kid = header.get("kid")
        if header.keys() != {"alg", "kid", "typ"} or not isinstance(kid, str):
            raise AssertionRefused("assertion_malformed")
        if header["typ"] != TYP or header["alg"] != "ES256":
            raise AssertionRefused("assertion_of_another_kind")
        key = self._key(kid)
        try:
            # The times are checked by our own clock, the audience by our own list, below.
            payload = jwt.decode(
                token,
                key,
                algorithms=["ES256"],
                issuer=self._issuer,
                options={
                    "verify_aud": False,
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                    "strict_aud": False,
                },
            )
            return msgspec.convert(payload, _Claims)
        except (PyJWTError, RecursionError, msgspec.ValidationError) as error:
            raise AssertionRefused("assertion_invalid") from error

    def _key(self, kid: str) -> jwt.PyJWK:
        try:
            return self._keys.get_signing_key(kid)
        except (PyJWKClientConnectionError, PyJWKSetError, ValueError) as error:
            raise KeysUnavailable(str(error)) from error
        except PyJWKClientError as error:
            raise AssertionRefused("key_unknown") from error

    def _check_times(self, claims: _Claims) -> None:
        now = self._clock()
        if claims.exp <= now:
            raise AssertionRefused("assertion_expired")
        if claims.iat > now + SKEW_S or claims.nbf > now + SKEW_S:
            raise AssertionRefused("assertion_not_yet_valid")
        if not 0 < claims.exp - claims.iat <= LIFETIME_MAX_S:
            raise AssertionRefused("assertion_too_long")

    def _check_audience(self, claims: _Claims) -> None:
        tenants = {self._tenants[name] for name in claims.aud if name in self._tenants}
        if tenants != {claims.tenant_id}:
            raise AssertionRefused("assertion_for_another_audience")


def _trust(cafile: str | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=cafile)


def _read_body(body: bytes, claims: _Claims) -> AuthorizeRequest:
    if base64url_sha256(body) != claims.body_sha256:
        raise AssertionRefused("body_mismatch")
    try:
        members = json.loads(
            body.decode("utf-8"), object_pairs_hook=_members, parse_int=_whole_number
        )
        read = msgspec.convert(members, _Body)
        context_hash = base64url_sha256(rfc8785.dumps(read.context))
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise AssertionRefused("body_malformed") from error
    if context_hash != claims.context_hash:
        raise AssertionRefused("context_mismatch")
    said = (read.user_id, read.tenant_id, read.device_id, read.transaction_id, read.action)
    signed = (claims.sub, claims.tenant_id, claims.device_id, claims.txn, claims.action)
    if said != signed or read.idempotency_key != claims.idempotency_key:
        raise AssertionRefused("body_mismatch")
    return AuthorizeRequest(
        user_id=read.user_id,
        tenant_id=read.tenant_id,
        device_id=read.device_id,
        transaction_id=read.transaction_id,
        action=read.action,
        context=read.context,
        idempotency_key=read.idempotency_key,
        attempt=read.attempt,
        fingerprint=base64url_sha256(
            rfc8785.dumps([*said[:-1], read.advised_action or read.action, read.context])
        ),
        advised_action=read.advised_action,
        simulated=claims.simulated,
    )


def base64url_sha256(data: bytes) -> str:
    """Without padding, as the claims `context_hash` and `body_sha256` have it."""
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members


def _whole_number(text: str) -> int | float:
    """A JSON number is a double (RFC 8785 §3.1): beyond 2^53 it is read as one, not as an integer,
    or the canonical spelling of 1e17 could not be hashed again."""
    return int(text) if len(text) <= 15 else float(text)
