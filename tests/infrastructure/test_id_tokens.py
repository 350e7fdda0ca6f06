"""ID tokens: what a provider signs for our apps, of now and with our nonce, and nothing else."""

import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from domain.errors import Unauthenticated, Unavailable
from domain.user import Provider
from examples.id_issuer.issuer import Issuer
from infrastructure.keys.signing_keys import SigningKey
from infrastructure.tokens.id_tokens import ProviderIdTokens, sources_of_test_issuer
from infrastructure.tokens.remote_jwks import AGAIN_AFTER_S, FAILED_FOR_S
from tests.infrastructure.forgeries import STRANGER, Forger, every_claim_spoilt
from tests.infrastructure.outbound_keys import Outbound
from tests.infrastructure.tokens import FixedClock, compact, encode

ORIGIN = "http://127.0.0.1:9600"
GOOGLE, APPLE = f"{ORIGIN}/google", f"{ORIGIN}/apple"
APP, OTHER_APP = "app.example", "watch.example"
APPS = frozenset({APP, OTHER_APP})
NONCE = "1800000600.nonce"
NOW = 1_800_000_000
KEY = SigningKey.generate()
RSA = rsa.generate_private_key(65537, 2048)
RSA_KID = "rsa-1"

CLAIMS: dict[str, Any] = {
    "iss": GOOGLE,
    "aud": APP,
    "azp": APP,
    "sub": "110169484474386276334",
    "nonce": NONCE,
    "iat": NOW - 1,
    "exp": NOW + 3600,
    "email": "sara@example.com",
    "email_verified": True,
}
FORGER = Forger(
    key=KEY,
    header={"alg": "ES256", "kid": KEY.kid, "typ": "JWT"},
    claims=CLAIMS,
    other_types=("at+jwt", "dpop+jwt", "user+jwt", "identity-assertion+jwt", "logout+jwt", ""),
)


def rsa_jwk(**changes: Any) -> dict[str, Any]:
    public = json.loads(jwt.get_algorithm_by_name("RS256").to_jwk(RSA.public_key()))
    members = {"kty": "RSA", "kid": RSA_KID, "use": "sig", "alg": "RS256"}
    return {**members, "n": public["n"], "e": public["e"], **changes}


def tokens(there: Outbound | None = None, clock: FixedClock | None = None) -> ProviderIdTokens:
    address: Any = there or Outbound(dict(KEY.jwk), rsa_jwk())
    at: Any = clock or FixedClock(NOW)
    return ProviderIdTokens(address, at, sources_of_test_issuer(ORIGIN))


async def shown(token: str, *, by: Provider = "google", nonce: str = NONCE) -> str:
    proved = await tokens().verify(by, token, audiences=APPS, nonce=nonce)
    return proved.subject


async def refused(token: str, **given: Any) -> None:
    with pytest.raises(Unauthenticated, match="id_token_invalid"):
        await shown(token, **given)


async def test_a_good_token_says_whose_account_it_is() -> None:
    """Otherwise every forgery below would be refused for the wrong reason."""
    assert await shown(FORGER.good()) == CLAIMS["sub"]
    assert await shown(jwt.encode(CLAIMS, RSA, "RS256", {"kid": RSA_KID})) == CLAIMS["sub"]


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": hashlib.sha256(NONCE.encode()).hexdigest()},
        {"azp": OTHER_APP},
        {"azp": None},
        {"aud": [APP]},
        {"aud": [APP, OTHER_APP]},
        {"email": None, "email_verified": None},
        {"email_verified": "true"},
        {"iat": NOW - 599},
        {"iat": NOW + 9, "nbf": NOW + 9},
        {"exp": NOW + 86_400},
        {"hd": "example.com", "picture": "https://example.com/p.png", "locale": "ar"},
    ],
)
async def test_what_providers_really_send_is_accepted(changes: dict[str, Any]) -> None:
    assert await shown(FORGER.claiming(**changes)) == CLAIMS["sub"]


@pytest.mark.parametrize("name", FORGER.forgeries())
async def test_no_forgery_is_accepted(name: str) -> None:
    await refused(FORGER.forgeries()[name])


SPOILT = every_claim_spoilt(
    FORGER,
    {
        "iss": (None, "", APPLE, GOOGLE + "/", "https://accounts.google.com", [GOOGLE], 1),
        "aud": (None, "", [], "evil.example", [APP, "evil.example"], APP.upper(), 1, [1], {}),
        "azp": ("evil.example", "", 1, [APP]),
        "sub": (None, "", "x" * 256, 1, ["1"], "with space", "line\nbreak", "\ud800"),
        "nonce": (None, "", NONCE + "0", NONCE.upper(), 1, [NONCE], "\ud800"),
        "iat": (None, NOW - 611, NOW + 11, 0, -1, "now", True, [NOW]),
        "exp": (None, NOW, NOW - 1, 0, NOW + 26 * 3600, 2**63, str(NOW + 60), True),
        "nbf": (NOW + 11, "now", -1),
        "email_verified": (None, False, "false", "yes", 1, "True"),
        "email": (1, ["sara@example.com"], "x" * 321),
    },
)


