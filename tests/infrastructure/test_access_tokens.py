"""Access tokens: what is issued verifies, and nothing else does."""

import base64
import hmac
import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from domain.errors import Unauthenticated
from domain.ids import OAuthClientId, TenantId, wire
from infrastructure.keys.assertion_signer import JwtAssertionSigner
from infrastructure.keys.signing_keys import SigningKey, SigningKeys
from infrastructure.tokens.access_tokens import AccessTokens
from tests.infrastructure.forgeries import Forger
from tests.infrastructure.tokens import CountingIds, FixedClock, compact, encode, es256

ISSUER = "https://identity.example"
AUDIENCE = "https://identity.example/v1"
TENANT = TenantId(UUID("0198c7a0-9e6c-7b1f-8d3e-2a4b5c6d7e8f"))
CLIENT = OAuthClientId(UUID("0198c7a0-9e6c-7b1f-8d3e-2a4b5c6d7e90"))
KEY, ASSERTION_KEY, STRANGER = (SigningKey.generate() for _ in range(3))
CLOCK = FixedClock()
NOW = int(CLOCK.seconds)


def tokens(clock: FixedClock = CLOCK) -> AccessTokens:
    return AccessTokens(SigningKeys(KEY), ISSUER, AUDIENCE, clock, CountingIds())


def header(**changes: Any) -> dict[str, Any]:
    whole = {"alg": "ES256", "kid": KEY.kid, "typ": "at+jwt", **changes}
    return {name: value for name, value in whole.items() if value is not None}


def claims(**changes: Any) -> dict[str, Any]:
    whole = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": wire("cli", CLIENT),
        "client_id": wire("cli", CLIENT),
        "tenant_id": wire("ten", TENANT),
        "scope": "users:read",
        "iat": NOW,
        "exp": NOW + 900,
        "jti": "1",
        **changes,
    }
    return {name: value for name, value in whole.items() if value is not None}


def good() -> str:
    return tokens().issue(TENANT, CLIENT, ["users:read"]).access_token


def test_an_issued_token_verifies() -> None:
    issued = tokens().issue(TENANT, CLIENT, ["users:write", "users:read", "users:read"])
    assert (issued.expires_in, issued.scope) == (900, "users:read users:write")
    token = tokens().verify(issued.access_token)
    assert (token.tenant_id, token.client_id) == (TENANT, CLIENT)
    assert token.scopes == {"users:read", "users:write"}
    assert token.issued_at.timestamp() == NOW
    assert token.expires_at.timestamp() == NOW + 900


def test_the_token_written_by_hand_in_these_tests_is_a_good_one() -> None:
    """Otherwise every forgery below would be refused for the wrong reason."""
    assert tokens().verify(compact(KEY, header(), claims())).jti == "1"


def test_an_issued_token_is_one_of_rfc_9068() -> None:
    token = good()
    public = jwt.PyJWK(dict(KEY.jwk))
    options: Any = {"verify_exp": False, "verify_iat": False}
    read = jwt.decode(token, public, ["ES256"], options, audience=AUDIENCE, issuer=ISSUER)
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    assert {"iss", "exp", "aud", "sub", "client_id", "iat", "jti", "scope"} <= read.keys()


@pytest.mark.parametrize("lifetime_s", [0, -1, 86_401])
def test_a_lifetime_out_of_bounds_is_not_issued(lifetime_s: int) -> None:
    with pytest.raises(ValueError, match="lives between"):
        tokens().issue(TENANT, CLIENT, [], lifetime_s)


def test_a_token_past_its_time_says_so() -> None:
    token = good()
    assert tokens(FixedClock(NOW + 899.9)).verify(token)
    with pytest.raises(Unauthenticated) as refused:
        tokens(FixedClock(NOW + 900)).verify(token)
    assert refused.value.code == "token_expired"


