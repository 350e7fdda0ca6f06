"""A token once it was issued: asked about, given back, bound to a key; one kind is no other."""

import asyncio
import hashlib
import time
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest

from infrastructure.keys.assertion_signer import JwtAssertionSigner
from infrastructure.keys.signing_keys import SigningKey, base64url
from tests.house.foreign import public_jwk
from tests.house.samples import Stage, stage
from tests.house.test_oauth_clients import JWT_BEARER, PATH, asked, assertion, with_a_key
from tests.house.world import House

pytestmark = pytest.mark.asyncio(loop_scope="session")

METADATA = {"name": "backend", "scopes": ["devices:read"]}


async def with_a_secret(at: Stage, **more: Any) -> tuple[str, str]:
    made = (await at.tenant.api.post(PATH, json={**METADATA, **more})).json()
    return made["id"], made["client_secret"]


async def token_of(house: House, auth: tuple[str, str]) -> str:
    return str((await asked(house, auth=auth)).json()["access_token"])


async def about(house: House, path: str, auth: tuple[str, str], token: str) -> httpx.Response:
    public = await house.client(house.public_url)
    return await public.post(f"/oauth2/{path}", data={"token": token}, auth=auth)


async def opens(at: Stage, token: str, **headers: str) -> tuple[int, str | None]:
    scheme = "DPoP" if headers else "Bearer"
    got = await at.tenant.api.get(
        "/v1/devices", headers={"authorization": f"{scheme} {token}", **headers}
    )
    return got.status_code, got.json().get("code")


def proof(house: House, key: SigningKey, method: str, path: str, token: str | None = None) -> str:
    claims: dict[str, Any] = {
        "jti": uuid4().hex,
        "htm": method,
        "htu": house.platform.settings.issuer + path,
        "iat": int(time.time()),
    }
    if token is not None:
        claims["ath"] = base64url(hashlib.sha256(token.encode()).digest())
    jwk = {name: public_jwk(key)[name] for name in ("kty", "crv", "x", "y")}
    return jwt.encode(claims, key.to_pem(), "ES256", {"typ": "dpop+jwt", "jwk": jwk})


async def test_another_tenant_learns_nothing_of_a_token_and_cannot_end_it(house: House) -> None:
    ours, theirs = await asyncio.gather(stage(house), stage(house))
    mine, foreign = await with_a_secret(ours), await with_a_secret(theirs)
    token = await token_of(house, mine)
    told = (await about(house, "introspect", mine, token)).json()
    assert (told["active"], told["client_id"], told["scope"]) == (True, mine[0], "devices:read")
    seen = [await about(house, "introspect", foreign, each) for each in (token, "x.y.z")]
    assert [each.content for each in seen] == [b'{"active":false}'] * 2
    ended = [await about(house, "revoke", foreign, each) for each in (token, "x.y.z")]
    assert [(each.status_code, each.content) for each in ended] == [(200, b"")] * 2
    assert await opens(ours, token) == (200, None)


async def test_a_token_given_back_opens_nothing_and_is_one_event(house: House) -> None:
    at = await stage(house)
    auth = await with_a_secret(at)
    token, other = await token_of(house, auth), await token_of(house, auth)
    neighbour = await with_a_secret(at)
    assert (await about(house, "revoke", neighbour, token)).status_code == 200
    assert await opens(at, token) == (200, None), "it was issued to another client"
    before = await at.facts()
    for _ in range(2):
        assert (await about(house, "revoke", auth, token)).status_code == 200
    assert await opens(at, token) == (401, "token_invalid")
    assert await opens(at, other) == (200, None)
    assert (await about(house, "introspect", auth, token)).json() == {"active": False}
    assert await at.facts() == before + 1


@pytest.mark.parametrize("path", ["introspect", "revoke"])
async def test_these_endpoints_want_a_client_and_one_token(house: House, path: str) -> None:
    auth = await with_a_secret(await stage(house))
    public = await house.client(house.public_url)
    answers = [
        await public.post(f"/oauth2/{path}", data={"token": "x"}),
        await public.post(f"/oauth2/{path}", data={"token": "x"}, auth=(auth[0], "guess")),
        await public.post(f"/oauth2/{path}", data={}, auth=auth),
        await public.post(f"/oauth2/{path}", data={"token": ""}, auth=auth),
        await public.post(f"/oauth2/{path}", data={"token": "x" * 4097}, auth=auth),
        await public.post(f"/oauth2/{path}", data={"token": ["x", "y"]}, auth=auth),
        await public.post(f"/oauth2/{path}", json={"token": "x"}, auth=auth),
    ]
    assert [(each.status_code, each.json()["error"]) for each in answers] == [
        (401, "invalid_client"),
        (401, "invalid_client"),
        (400, "invalid_request"),
        (400, "invalid_request"),
        (400, "invalid_request"),
        (400, "invalid_request"),
        (400, "invalid_request"),
    ]


