"""A person has a password: sets it, signs in with it, loses it and gets another one."""

import asyncio
from typing import Any

import httpx
import pytest

from domain.ids import wire
from tests.house.world import INSTALLATION, House, Tenancy

pytestmark = pytest.mark.asyncio(loop_scope="session")

EMAIL = "sara@example.com"
PASSWORD = "correct horse battery staple"


def here(tenant: Tenancy, **fields: Any) -> dict[str, Any]:
    return {
        "tenant_id": wire("ten", tenant.tenant_id),
        "installation": INSTALLATION,
        **fields,
    }


async def signed_in(client: httpx.AsyncClient, tenant: Tenancy, password: str) -> httpx.Response:
    body = here(tenant, email=EMAIL, password=password)
    return await client.post("/v1/auth/passwords/verify", json=body)


async def test_a_password_is_set_used_reset_once_and_given_up(house: House) -> None:
    tenant = await house.tenant()
    person, anybody = await house.client(house.public_url), await house.client(house.public_url)
    told = await house.sign_in(tenant, person, EMAIL)
    person.headers["authorization"] = f"Bearer {told['access_token']}"
    answered = await person.post("/v1/auth/passwords", json={"password": PASSWORD})
    assert answered.status_code == 204, answered.text
    house.limiter.reset()
    by_password = await signed_in(anybody, tenant, PASSWORD)
    assert (by_password.status_code, by_password.json()["user_id"]) == (200, told["user_id"])
    wrong = await signed_in(anybody, tenant, PASSWORD.upper())
    body = here(tenant, email="nobody@example.com", password=PASSWORD)
    unknown = await anybody.post("/v1/auth/passwords/verify", json=body)
    assert (wrong.status_code, wrong.json()["code"]) == (401, "credentials_invalid")
    shown = [{**each.json(), "request_id": ""} for each in (wrong, unknown)]
    assert shown[0] == shown[1]

    asked = await anybody.post("/v1/auth/passwords/reset", json=here(tenant, email=EMAIL))
    assert asked.status_code == 202, asked.text
    proof = here(tenant, challenge_id=asked.json()["challenge_id"], code=house.code_sent_to(EMAIL))
    house.limiter.reset()
    answers = await asyncio.gather(
        *(
            anybody.post(
                "/v1/auth/passwords/reset/verify",
                json={**proof, "password": f"a brand new password {number}"},
            )
            for number in range(8)
        )
    )
    (winner,) = [number for number, each in enumerate(answers) if each.status_code == 204]
    assert {each.json()["code"] for each in answers if each.status_code != 204} == {
        "challenge_expired"
    }
    assert (await person.get("/v1/auth/sessions")).status_code == 401
    house.limiter.reset()
    assert (await signed_in(anybody, tenant, PASSWORD)).status_code == 401
    again = await signed_in(anybody, tenant, f"a brand new password {winner}")
    assert again.status_code == 200

    person.headers["authorization"] = f"Bearer {again.json()['access_token']}"
    assert (await person.delete("/v1/auth/passwords")).status_code == 204
    assert (await signed_in(anybody, tenant, f"a brand new password {winner}")).status_code == 401
    names = await house.events(tenant)
    assert [each for each in names if each.startswith("user.")] == [
        "user.signed_up",
        "user.password_set",
        "user.password_set",
        "user.password_removed",
    ]