def test_a_forged_token_past_its_time_is_only_invalid() -> None:
    with pytest.raises(Unauthenticated) as refused:
        tokens().verify(compact(STRANGER, header(), claims(iat=NOW - 1000, exp=NOW - 100)))
    assert refused.value.code == "token_invalid"


def _public_pem() -> bytes:
    return KEY.public_key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _hs256(secret: bytes, **changes: Any) -> str:
    head = encode(json.dumps(header(alg="HS256", **changes)).encode())
    signing_input = f"{head}.{encode(json.dumps(claims()).encode())}"
    return f"{signing_input}.{encode(hmac.digest(secret, signing_input.encode(), 'sha256'))}"


def _none(alg: str, signature: str = "") -> str:
    head = encode(json.dumps(header(alg=alg)).encode())
    return f"{head}.{encode(json.dumps(claims()).encode())}.{signature}"


def _parts() -> list[str]:
    return compact(KEY, header(), claims()).split(".")


def _other_payload() -> str:
    head, _, signature = _parts()
    return f"{head}.{encode(json.dumps(claims(scope='admin')).encode())}.{signature}"


def _loose_trailing_bits() -> str:
    head, body, signature = _parts()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet[alphabet.index(signature[-1]) | 1]
    return f"{head}.{body}.{signature[:-1]}{last}"


def _signed(**changes: Any) -> Callable[[], str]:
    return lambda: compact(KEY, header(), claims(**changes))


def _headed(**changes: Any) -> Callable[[], str]:
    return lambda: compact(KEY, header(**changes), claims())


STRANGERS_JWK = dict(STRANGER.jwk)

