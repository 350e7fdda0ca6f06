"""Clients that nobody of us wrote, unmodified: requests_oauth2client, and PyJWT's PyJWKClient."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import uuid4

import jwt
import pytest
import requests
from requests_oauth2client import (
    BearerToken,
    ClientSecretBasic,
    ClientSecretPost,
    DPoPToken,
    InvalidClient,
    InvalidScope,
    OAuth2Client,
    OAuth2ClientCredentialsAuth,
    PrivateKeyJwt,
)

from application.principals import operator
from infrastructure.keys.signing_keys import SigningKey
from tests.house.foreign import at_its_issuer, private_jwk, public_jwk
from tests.house.samples import Stage, stage
from tests.house.world import House

pytestmark = pytest.mark.asyncio(loop_scope="session")

T = TypeVar("T")

SCOPES = ["devices:read", "audit:read"]


def session(house: House) -> requests.Session:
    made = requests.Session()
    made.trust_env = False
    made.verify = str(house.platform.settings.data_dir / "pki" / "server-ca.pem")
    return made


def discovered(house: House, issuer: str, auth: Any, **options: Any) -> OAuth2Client:
    """What the library makes of our metadata (RFC 8414) by itself."""
    return OAuth2Client.from_discovery_endpoint(
        f"{issuer}/.well-known/oauth-authorization-server",
        issuer,
        auth=auth,
        session=session(house),
        **options,
    )


async def registered(at: Stage, **more: Any) -> dict[str, Any]:
    made = await at.tenant.api.post(
        "/v1/oauth-clients", json={"name": "foreign", "scopes": SCOPES, **more}
    )
    assert made.status_code == 201, made.text
    client: dict[str, Any] = made.json()
    return client


async def elsewhere(call: Callable[[], T]) -> T:
    """In a thread, as the library waits for its answers."""
    return await asyncio.wait_for(asyncio.to_thread(call), 120)


@pytest.mark.parametrize("method", [ClientSecretBasic, ClientSecretPost])
async def test_a_secret_gets_a_token_that_is_introspected_used_and_revoked(
    house: House, method: Any
) -> None:
    at = await stage(house)
    client = await registered(at)

    def story(issuer: str) -> tuple[Any, ...]:
        oauth = discovered(house, issuer, method(client["id"], client["client_secret"]))
        token = oauth.client_credentials(scope="devices:read")
        before = oauth.introspect_token(token)
        with session(house) as used:
            read = used.get(f"{issuer}/v1/devices", auth=token)
            told = oauth.revoke_access_token(token)
            ended = used.get(f"{issuer}/v1/devices", auth=token)
        after = oauth.introspect_token(token)
        assert oauth.revoke_access_token("no token of ours")
        return token, before, read, told, ended, after

    async with at_its_issuer(house) as issuer:
        token, before, read, told, ended, after = await elsewhere(lambda: story(issuer))
    assert isinstance(token, BearerToken)
    assert (before["active"], before["client_id"], before["scope"]) == (
        True,
        client["id"],
        "devices:read",
    )
    assert (read.status_code, told, ended.status_code) == (200, True, 401)
    assert after == {"active": False}


async def test_private_key_jwt_works_at_every_endpoint(house: House) -> None:
    """It addresses each assertion to the endpoint that it asks."""
    at, key = await stage(house), SigningKey.generate()
    client = await registered(
        at,
        token_endpoint_auth_method="private_key_jwt",
        jwks={"keys": [public_jwk(key)]},
    )

    def story(issuer: str) -> tuple[Any, ...]:
        oauth = discovered(house, issuer, PrivateKeyJwt(client["id"], private_jwk(key)))
        token = oauth.client_credentials()
        return token, oauth.introspect_token(token), oauth.revoke_access_token(token)

    async with at_its_issuer(house) as issuer:
        token, told, revoked = await elsewhere(lambda: story(issuer))
    assert token.scope == "audit:read devices:read"
    assert (told["active"], revoked) == (True, True)


@pytest.mark.parametrize("nonces", [False, True])
async def test_a_token_bound_to_a_key_opens_with_a_proof_and_not_without(
    house: House, nonces: bool
) -> None:
    """Where the tenant wants nonces in proofs, the library gets them by itself (RFC 9449 §8)."""
    at = await stage(house)
    if nonces:
        await house.platform.tenants.change_settings(
            operator(at.tenant.tenant_id, uuid4()), {"dpop_nonce_required": True}
        )
    client = await registered(at, dpop_bound_access_tokens=True)

    def story(issuer: str) -> tuple[Any, ...]:
        auth = ClientSecretBasic(client["id"], client["client_secret"])
        oauth = discovered(house, issuer, auth, dpop_bound_access_tokens=True)
        token = oauth.client_credentials()
        told = oauth.introspect_token(token)
        with session(house) as used:
            read = [
                used.get(f"{issuer}/v1/devices", params={"limit": n}, auth=token) for n in (1, 2)
            ]
            stolen = used.get(
                f"{issuer}/v1/devices",
                headers={"authorization": f"Bearer {token.access_token}"},
            )
            proofless = used.get(
                f"{issuer}/v1/devices",
                headers={"authorization": f"DPoP {token.access_token}"},
            )
        return token, told, read, stolen, proofless

    async with at_its_issuer(house) as issuer:
        token, told, read, stolen, proofless = await elsewhere(lambda: story(issuer))
    assert isinstance(token, DPoPToken)
    for nonce in (token.dpop_key.as_nonce, token.dpop_key.rs_nonce):
        assert (nonce is not None) == nonces, "the library has what it was told"
    assert (told["token_type"], told["cnf"]) == (
        "DPoP",
        {"jkt": token.dpop_key.dpop_jkt},
    )
    assert [each.status_code for each in read] == [200, 200]
    assert (stolen.status_code, stolen.json()["code"]) == (401, "token_invalid")
    assert (proofless.status_code, proofless.json()["code"]) == (401, "invalid_dpop_proof")
    assert proofless.headers["www-authenticate"].startswith("DPoP ")


async def test_what_is_refused_becomes_the_librarys_own_errors(house: House) -> None:
    at = await stage(house)
    client = await registered(at)

    def story(issuer: str) -> None:
        right = ClientSecretBasic(client["id"], client["client_secret"])
        wrong = ClientSecretBasic(client["id"], "guess")
        with pytest.raises(InvalidScope):
            discovered(house, issuer, right).client_credentials(scope="everything")
        with pytest.raises(InvalidClient):
            discovered(house, issuer, wrong).client_credentials()

    async with at_its_issuer(house) as issuer:
        await elsewhere(lambda: story(issuer))


async def test_a_session_renews_its_token_by_itself(house: House) -> None:
    at = await stage(house)
    client = await registered(at)

    def story(issuer: str) -> list[int]:
        auth = ClientSecretBasic(client["id"], client["client_secret"])
        with session(house) as used:
            used.auth = OAuth2ClientCredentialsAuth(
                discovered(house, issuer, auth), scope="devices:read", leeway=10_000
            )
            return [used.get(f"{issuer}/v1/devices").status_code for _ in range(3)]

    async with at_its_issuer(house) as issuer:
        assert await elsewhere(lambda: story(issuer)) == [200, 200, 200]


async def test_a_backend_verifies_our_tokens_with_the_published_keys_alone(house: House) -> None:
    token = await house.token((await stage(house)).tenant.tenant_id, "devices:read")
    expected = house.platform.settings.issuer

    def story(issuer: str) -> dict[str, Any]:
        trust: ssl.SSLContext = house.trust()
        keys = jwt.PyJWKClient(f"{issuer}/.well-known/jwks.json", ssl_context=trust)
        key = keys.get_signing_key_from_jwt(token)
        return jwt.decode(token, key, ["ES256"], audience=expected, issuer=expected)

    async with at_its_issuer(house) as issuer:
        claims = await elsewhere(lambda: story(issuer))
    assert claims["scope"] == "devices:read"
