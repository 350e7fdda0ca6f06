"""Client assertions: what a client's own libraries make is accepted once, and nothing else
(RFC 7523 §3)."""

import json
from typing import Any
from uuid import UUID

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from domain.errors import Invalid, Unauthenticated
from domain.ids import OAuthClientId, TenantId, wire
from domain.oauth_client import ClientMetadata, OAuthClient, PublicJwk
from infrastructure.keys.signing_keys import SigningKey
from infrastructure.tokens.client_assertions import SignedClientAssertions
from infrastructure.tokens.client_jwks import ClientJwks
from infrastructure.tokens.remote_jwks import AGAIN_AFTER_S, KEPT_S
from tests.application.id_tokens import Shown
from tests.infrastructure.forgeries import STRANGER, Forger, every_claim_spoilt
from tests.infrastructure.outbound_keys import Outbound
from tests.infrastructure.tokens import FixedClock, compact

ISSUER = "https://identity.example"
TOKEN = ISSUER + "/oauth2/token"
US = frozenset({ISSUER, TOKEN})
TENANT = TenantId(UUID("0198c7a0-9e6c-7b1f-8d3e-2a4b5c6d7e8f"))
CLIENT = OAuthClientId(UUID("0198c7a0-9e6c-7b1f-8d3e-2a4b5c6d7e90"))
NAME = wire("cli", CLIENT)
KEY = SigningKey.generate()
NOW = 1_800_000_000


def jwk(key: SigningKey, **changes: Any) -> PublicJwk:
    members = {name: key.jwk[name] for name in ("kty", "crv", "x", "y", "kid")}
    return msgspec.convert({**members, **changes}, PublicJwk)


def client(*keys: PublicJwk, uri: str | None = None) -> OAuthClient:
    metadata = ClientMetadata(
        name="W",
        scopes=("users:read",),
        auth_method="private_key_jwt",
        jwks=keys,
        jwks_uri=uri,
    )
    return OAuthClient(
        id=CLIENT,
        tenant_id=TENANT,
        version=1,
        registered=metadata,
        metadata=metadata,
        scopes=frozenset(metadata.scopes),
    )


FORGER = Forger(
    key=KEY,
    header={"alg": "ES256", "kid": KEY.kid},
    claims={"iss": NAME, "sub": NAME, "aud": ISSUER, "exp": NOW + 60, "iat": NOW, "jti": "1"},
    other_types=("at+jwt", "dpop+jwt", "identity-assertion+jwt", "logout+jwt", "jwt", ""),
)


def assertions(
    outbound: Outbound | None = None, clock: FixedClock | None = None
) -> SignedClientAssertions:
    at: Any = clock or FixedClock(NOW)
    address: Any = outbound or Outbound()
    shown: Any = Shown()
    return SignedClientAssertions(ClientJwks(address, at), shown, at)


async def refused(assertion: str, by: OAuthClient) -> str | None:
    """The detail with which it is refused."""
    with pytest.raises(Unauthenticated) as raised:
        await assertions().accept(assertion, by, US)
    assert raised.value.code == "invalid_client"
    return raised.value.detail


async def test_a_good_assertion_is_accepted_once() -> None:
    """Otherwise every forgery below would be refused for the wrong reason."""
    of = assertions()
    assert of.named(FORGER.good()) == NAME
    await of.accept(FORGER.good(), client(jwk(KEY)), US)
    with pytest.raises(Unauthenticated) as raised:
        await of.accept(FORGER.good(), client(jwk(KEY)), US)
    assert raised.value.detail == "this jti was used before"


FOREIGN: dict[str, Any] = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    "PS256": rsa.generate_private_key(65537, 2048),
}


@pytest.mark.parametrize("alg", FOREIGN)
async def test_what_a_foreign_library_signs_is_accepted(alg: str) -> None:
    made = jwt.encode(FORGER.claims, FOREIGN[alg], alg)
    public = json.loads(jwt.get_algorithm_by_name(alg).to_jwk(FOREIGN[alg].public_key()))
    kept = {name: public[name] for name in ("kty", "crv", "x", "y", "n", "e") if name in public}
    await assertions().accept(made, client(msgspec.convert(kept, PublicJwk)), US)


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": [ISSUER]},
        {"aud": TOKEN},
        {"aud": [ISSUER, TOKEN]},
        {"exp": NOW + 600},
        {"exp": NOW + 59.5},
        {"iat": None},
        {"iat": NOW + 9, "nbf": NOW + 9},
        {"anything": {"else": 1}},
    ],
)
async def test_what_is_left_open_to_a_client_is(changes: dict[str, Any]) -> None:
    await assertions().accept(FORGER.claiming(**changes), client(jwk(KEY)), US)


@pytest.mark.parametrize("name", FORGER.forgeries())
async def test_no_forgery_is_accepted(name: str) -> None:
    await refused(FORGER.forgeries()[name], client(jwk(KEY)))


