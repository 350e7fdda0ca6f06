"""People sign in over the wire, keep their sessions, and are kept out by one guard."""

import asyncio
from typing import Any

import httpx
import pytest

from domain.ids import wire
from interfaces.http import apps
from tests.house.samples import bodies
from tests.house.world import INSTALLATION, House, Tenancy

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def refreshed(
    client: httpx.AsyncClient, token: str, by: str = INSTALLATION
) -> httpx.Response:
    return await client.post("/v1/auth/refresh", json={"refresh_token": token, "installation": by})


async def test_by_mobile_and_by_e_mail_a_person_signs_up_in_and_out(house: House) -> None:
    tenant = await house.tenant()
    for destination in (house.mobile(), "sara@example.com"):
        client = await house.client(house.public_url)
        house.limiter.reset()
        told = await house.sign_in(tenant, client, destination)
        assert told["is_new_user"] is True
        client.headers["authorization"] = f"Bearer {told['access_token']}"
        listed = (await client.get("/v1/auth/sessions")).json()["items"]
        assert [(each["id"], each["current"]) for each in listed] == [(told["session_id"], True)]
        seen = await tenant.api.get(f"/v1/users/{told['user_id']}/sessions")
        assert [each["id"] for each in seen.json()["items"]] == [told["session_id"]]
        assert (await client.post("/v1/auth/sign-out")).status_code == 204
        over = await client.get("/v1/auth/sessions")
        assert (over.status_code, over.json()["code"]) == (401, "token_invalid")
        assert (await refreshed(client, told["refresh_token"])).status_code == 401
    names = await house.events(tenant)
    assert names.count("user_session.started") == names.count("user_session.ended") == 2


async def test_twenty_parallel_refreshes_get_the_same_successor_and_theft_ends_it(
    house: House,
) -> None:
    tenant = await house.tenant()
    client = await house.client(house.public_url)
    told = await house.sign_in(tenant, client, house.mobile())
    answers = await asyncio.gather(*(refreshed(client, told["refresh_token"]) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    (successor,) = {answer.json()["refresh_token"] for answer in answers}
    assert successor != told["refresh_token"]
    assert answers[0].headers["cache-control"] == "no-store"
    stolen = await refreshed(client, successor, "the-installation-of-a-thief")
    assert (stolen.status_code, stolen.json()["code"]) == (401, "refresh_token_invalid")
    assert (await refreshed(client, successor)).status_code == 401
    names = await house.events(tenant)
    assert names.count("user_session.reuse_detected") == 1
    assert names.count("user_session.ended") == 1


async def test_a_persons_token_opens_nothing_else_and_no_other_token_opens_this(
    house: House,
) -> None:
    tenant = await house.tenant()
    person = await house.signed_in(tenant)
    for operation in house.contract.operations:
        if not any("integrator" in choice for choice in operation.described["security"]):
            continue
        path = operation.path.replace("{", "").replace("}", "")
        answered = await person.request(operation.method, path)
        assert (answered.status_code, answered.json()["code"]) == (401, "token_invalid"), path
    answered = await tenant.api.get("/v1/auth/sessions")
    assert (answered.status_code, answered.json()["code"]) == (401, "token_invalid")


async def test_an_integrator_signs_a_person_out_and_a_suspended_one_is_nobody(
    house: House,
) -> None:
    tenant, mobile = await house.tenant(), house.mobile()
    client = await house.client(house.public_url)
    told = await house.sign_in(tenant, client, mobile)
    path = f"/v1/users/{told['user_id']}"
    client.headers["authorization"] = f"Bearer {told['access_token']}"
    await tenant.api.post(f"{path}/suspend", json={})
    assert (await client.get("/v1/auth/sessions")).status_code == 401
    kept_out = await refreshed(client, told["refresh_token"])
    assert (kept_out.status_code, kept_out.json()["code"]) == (403, "user_suspended")
    await tenant.api.post(f"{path}/resume")
    assert (await client.get("/v1/auth/sessions")).status_code == 200
    assert (await tenant.api.delete(f"{path}/sessions")).status_code == 204
    assert (await client.get("/v1/auth/sessions")).status_code == 401


def ways_in(house: House, tenant: Tenancy) -> list[tuple[str, str, dict[str, Any]]]:
    """Every public route of the user's boundary, from the table of routes, with a good body."""
    wanted = {
        str(route.operation_id)
        for route in apps.PUBLIC
        if "public" in route.opt and route.handler_name and "/v1/auth/" in next(iter(route.paths))
    }
    found = [each for each in house.contract.operations if each.id in wanted]
    assert len(found) == len(wanted) >= 3
    ours = {"tenant_id": wire("ten", tenant.tenant_id)}
    known = bodies()
    return [
        (each.id, each.path, {**known[each.id], **(ours if "tenant_id" in known[each.id] else {})})
        for each in found
    ]


async def test_the_guard_stands_in_front_of_every_way_in(house: House) -> None:
    """Seen to fail when a way in does not ask the guard."""
    tenant = await house.tenant()
    client = await house.client(house.public_url)
    for name, path, body in ways_in(house, tenant):
        house.limiter.reset()
        for _ in range(310):
            for budget in ("sign_in.address", "sign_in.token_failures"):
                await house.limiter.hit(budget, "127.0.0.1", limit=300, per_s=300)
        answered = await client.post(path, json=body)
        assert (answered.status_code, answered.json()["code"]) == (429, "rate_limited"), name
        assert int(answered.headers["retry-after"]) > 0
