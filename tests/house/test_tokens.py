"""Access tokens over the wire: how one is got, what a wrong one meets, and when it ends."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from application.principals import operator
from domain.ids import OAuthClientId, parse, wire
from infrastructure.keys.assertion_signer import JwtAssertionSigner
from infrastructure.keys.signing_keys import SigningKey, SigningKeys
from infrastructure.tokens.access_tokens import AccessTokens
from tests.house.samples import Stage, stage
from tests.house.world import House

pytestmark = pytest.mark.asyncio(loop_scope="session")

FORM = {"grant_type": "client_credentials"}


async def registered(house: House, *scopes: str) -> tuple[str, str]:
    tenant = await house.tenant()
    found = await house.platform.services.clients.register(
        operator(tenant.tenant_id, uuid4()), "backend", frozenset(scopes or ("devices:read",))
    )
    return wire("cli", found.client_id), found.secret


async def listed(at: Stage, token: str) -> httpx.Response:
    return await at.tenant.api.get("/v1/devices", headers={"authorization": f"Bearer {token}"})


async def test_a_token_is_bearer_short_lived_and_never_cached(house: House) -> None:
    public = await house.client(house.public_url)
    answered = await public.post("/oauth2/token", data=FORM, auth=await registered(house))
    body = answered.json()
    assert (answered.status_code, answered.headers["cache-control"]) == (200, "no-store")
    assert (body["token_type"], body["expires_in"], body["scope"]) == (
        "Bearer",
        900,
        "devices:read",
    )


async def test_the_secret_may_stand_in_the_form_and_the_scope_may_be_less(house: House) -> None:
    client_id, secret = await registered(house, "devices:read", "audit:read")
    public = await house.client(house.public_url)
    form = {**FORM, "client_id": client_id, "client_secret": secret, "scope": "audit:read"}
    answered = await public.post("/oauth2/token", data=form)
    assert (answered.status_code, answered.json()["scope"]) == (200, "audit:read")


async def test_a_token_ends_when_its_time_is_up(house: House) -> None:
    at = await stage(house)
    token = await house.token(at.tenant.tenant_id, "devices:read")
    house.clock.shift = timedelta(seconds=890)
    assert (await listed(at, token)).status_code == 200
    house.clock.shift = timedelta(seconds=905)
    late = await listed(at, token)
    assert (late.status_code, late.json()["code"]) == (401, "token_expired")
    assert 'error="invalid_token"' in late.headers["www-authenticate"]


def forged(house: House, at: Stage) -> dict[str, str]:
    """Tokens that are almost ours: the same client and scopes, one thing different each."""
    platform, issuer = house.platform, house.platform.settings.issuer
    keys, strange = platform.token_keys, SigningKeys(SigningKey.generate())
    clock, ids, tenant_id = platform.clock, platform.ids, at.tenant.tenant_id
    client_id = OAuthClientId(uuid4())

    def issued(keys: SigningKeys, issuer: str, audience: str) -> str:
        minting = AccessTokens(keys, issuer, audience, clock, ids)
        return minting.issue(tenant_id, client_id, ["devices:read"]).access_token

    assertion = JwtAssertionSigner(platform.assertion_keys, issuer)
    claims = {"aud": issuer, "sub": "x", "tenant_id": wire("ten", tenant_id)}
    return {
        "another audience": issued(keys, issuer, "https://wallet.example"),
        "another issuer": issued(keys, "https://elsewhere.example", issuer),
        "another key": issued(strange, issuer, issuer),
        "a client that is not there": issued(keys, issuer, issuer),
        "the key of assertions": issued(platform.assertion_keys, issuer, issuer),
        "an identity assertion": assertion.sign(claims),
    }


async def test_a_token_that_is_almost_ours_is_refused_like_any_other(house: House) -> None:
    at = await stage(house)
    good = await house.token(at.tenant.tenant_id, "devices:read")
    head, body, signature = good.split(".")
    tokens = forged(house, at) | {
        "no signature": f"{head}.{body}.",
        "half a signature": f"{head}.{body}.{signature[:40]}",
        "a fourth part": f"{good}.x",
        "padded": f"{good}=",
    }
    told: set[tuple[Any, ...]] = set()
    for token in tokens.values():
        answered = await listed(at, token)
        problem = answered.json()
        assert token[-40:] not in answered.text
        told.add((answered.status_code, problem["code"], answered.headers["www-authenticate"]))
    challenge = 'Bearer realm="link-identity", error="invalid_token"'
    assert told == {(401, "token_invalid", challenge)}
    assert (await listed(at, good)).status_code == 200


async def test_two_tokens_are_none(house: House) -> None:
    at = await stage(house)
    token = await house.token(at.tenant.tenant_id, "devices:read")
    public = await house.client(house.public_url)
    twice = [("authorization", f"Bearer {token}"), ("authorization", f"Bearer {token}")]
    answered = await public.get("/v1/devices", headers=twice)
    assert (answered.status_code, answered.json()["code"]) == (401, "token_missing")
    assert (await public.get("/v1/devices", params={"access_token": token})).status_code == 401
    cookie = {"cookie": f"access_token={token}"}
    assert (await public.get("/v1/devices", headers=cookie)).status_code == 401


async def test_the_tokens_of_a_suspended_client_open_nothing_until_it_is_resumed(
    house: House,
) -> None:
    at = await stage(house)
    made = await at.tenant.api.post(
        "/v1/oauth-clients", json={"name": "backend", "scopes": ["devices:read"]}
    )
    client = made.json()
    auth = (client["id"], client["client_secret"])
    public = await house.client(house.public_url)
    token = (await public.post("/oauth2/token", data=FORM, auth=auth)).json()["access_token"]
    assert (await listed(at, token)).status_code == 200
    path = f"/v1/oauth-clients/{client['id']}"
    suspended = await at.tenant.api.post(f"{path}/suspend")
    assert (suspended.status_code, suspended.json()["status"]) == (200, "suspended")
    ended = await listed(at, token)
    assert (ended.status_code, ended.json()["code"]) == (401, "token_invalid")
    again = await public.post("/oauth2/token", data=FORM, auth=auth)
    assert (again.status_code, again.json()["error"]) == (401, "invalid_client")
    assert (await at.tenant.api.post(f"{path}/resume")).json()["status"] == "active"
    assert (await listed(at, token)).status_code == 200
    assert (await at.tenant.api.delete(path)).status_code == 204
    assert (await listed(at, token)).status_code == 401


async def test_an_unknown_client_and_a_wrong_secret_are_told_the_same(house: House) -> None:
    client_id, secret = await registered(house)
    public = await house.client(house.public_url)
    answers = [
        await public.post("/oauth2/token", data=FORM, auth=auth)
        for auth in (
            (client_id, secret[:-1]),
            (client_id, ""),
            (f"cli_{uuid4().hex}", secret),
            ("cli_0", secret),
            ("", ""),
            ("\u0000", "\u00ff"),
        )
    ]
    told = {(answer.status_code, answer.content) for answer in answers}
    assert len(told) == 1
    assert answers[0].status_code == 401
    assert answers[0].json()["error"] == "invalid_client"
    assert answers[0].headers["www-authenticate"].startswith("Basic ")
    assert secret[:20] not in answers[0].text


@pytest.mark.parametrize(
    ("content", "headers", "error"),
    [
        ("grant_type=password", {}, "unsupported_grant_type"),
        ("grant_type=client_credentials&scope=no:such", {}, "invalid_scope"),
        ("grant_type=client_credentials&scope=devices:write", {}, "invalid_scope"),
        ("grant_type=client_credentials&scope=", {}, "invalid_scope"),
        ("grant_type=client_credentials&grant_type=client_credentials", {}, "invalid_request"),
        ("grant_type=client_credentials&client_secret=x", {}, "invalid_request"),
        ("grant_type=client_credentials&scope=a%00b", {}, "invalid_request"),
        ("grant_type", {}, "invalid_request"),
        ("", {}, "unsupported_grant_type"),
        ("&".join(f"a{n}=1" for n in range(40)), {}, "invalid_request"),
        ("grant_type=\u00e9", {}, "invalid_request"),
        ('{"grant_type":"client_credentials"}', {"content-type": "application/json"}, None),
        ("grant_type=client_credentials", {"content-type": "text/plain"}, None),
        ("grant_type=client_credentials", {"authorization": "Bearer x"}, "invalid_request"),
    ],
)
async def test_a_malformed_token_request_is_refused_in_oauths_words(
    house: House, content: str, headers: dict[str, str], error: str | None
) -> None:
    named = "authorization" in headers
    auth = httpx.Auth() if named else httpx.BasicAuth(*await registered(house))
    public = await house.client(house.public_url)
    given = {"content-type": "application/x-www-form-urlencoded", **headers}
    answered = await public.post(
        "/oauth2/token", content=content.encode(), headers=given, auth=auth
    )
    assert (answered.status_code, answered.json()["error"]) == (400, error or "invalid_request")
    assert answered.headers["cache-control"] == "no-store"


async def test_a_token_request_of_more_than_8_kb_is_not_read(house: House) -> None:
    public = await house.client(house.public_url)
    answered = await public.post("/oauth2/token", data={**FORM, "scope": "x" * 8192})
    assert (answered.status_code, answered.json()["code"]) == (413, "body_too_large")


async def test_an_address_that_keeps_guessing_secrets_has_to_wait(house: House) -> None:
    client_id, secret = await registered(house)
    public = await house.client(house.public_url)
    statuses = [
        (await public.post("/oauth2/token", data=FORM, auth=(client_id, "guess"))).status_code
        for _ in range(31)
    ]
    assert statuses == [401] * 30 + [429]
    right = await public.post("/oauth2/token", data=FORM, auth=(client_id, secret))
    assert (right.status_code, right.headers["retry-after"]) == (429, "60")


async def test_a_client_that_asks_without_end_has_to_wait_and_others_do_not(house: House) -> None:
    one, other = await registered(house), await registered(house)
    client_id = parse("cli", one[0])
    assert client_id is not None
    for _ in range(6000):
        await house.limiter.hit("token.requests", client_id.hex, limit=6000, per_s=60)
    public = await house.client(house.public_url)
    told = await public.post("/oauth2/token", data=FORM, auth=one)
    assert (told.status_code, told.json()["error"]) == (429, "slow_down")
    assert told.headers["retry-after"] == "60"
    assert (await public.post("/oauth2/token", data=FORM, auth=other)).status_code == 200
