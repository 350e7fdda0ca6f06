"""People come in by accounts elsewhere, link them, and bind what they hold to a key of theirs."""

import asyncio
import hashlib
import time
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest

from domain.ids import wire
from infrastructure.keys.signing_keys import SigningKey, base64url
from tests.house.foreign import public_jwk
from tests.house.world import INSTALLATION, House, Tenancy

pytestmark = pytest.mark.asyncio(loop_scope="session")

APP = "app.example"
SUBJECT = "110169484474386276334"


async def tenant_of(house: House) -> Tenancy:
    return await house.tenant(google_client_ids=[APP], apple_client_ids=[APP])


def token(house: House, provider: str, nonce: str, /, **changes: Any) -> str:
    claims = house.id_issuer.claims(provider, APP, SUBJECT, nonce, "sara@example.com")
    return house.id_issuer.sign({**claims, **changes})


async def by(
    house: House, tenant: Tenancy, client: httpx.AsyncClient, provider: str, **changes: Any
) -> httpx.Response:
    here = {"tenant_id": wire("ten", tenant.tenant_id), "installation": INSTALLATION}
    nonce = (await client.post("/v1/auth/nonces", json=here)).json()["nonce"]
    body = {**here, "nonce": nonce, "id_token": token(house, provider, nonce, **changes)}
    return await client.post(f"/v1/auth/{provider}", json=body)


async def test_an_account_signs_up_and_in_and_a_wrong_token_does_not(house: House) -> None:
    tenant, anybody = await tenant_of(house), await house.client(house.public_url)
    for provider in ("google", "apple"):
        first = await by(house, tenant, anybody, provider)
        assert first.status_code == 200, first.text
        again = (await by(house, tenant, anybody, provider)).json()
        assert (first.json()["is_new_user"], again["is_new_user"]) == (True, False)
        assert again["user_id"] == first.json()["user_id"]
    for changes in (
        {"aud": "evil.example"},
        {"iss": "https://accounts.google.com"},
        {"nonce": "another"},
        {"email_verified": False},
        {"exp": int(time.time()) - 1},
    ):
        house.limiter.reset()
        refused = await by(house, tenant, anybody, "google", **changes)
        assert (refused.status_code, refused.json()["code"]) == (401, "id_token_invalid"), changes


async def test_who_is_signed_in_links_an_account_and_comes_in_by_it(house: House) -> None:
    tenant, person = await tenant_of(house), await house.client(house.public_url)
    told = await house.sign_in(tenant, person, "sara@example.com")
    required = await by(house, tenant, person, "google")
    assert (required.status_code, required.json()["code"]) == (409, "account_link_required")
    person.headers["authorization"] = f"Bearer {told['access_token']}"
    nonce = (await person.post("/v1/auth/links/nonces")).json()["nonce"]
    body = {"id_token": token(house, "google", nonce), "nonce": nonce}
    answers = await asyncio.gather(
        *(person.post("/v1/auth/links/accounts/google", json=body) for _ in range(8))
    )
    assert sorted({each.status_code for each in answers}) == [204, 401]
    assert sum(each.status_code == 204 for each in answers) == 1
    seen = await person.get("/v1/auth/links")
    assert seen.json() == {"ways_in": ["email", "google"]}
    anybody = await house.client(house.public_url)
    by_account = await by(house, tenant, anybody, "google")
    assert by_account.json()["user_id"] == told["user_id"]
    anybody.headers["authorization"] = f"Bearer {by_account.json()['access_token']}"
    assert (await person.delete("/v1/auth/links/accounts/google")).status_code == 204
    assert (await anybody.get("/v1/auth/sessions")).status_code == 401
    house.clock.shift = timedelta(seconds=301)
    stale = await person.delete("/v1/auth/links/accounts/google")
    assert (stale.status_code, stale.json()["code"]) == (
        401,
        "insufficient_user_authentication",
    )
    challenge = stale.headers["www-authenticate"]
    assert 'error="insufficient_user_authentication"' in challenge
    assert 'max_age="300"' in challenge
    again = (await person.post("/v1/auth/reauthenticate/codes", json={"channel": "email"})).json()
    proved = await person.post(
        "/v1/auth/reauthenticate/codes/verify",
        json={
            "channel": "email",
            "challenge_id": again["challenge_id"],
            "code": house.code_sent_to("sara@example.com"),
        },
    )
    assert (proved.status_code, proved.json()["amr"]) == (200, ["otp_email"]), proved.text
    person.headers["authorization"] = f"Bearer {proved.json()['access_token']}"
    gone = await person.delete("/v1/auth/links/accounts/google")
    assert (gone.status_code, gone.json()["code"]) == (404, "way_in_not_found")
    names = await house.events(tenant)
    assert names.count("user.account_linked") == names.count("user.account_unlinked") == 1


def proof(house: House, key: SigningKey, method: str, path: str, of: str | None = None) -> str:
    claims: dict[str, Any] = {
        "jti": uuid4().hex,
        "htm": method,
        "htu": house.platform.settings.issuer + path,
        "iat": int(time.time()),
    }
    if of is not None:
        claims["ath"] = base64url(hashlib.sha256(of.encode()).digest())
    jwk = {name: public_jwk(key)[name] for name in ("kty", "crv", "x", "y")}
    return jwt.encode(claims, key.to_pem(), "ES256", {"typ": "dpop+jwt", "jwk": jwk})


async def test_a_session_bound_to_a_key_keeps_its_refresh_token_and_is_nobody_elses(
    house: House,
) -> None:
    tenant, client = await tenant_of(house), await house.client(house.public_url)
    key, stranger = SigningKey.generate(), SigningKey.generate()
    here = {"tenant_id": wire("ten", tenant.tenant_id), "installation": INSTALLATION}
    nonce = (await client.post("/v1/auth/nonces", json=here)).json()["nonce"]
    told = await client.post(
        "/v1/auth/google",
        json={**here, "nonce": nonce, "id_token": token(house, "google", nonce)},
        headers={"dpop": proof(house, key, "POST", "/v1/auth/google")},
    )
    assert (told.status_code, told.json()["token_type"]) == (200, "DPoP"), told.text
    refresh, access = told.json()["refresh_token"], told.json()["access_token"]

    async def refreshed(by: SigningKey | None) -> httpx.Response:
        headers = {} if by is None else {"dpop": proof(house, by, "POST", "/v1/auth/refresh")}
        body = {"refresh_token": refresh, "installation": INSTALLATION}
        return await client.post("/v1/auth/refresh", json=body, headers=headers)

    for thief in (None, stranger):
        assert (await refreshed(thief)).json()["code"] == "refresh_token_invalid"
    answers = await asyncio.gather(*(refreshed(key) for _ in range(8)))
    assert {each.json().get("refresh_token") for each in answers} == {refresh}

    async def sees(scheme: str, shown: str | None = None) -> tuple[int, str | None]:
        given = {"authorization": f"{scheme} {access}"}
        given |= {} if shown is None else {"dpop": shown}
        got = await client.get("/v1/auth/sessions", headers=given)
        return got.status_code, got.json().get("code")

    path = "/v1/auth/sessions"
    assert await sees("DPoP", proof(house, key, "GET", path, access)) == (200, None)
    assert await sees("Bearer") == (401, "token_invalid")
    assert await sees("DPoP") == (401, "invalid_dpop_proof")
    by_thief = proof(house, stranger, "GET", path, access)
    assert await sees("DPoP", by_thief) == (401, "invalid_dpop_proof")
    assert "user_session.reuse_detected" not in await house.events(tenant)
