"""People's tokens: what is issued verifies, and nothing else does, of whatever kind."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import jwt
import pytest

from domain.errors import Unauthenticated
from domain.ids import OAuthClientId, TenantId, UserId, UserSessionId, wire
from infrastructure.keys.signing_keys import SigningKey, SigningKeys
from infrastructure.tokens.access_tokens import AccessTokens
from infrastructure.tokens.user_tokens import JwtUserTokens
from tests.infrastructure.forgeries import STRANGER, Forger, every_claim_spoilt
from tests.infrastructure.tokens import CountingIds, FixedClock, compact

ISSUER = "https://identity.example"
AUDIENCE = f"{ISSUER}/v1/auth"
TENANT = TenantId(UUID("0198c7a0-9e6c-7b1f-8d3e-2a4b5c6d7e8f"))
USER = UserId(UUID("0198c7a0-9e6c-7b1f-8d3e-2a4b5c6d7e91"))
SESSION = UserSessionId(UUID("0198c7a0-9e6c-7b1f-8d3e-2a4b5c6d7e92"))
KEY = SigningKey.generate()
CLOCK = FixedClock()
NOW = int(CLOCK.seconds)
THUMBPRINT = "t" * 43

CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "sub": wire("usr", USER),
    "tenant_id": wire("ten", TENANT),
    "sid": wire("uss", SESSION),
    "amr": ["password"],
    "auth_time": NOW,
    "iat": NOW,
    "exp": NOW + 600,
    "jti": "1",
}
FORGER = Forger(
    key=KEY,
    header={"alg": "ES256", "kid": KEY.kid, "typ": "user+jwt"},
    claims=CLAIMS,
    other_types=("at+jwt", "dpop+jwt", "identity-assertion+jwt", "JWT", "jwt", ""),
)


def tokens(clock: FixedClock = CLOCK) -> JwtUserTokens:
    return JwtUserTokens(SigningKeys(KEY), ISSUER, clock, CountingIds())


def issued(lifetime_s: int = 600, bound_to: str | None = None) -> str:
    at = datetime.fromtimestamp(NOW, UTC)
    return tokens().issue(TENANT, USER, SESSION, ["password"], at, lifetime_s, bound_to)


def refused(token: str, code: str = "token_invalid", clock: FixedClock = CLOCK) -> None:
    with pytest.raises(Unauthenticated) as raised:
        tokens(clock).verify(token)
    assert raised.value.code == code


@pytest.mark.parametrize("bound_to", [None, THUMBPRINT])
def test_an_issued_token_verifies_and_says_which_key_it_is_bound_to(bound_to: str | None) -> None:
    token = issued(bound_to=bound_to)
    said = tokens().verify(token)
    assert (said.tenant_id, said.user_id, said.session_id) == (TENANT, USER, SESSION)
    read = jwt.decode(token, options={"verify_signature": False})
    assert read.get("cnf") == (None if bound_to is None else {"jkt": bound_to})


def test_the_token_written_by_hand_in_these_tests_is_a_good_one() -> None:
    """Otherwise every forgery below would be refused for the wrong reason."""
    assert tokens().verify(FORGER.good()).user_id == USER


@pytest.mark.parametrize("name", FORGER.forgeries())
def test_no_forgery_is_accepted(name: str) -> None:
    refused(FORGER.forgeries()[name])


SPOILT = every_claim_spoilt(
    FORGER,
    {
        "iss": (None, "", "https://evil.example", ISSUER + "/", [ISSUER], 1),
        "aud": (None, "", ISSUER, f"{ISSUER}/v1", AUDIENCE + "/", [AUDIENCE], 1),
        "sub": (None, "", "usr_", wire("cli", USER), USER.hex, wire("usr", USER).upper(), 1),
        "tenant_id": (None, "", wire("usr", TENANT), TENANT.hex, 1, [wire("ten", TENANT)]),
        "sid": (None, "", wire("usr", SESSION), SESSION.hex, 1),
        "amr": (None, "password", 1, [1]),
        "auth_time": (None, -1, "now", 1.5, 2**63),
        "iat": (None, NOW + 120, -1, "now", NOW + 600),
        "exp": (None, NOW + 3601, -1, "later", 2**63, True),
        "jti": (None, "", "x" * 65, 1),
        "cnf": ("key", {}, {"jkt": ""}, {"jkt": "x"}, {"jkt": THUMBPRINT, "x5t#S256": "x"}, 1),
        "scope": ("users:read", ""),
        "client_id": (wire("cli", USER),),
    },
)


def test_there_are_far_more_than_sixty_forgeries() -> None:
    assert len(FORGER.forgeries()) >= 60
    assert len(SPOILT) >= 50


@pytest.mark.parametrize("name", SPOILT)
def test_no_claim_may_be_wrong(name: str) -> None:
    refused(SPOILT[name]())


def test_a_token_past_its_time_says_so_and_a_forged_one_does_not() -> None:
    refused(issued(), "token_expired", FixedClock(NOW + 600))
    refused(compact(STRANGER, FORGER.header, {**CLAIMS, "exp": NOW - 1}))


def test_an_integrators_token_is_no_persons_even_under_one_key() -> None:
    client = OAuthClientId(UUID(int=7))
    access = AccessTokens(SigningKeys(KEY), ISSUER, f"{ISSUER}/v1", CLOCK, CountingIds())
    refused(access.issue(TENANT, client, ["users:read"]).access_token)
    with pytest.raises(Unauthenticated, match="token_invalid"):
        access.verify(issued())


def test_no_token_lives_longer_than_an_hour() -> None:
    read = jwt.decode(issued(10**6), options={"verify_signature": False})
    assert read["exp"] - read["iat"] == 3600