def test_there_are_far_more_than_sixty_forgeries() -> None:
    assert len(FORGER.forgeries()) >= 60
    assert len(SPOILT) >= 50


@pytest.mark.parametrize("name", SPOILT)
async def test_no_claim_may_be_wrong(name: str) -> None:
    await refused(SPOILT[name]())


async def test_two_audiences_need_to_say_who_asked() -> None:
    await refused(FORGER.claiming(aud=[APP, OTHER_APP], azp=None))


async def test_a_token_of_one_provider_or_nonce_is_none_of_another() -> None:
    await refused(FORGER.good(), by="apple")
    await refused(FORGER.good(), nonce="another-nonce")
    await refused(FORGER.good(), nonce="")


def hmac_with_public_key() -> str:
    pem = RSA.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    head = {"alg": "HS256", "kid": RSA_KID, "typ": "JWT"}
    signed = f"{encode(json.dumps(head).encode())}.{encode(json.dumps(CLAIMS).encode())}"
    return f"{signed}.{encode(hmac.digest(pem, signed.encode(), 'sha256'))}"


def by_rsa(alg: str, kid: str, how: Any) -> str:
    head = {"alg": alg, "kid": kid, "typ": "JWT"}
    signed = f"{encode(json.dumps(head).encode())}.{encode(json.dumps(CLAIMS).encode())}"
    return f"{signed}.{encode(RSA.sign(signed.encode(), how, hashes.SHA256()))}"


PSS = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)


async def test_the_algorithm_is_the_keys_and_not_the_tokens() -> None:
    pkcs = padding.PKCS1v15()
    assert await shown(by_rsa("RS256", RSA_KID, pkcs)) == CLAIMS["sub"]
    for forged in (
        hmac_with_public_key(),
        by_rsa("RS256", RSA_KID, PSS),
        by_rsa("PS256", RSA_KID, PSS),
        by_rsa("RS512", RSA_KID, pkcs),
        by_rsa("ES256", RSA_KID, pkcs),
        by_rsa("RS256", KEY.kid, pkcs),
        by_rsa("none", RSA_KID, pkcs),
        compact(KEY, {"alg": "ES256", "kid": RSA_KID, "typ": "JWT"}, CLAIMS),
    ):
        await refused(forged)


async def test_keys_are_looked_for_again_when_the_provider_has_new_ones() -> None:
    issuer, clock = Issuer(ORIGIN), FixedClock(NOW)
    there = Outbound(*issuer.jwks()["keys"])
    of = tokens(there, clock)

    async def good() -> bool:
        at = int(clock.seconds)
        token = issuer.sign({**CLAIMS, "iat": at, "exp": at + 60})
        try:
            await of.verify("google", token, audiences=APPS, nonce=NONCE)
        except Unauthenticated:
            return False
        return True

    assert await good()
    issuer.rotate()
    there.body = json.dumps(issuer.jwks()).encode()
    assert not await good(), "a kid that is not known does not make us look at once"
    assert there.asked == 1
    clock.seconds += AGAIN_AFTER_S
    assert await good()
    assert there.asked == 2


@pytest.mark.parametrize(
    "unusable",
    [
        rsa_jwk(use="enc"),
        rsa_jwk(alg="RS1"),
        rsa_jwk(n=None),
        rsa_jwk(n="AQAB"),
        rsa_jwk(kid=None),
        {**rsa_jwk(), "kty": "oct"},
        {**rsa_jwk(), "kty": "EC"},
    ],
)
async def test_a_key_that_cannot_verify_is_left_out(unusable: dict[str, Any]) -> None:
    of = tokens(Outbound(unusable, dict(STRANGER.jwk)))
    token = by_rsa("RS256", RSA_KID, padding.PKCS1v15())
    with pytest.raises(Unauthenticated):
        await of.verify("google", token, audiences=APPS, nonce=NONCE)


async def test_a_provider_that_is_away_is_no_reason_to_call_a_token_bad() -> None:
    """It is asked again a few seconds later. Seen to fail where it was left alone for a minute."""
    there, clock = Outbound(dict(STRANGER.jwk)), FixedClock(NOW)
    keys, there.body = there.body, None
    of = tokens(there, clock)
    for _ in range(3):
        with pytest.raises(Unavailable, match="provider_unavailable"):
            await of.verify("google", FORGER.good(), audiences=APPS, nonce=NONCE)
    assert there.asked == 1
    there.body = keys
    clock.seconds += FAILED_FOR_S
    with pytest.raises(Unauthenticated):
        await of.verify("google", FORGER.good(), audiences=APPS, nonce=NONCE)
    assert there.asked == 2