CLAIMS = every_claim_spoilt(
    FORGER,
    {
        "iss": (None, "", wire("cli", TENANT), NAME.upper(), [NAME], 1),
        "sub": (None, "", wire("cli", TENANT), "admin", {"id": NAME}),
        "aud": (
            None,
            "",
            [],
            "https://evil.example",
            [ISSUER, "https://evil.example"],
            ISSUER + "/",
            ISSUER.upper(),
            1,
            [1],
        ),
        "exp": (None, NOW, NOW - 1, 0, -1, NOW + 601, 2**63, str(NOW + 60), True, [NOW + 60]),
        "iat": (NOW + 11, "now", -1),
        "nbf": (NOW + 11, "now", NOW + 60),
        "jti": (None, "", "x" * 129, 1, ["1"]),
    },
)


def test_there_are_at_least_sixty_forgeries() -> None:
    assert len(FORGER.forgeries()) >= 60
    assert len(CLAIMS) >= 30


@pytest.mark.parametrize("name", CLAIMS)
async def test_no_claim_may_be_wrong(name: str) -> None:
    await refused(CLAIMS[name](), client(jwk(KEY)))


async def test_a_kid_chooses_among_the_clients_keys_and_no_others() -> None:
    other = SigningKey.generate()
    both = client(jwk(other), jwk(KEY))
    await assertions().accept(FORGER.good(), both, US)
    await assertions().accept(FORGER.headed(kid=None), both, US)
    await refused(FORGER.headed(kid=other.kid), both)
    await refused(FORGER.headed(kid=STRANGER.kid), both)
    await refused(FORGER.good(), client(jwk(other)))
    await refused(compact(STRANGER, FORGER.header, FORGER.claims), both)


async def test_who_could_not_sign_learns_nothing_and_who_could_learns_why() -> None:
    assert await refused(compact(STRANGER, FORGER.header, FORGER.claims), client(jwk(KEY))) is None
    assert await refused(FORGER.claiming(exp=NOW), client(jwk(KEY))) == "the assertion has expired"


async def test_a_forgery_uses_up_nobodys_jti() -> None:
    of = assertions()
    for forged in (
        compact(STRANGER, FORGER.header, FORGER.claims),
        FORGER.claiming(aud="https://evil.example"),
        FORGER.claiming(exp=NOW - 1),
    ):
        with pytest.raises(Unauthenticated):
            await of.accept(forged, client(jwk(KEY)), US)
    await of.accept(FORGER.good(), client(jwk(KEY)), US)


@pytest.mark.parametrize(
    "unusable",
    [
        {"kty": "EC", "crv": "P-256"},
        {"kty": "EC", "crv": "P-256", "x": KEY.jwk["x"]},
        {"kty": "EC", "crv": "P-256", "x": KEY.jwk["x"], "y": KEY.jwk["x"]},
        {"kty": "EC", "crv": "Ed25519", "x": KEY.jwk["x"], "y": KEY.jwk["y"]},
        {"kty": "EC", "crv": "P-256", "x": KEY.jwk["x"], "y": KEY.jwk["y"], "alg": "EdDSA"},
        {"kty": "EC", "crv": "P-256", "x": KEY.jwk["x"], "y": KEY.jwk["y"], "e": "AQAB"},
        {"kty": "OKP", "crv": "P-256", "x": KEY.jwk["x"]},
        {"kty": "OKP", "crv": "Ed25519"},
        {"kty": "RSA", "e": "AQAB"},
        {"kty": "RSA", "n": "A" * 342, "e": "AQAB"},
        {"kty": "RSA", "n": ("A" * 171 + "_" * 171), "e": "AQAB"},
    ],
)
def test_a_key_that_cannot_verify_is_not_registered(unusable: dict[str, Any]) -> None:
    key = PublicJwk(**unusable)
    with pytest.raises(Invalid, match="client_keys_invalid"):
        assertions().check_keys([key])


async def test_keys_at_an_address_are_kept_and_looked_for_again_when_one_is_new() -> None:
    uri = "https://shop.example/jwks.json"
    old, new = SigningKey.generate(), KEY
    there = Outbound(dict(old.jwk), {"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"})
    clock = FixedClock(NOW)
    of = assertions(there, clock)

    async def shown(number: int, by: SigningKey) -> bool:
        header = {"alg": "ES256", "kid": by.kid}
        claims = {"iss": NAME, "sub": NAME, "aud": ISSUER, "jti": str(number)}
        exp = int(clock.seconds) + 60
        try:
            await of.accept(compact(by, header, {**claims, "exp": exp}), client(uri=uri), US)
        except Unauthenticated:
            return False
        return True

    assert await shown(1, old)
    assert await shown(2, old)
    assert there.asked == 1
    there.body = json.dumps({"keys": [dict(new.jwk)]}).encode()
    assert not await shown(3, new), "a kid that is not known does not make us look at once"
    assert there.asked == 1
    clock.seconds += AGAIN_AFTER_S
    assert await shown(4, new)
    assert not await shown(5, old)
    assert there.asked == 2
    there.body = None
    clock.seconds += KEPT_S
    assert await shown(6, new), "what was got before serves while the address is away"
    assert there.asked == 3


async def test_an_address_that_gives_no_keys_is_not_asked_for_every_assertion() -> None:
    there = Outbound()
    for body in (None, b"no JSON", b"[]", b'{"keys": 1}', b'{"keys": [], "keys": []}'):
        there.body, there.asked = body, 0
        of = assertions(there)
        for _ in range(3):
            with pytest.raises(Unauthenticated):
                await of.accept(FORGER.good(), client(uri="https://shop.example/jwks"), US)
        assert there.asked == 1