FORGERIES: dict[str, Callable[[], str]] = {
    # not a token
    "empty": lambda: "",
    "one part": lambda: _parts()[0],
    "two parts": lambda: ".".join(_parts()[:2]),
    "four parts": lambda: ".".join([*_parts(), "x"]),
    "encrypted form": lambda: ".".join([*_parts(), "x", "y"]),
    "white space before": lambda: " " + good(),
    "line end behind": lambda: good() + "\n",
    "padding": lambda: good() + "==",
    "standard base64": lambda: good().replace("-", "+").replace("_", "/") + "+",
    "not ASCII": lambda: good()[:-1] + "\u00e9",
    "loose trailing bits": _loose_trailing_bits,
    "oversize": _signed(scope="x" * 4096),
    "json serialisation": lambda: json.dumps(
        dict(zip(("protected", "payload", "signature"), _parts(), strict=True))
    ),
    # the signature
    "no signature": lambda: ".".join([*_parts()[:2], ""]),
    "another signature": lambda: ".".join([*_parts()[:2], encode(es256(KEY, "else"))]),
    "zero signature": lambda: ".".join([*_parts()[:2], encode(bytes(64))]),
    "short signature": lambda: ".".join([*_parts()[:2], encode(bytes(32))]),
    "another payload": _other_payload,
    "a stranger's signature": lambda: compact(STRANGER, header(), claims()),
    "a stranger's kid": lambda: compact(STRANGER, header(kid=STRANGER.kid), claims()),
    # the algorithm
    "none": lambda: _none("none"),
    "None": lambda: _none("None"),
    "nOnE with a signature": lambda: _none("nOnE", _parts()[2]),
    "HS256 with the public PEM": lambda: _hs256(_public_pem()),
    "HS256 with the public JWK": lambda: _hs256(json.dumps(dict(KEY.jwk)).encode()),
    "HS256 with the x coordinate": lambda: _hs256(KEY.jwk["x"].encode()),
    "HS256 with nothing": lambda: _hs256(b""),
    "ES384": _headed(alg="ES384"),
    "RS256": _headed(alg="RS256"),
    "EdDSA": _headed(alg="EdDSA"),
    "lower-case alg": _headed(alg="es256"),
    "alg missing": _headed(alg=None),
    "alg a list": _headed(alg=["ES256"]),
    # the header
    "kid missing": _headed(kid=None),
    "kid unknown": _headed(kid="unknown"),
    "kid a path": _headed(kid="../../dev/null"),
    "kid SQL": _headed(kid="' OR '1'='1"),
    "kid a number": _headed(kid=1),
    "typ missing": _headed(typ=None),
    "typ JWT": _headed(typ="JWT"),
    "typ of an assertion": _headed(typ="identity-assertion+jwt"),
    "typ in capitals": _headed(typ="AT+JWT"),
    "crit": _headed(crit=["exp"]),
    "crit of b64": _headed(crit=["b64"], b64=False),
    "jwk in the header": lambda: compact(STRANGER, header(jwk=STRANGERS_JWK), claims()),
    "jku in the header": lambda: compact(STRANGER, header(jku="https://e.example"), claims()),
    "x5u in the header": _headed(x5u="https://evil.example/"),
    "zip in the header": _headed(zip="DEF"),
    "cty in the header": _headed(cty="JWT"),
    "alg twice in the header": lambda: compact(
        KEY, json.dumps(header())[:-1] + ', "alg": "none"}', claims()
    ),
    "kid twice in the header": lambda: compact(
        KEY, '{"kid": "unknown", ' + json.dumps(header())[1:], claims()
    ),
    "header a list": lambda: compact(KEY, "[]", claims()),
    "header not JSON": lambda: compact(KEY, "{'alg':'ES256'}", claims()),
    "header of another encoding": lambda: ".".join(
        [encode(json.dumps(header()).encode("utf-16")), *_parts()[1:]]
    ),
    # an assertion in place of an access token
    "assertion": lambda: JwtAssertionSigner(SigningKeys(ASSERTION_KEY), ISSUER).sign(claims()),
    "assertion by our key": lambda: JwtAssertionSigner(SigningKeys(KEY), ISSUER).sign(claims()),
    # the claims
    "another issuer": _signed(iss="https://evil.example"),
    "issuer with a slash": _signed(iss=ISSUER + "/"),
    "issuer missing": _signed(iss=None),
    "another audience": _signed(aud="https://other.example/v1"),
    "audience a list": _signed(aud=[AUDIENCE]),
    "audience missing": _signed(aud=None),
    "sub of another": _signed(sub=wire("cli", TENANT)),
    "client of another form": _signed(client_id="admin", sub="admin"),
    "tenant of another form": _signed(tenant_id=wire("usr", TENANT)),
    "tenant missing": _signed(tenant_id=None),
    "from the future": _signed(iat=NOW + 60, exp=NOW + 900),
    "no end": _signed(exp=None),
    "end as text": _signed(exp=str(NOW + 900)),
    "end as a fraction": _signed(exp=NOW + 900.5),
    "end for ever": _signed(exp=2**63),
    "end before the beginning": _signed(iat=NOW, exp=NOW - 1),
    "longer than a day": _signed(exp=NOW + 86_401),
    "negative beginning": _signed(iat=-1),
    "scope a list": _signed(scope=["users:read"]),
    "jti missing": _signed(jti=None),
    "jti empty": _signed(jti=""),
    "a claim of somebody else": _signed(admin=True),
    "scope twice": lambda: compact(KEY, header(), json.dumps(claims())[:-1] + ',"scope":"admin"}'),
    "exp NaN": lambda: compact(
        KEY, header(), json.dumps(claims()).replace(f'"exp": {NOW + 900}', '"exp": NaN')
    ),
    "payload a list": lambda: compact(KEY, header(), "[]"),
    "payload not JSON": lambda: compact(KEY, header(), "payload"),
    "payload deep": lambda: compact(KEY, header(), "[" * 1400 + "]" * 1400),
}


def test_there_are_at_least_sixty_forgeries_and_they_differ() -> None:
    assert len(FORGERIES) >= 60
    assert len({forge() for forge in FORGERIES.values()}) == len(FORGERIES)


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_is_refused(name: str) -> None:
    token = FORGERIES[name]()
    with pytest.raises(Unauthenticated) as refused:
        tokens().verify(token)
    assert refused.value.code == "token_invalid"
    assert refused.value.detail is None