async def test_a_token_bound_to_a_key_needs_a_new_proof_by_it_every_time(house: House) -> None:
    at, key = await stage(house), SigningKey.generate()
    auth = await with_a_secret(at)
    public = await house.client(house.public_url)
    form = {"grant_type": "client_credentials"}
    first = proof(house, key, "POST", "/oauth2/token")
    got = await public.post("/oauth2/token", data=form, auth=auth, headers={"dpop": first})
    assert (got.status_code, got.json()["token_type"]) == (200, "DPoP")
    token = got.json()["access_token"]
    again = await public.post("/oauth2/token", data=form, auth=auth, headers={"dpop": first})
    assert (again.status_code, again.json()["error"]) == (400, "invalid_dpop_proof")

    good = proof(house, key, "GET", "/v1/devices", token)
    assert await opens(at, token, dpop=good) == (200, None)
    stranger = SigningKey.generate()
    for bad in (
        good,
        "x.y.z",
        proof(house, key, "GET", "/v1/devices"),
        proof(house, key, "POST", "/v1/devices", token),
        proof(house, key, "GET", "/v1/users", token),
        proof(house, key, "GET", "/v1/devices", token + "x"),
        proof(house, stranger, "GET", "/v1/devices", token),
    ):
        assert await opens(at, token, dpop=bad) == (401, "invalid_dpop_proof")
    assert await opens(at, token) == (401, "token_invalid"), "as a bearer token"
    bearer = await token_of(house, auth)
    bound = proof(house, key, "GET", "/v1/devices", bearer)
    assert await opens(at, bearer, dpop=bound) == (401, "token_invalid"), "never bound"


async def test_a_client_of_bound_tokens_gets_no_others(house: House) -> None:
    at = await stage(house)
    auth = await with_a_secret(at, dpop_bound_access_tokens=True)
    without = await asked(house, auth=auth)
    assert (without.status_code, without.json()["error"]) == (400, "invalid_dpop_proof")


async def test_no_kind_of_token_stands_for_another(house: House) -> None:
    """Each is good where it belongs, and nothing anywhere else."""
    at = await stage(house)
    key, client = await with_a_key(at)
    auth = await with_a_secret(at)
    access = await token_of(house, auth)
    shown = assertion(house, key, client["id"])
    issuer = house.platform.settings.issuer
    claims = jwt.decode(access, options={"verify_signature": False})
    signer = JwtAssertionSigner(house.platform.assertion_keys, issuer)
    kinds = {
        "access token": access,
        "client assertion": shown,
        "proof": proof(house, key, "GET", "/v1/devices", access),
        "identity assertion": signer.sign(claims),
        "secret": auth[1],
    }
    for name, each in kinds.items():
        if name != "access token":
            assert await opens(at, each) == (401, "token_invalid"), name
            told = (await about(house, "introspect", auth, each)).json()
            assert told == {"active": False}, name
        if name != "client assertion":
            house.limiter.reset()
            got = await asked(house, client_assertion_type=JWT_BEARER, client_assertion=each)
            assert (got.status_code, got.json()["error"]) == (401, "invalid_client"), name
    assert await opens(at, access) == (200, None)
    got = await asked(house, client_assertion_type=JWT_BEARER, client_assertion=shown)
    assert got.status_code == 200


async def test_a_token_outlives_the_rotation_of_its_key_and_dies_with_a_leaked_one(
    house: House,
) -> None:
    at = await stage(house)
    auth = await with_a_secret(at)
    public = await house.client(house.public_url)
    keeper, family = house.platform.signing, "access_token"
    token = await token_of(house, auth)
    kid = await keeper.rotate(family)
    published = (await public.get("/.well-known/jwks.json")).json()["keys"]
    assert kid in [key["kid"] for key in published]
    assert await opens(at, token) == (200, None)
    await keeper.rotate(family, leaked=True)
    assert await opens(at, token) == (401, "token_invalid")
    at.tenant.api.headers["authorization"] = f"Bearer {await house.token(at.tenant.tenant_id)}"
    assert await opens(at, await token_of(house, auth)) == (200, None)


async def test_the_metadata_says_where_everything_is(house: House) -> None:
    public = await house.client(house.public_url)
    told = (await public.get("/.well-known/oauth-authorization-server")).json()
    issuer = house.platform.settings.issuer
    assert told["issuer"] == issuer
    paths = {name: told[name].removeprefix(issuer) for name in told if name.endswith("_endpoint")}
    described = {operation.path for operation in house.contract.operations}
    assert set(paths.values()) <= described
    assert told["jwks_uri"].removeprefix(issuer) in described
    assert all(told.values()), "what is empty is left out (RFC 8414 §3.2)"