def test_nothing_that_is_done_to_tokens_of_any_kind_is_accepted() -> None:
    types = ("user+jwt", "dpop+jwt", "identity-assertion+jwt", "JWT", "jwt", "")
    forger = Forger(key=KEY, header=header(), claims=claims(), other_types=types)
    assert tokens().verify(forger.good()).jti == "1"
    for token in forger.forgeries().values():
        with pytest.raises(Unauthenticated, match="token_invalid"):
            tokens().verify(token)


def test_a_check_that_trusts_the_token_s_own_algorithm_would_be_fooled() -> None:
    """What is planted here is the classic mistake; it shows that the forgery is a working one."""

    def naive(token: str) -> bool:
        head, body, signature = token.split(".")
        alg = json.loads(base64.urlsafe_b64decode(head + "=="))["alg"]
        mac = hmac.digest(_public_pem(), f"{head}.{body}".encode(), "sha256")
        return alg == "none" or (alg == "HS256" and encode(mac) == signature)

    assert naive(FORGERIES["HS256 with the public PEM"]())
    assert naive(FORGERIES["none"]())


FORGER = Forger(
    key=KEY,
    header=header(),
    claims=claims(),
    other_types=("JWT", "dpop+jwt", "identity-assertion+jwt", "client-authentication+jwt", ""),
)


@pytest.mark.parametrize("name", FORGER.forgeries())
def test_nothing_that_may_be_done_to_any_token_is_accepted(name: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        tokens().verify(FORGER.forgeries()[name])
    assert refused.value.code == "token_invalid"


def test_a_token_bound_to_a_key_says_to_which() -> None:
    issued = tokens().issue(TENANT, CLIENT, ["users:read"], bound_to=STRANGER.kid)
    assert tokens().verify(issued.access_token).bound_to == STRANGER.kid
    assert tokens().verify(good()).bound_to is None


def test_a_token_bound_to_a_certificate_says_to_which() -> None:
    issued = tokens().issue(TENANT, CLIENT, ["users:read"], certificate=STRANGER.kid)
    found = tokens().verify(issued.access_token)
    assert (found.certificate, found.bound_to) == (STRANGER.kid, None)
    assert tokens().verify(good()).certificate is None


@pytest.mark.parametrize(
    "confirmation",
    ["", {}, [], None, {"jkt": ""}, {"jkt": "x" * 44}, {"jkt": 1}, {"x5t#S256": ""}],
)
def test_a_confirmation_that_is_not_one_makes_no_bearer_token(confirmation: Any) -> None:
    with pytest.raises(Unauthenticated, match="token_invalid"):
        tokens().verify(compact(KEY, header(), {**claims(), "cnf": confirmation}))


def test_a_token_that_was_seen_before_is_looked_at_anew() -> None:
    """What is remembered of it is what it says, and not that it was good."""
    clock, keys = FixedClock(NOW), SigningKeys(KEY)
    of = AccessTokens(keys, ISSUER, AUDIENCE, clock, CountingIds())
    token = of.issue(TENANT, CLIENT, ["users:read"]).access_token
    assert of.verify(token) == of.verify(token) == tokens().verify(token)
    clock.seconds += 900
    with pytest.raises(Unauthenticated, match="token_expired"):
        of.verify(token)
    clock.seconds -= 900
    keys.use(STRANGER, [KEY])
    assert of.verify(token).jti == "00000000000000000000000000000001"
    keys.use(STRANGER, [])
    with pytest.raises(Unauthenticated, match="token_invalid"):
        of.verify(token)


def test_a_token_that_was_seen_before_vouches_for_no_other() -> None:
    of = tokens()
    token = of.issue(TENANT, CLIENT, ["users:read"]).access_token
    for forged in (token + "=", token[:-1], token.upper(), f" {token}", _other_payload()):
        with pytest.raises(Unauthenticated, match="token_invalid"):
            of.verify(forged)
