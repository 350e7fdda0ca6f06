"""Passkeys over the wire: added, used alone and after the password, renamed, and removed."""

from typing import Any

import httpx
import psycopg
import pytest

from domain.ids import PLATFORM, TenantId, wire
from tests.authenticator import Authenticator
from tests.house.world import PASSWORD, House

pytestmark = pytest.mark.asyncio(loop_scope="session")

OPTIONS = "/v1/console/sign-in/passkey/options"
SIGN_IN = "/v1/console/sign-in/passkey"


async def added(
    house: House, client: httpx.AsyncClient, authenticator: Authenticator, name: str = "Laptop"
) -> dict[str, Any]:
    begun = await client.post("/v1/console/passkeys/options")
    assert begun.status_code == 200, begun.text
    made = authenticator.make(begun.json()["options"], house.console_page())
    body = {"ceremony": begun.json()["ceremony"], "name": name, "credential": made}
    told = await client.post("/v1/console/passkeys", json=body)
    assert told.status_code == 201, told.text
    again = await client.post("/v1/console/passkeys", json=body)
    assert (again.status_code, again.json()["code"]) == (410, "passkey_ceremony_over")
    return dict(told.json())


async def shown(
    house: House, client: httpx.AsyncClient, begun: httpx.Response, authenticator: Authenticator
) -> httpx.Response:
    assert begun.status_code == 200, begun.text
    said = authenticator.show(begun.json()["options"], house.console_page())
    body = {"ceremony": begun.json()["ceremony"], "credential": said}
    return await client.post(SIGN_IN, json=body)


@pytest.mark.parametrize("role", ["tenant_admin", "platform_admin"])
async def test_a_passkey_opens_the_console_until_it_is_removed(house: House, role: Any) -> None:
    tenant = await house.tenant()
    at = tenant.tenant_id if role == "tenant_admin" else PLATFORM
    noura = await house.operator(role, at)
    authenticator, spare = Authenticator(), Authenticator()
    passkey = await added(house, noura, authenticator)
    await added(house, noura, spare, "In the safe")
    door = await house.client(house.public_url)
    coming = await shown(house, door, await door.post(OPTIONS), authenticator)
    assert coming.status_code == 200, coming.text
    assert (coming.json()["method"], coming.json()["pending"]) == ("passkey", [])
    me = (await noura.get("/v1/console/me")).json()
    assert (coming.json()["operator_id"], me["passkeys"]) == (me["id"], 2)

    path = f"/v1/console/passkeys/{passkey['id']}"
    renamed = await noura.patch(path, json={"name": "Old laptop"})
    assert renamed.json()["name"] == "Old laptop"
    listed = (await noura.get("/v1/console/passkeys")).json()["items"]
    assert [each["name"] for each in listed] == ["Old laptop", "In the safe"]
    assert listed[0]["used_at"] is not None
    assert listed[1]["used_at"] is None
    assert (await noura.delete(path)).status_code == 204
    refused = await shown(house, door, await door.post(OPTIONS), authenticator)
    assert (refused.status_code, refused.json()["code"]) == (401, "credentials_invalid")
    ended = {"authorization": f"Bearer {coming.json()['token']}"}
    gone = await door.get("/v1/console/me", headers=ended)
    assert (gone.status_code, gone.json()["code"]) == (401, "token_invalid")
    assert "laptop" not in sealed(house, at).lower()
    if role == "tenant_admin":
        newest = {"min_position": str(await house.end()), "limit": "200"}
        lines = (await tenant.api.get("/v1/audit", params=newest)).json()["items"]
        assert {line["action"] for line in lines} >= {
            "operator_passkey_added",
            "operator_passkey_renamed",
            "operator_passkey_removed",
            "operator_passkey_used",
        }


def sealed(house: House, tenant_id: TenantId) -> str:
    """All that the table has of a tenant, as text."""
    with psycopg.connect(house.platform.dsn) as connection:
        rows = connection.execute(
            "SELECT * FROM console_passkeys WHERE tenant_id = %s", (tenant_id,)
        ).fetchall()
    assert rows
    return str(rows)


async def test_after_the_password_the_console_asks_for_the_passkeys_of_that_person(
    house: House,
) -> None:
    tenant = await house.tenant()
    noura = await house.operator("tenant_admin", tenant.tenant_id)
    email = (await noura.get("/v1/console/me")).json()["email"]
    who = {
        "tenant_id": wire("ten", tenant.tenant_id),
        "email": email,
        "password": PASSWORD,
    }
    door = await house.client(house.public_url)
    begin = "/v1/console/sign-in/second-factor/options"
    none = await door.post(begin, json=who)
    assert (none.status_code, none.json()["code"]) == (409, "no_passkey_here")
    authenticator = Authenticator()
    await added(house, noura, authenticator)
    wrong = await door.post(begin, json={**who, "password": "a wrong one, again"})
    assert (wrong.status_code, wrong.json()["code"]) == (401, "credentials_invalid")
    elsewhere = await door.post(begin, json=who, headers={"origin": "https://evil.example"})
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (403, "origin_not_allowed")
    begun = await door.post(begin, json=who)
    asked = begun.json()["options"]["allowCredentials"]
    assert [each["transports"] for each in asked] == [["internal", "hybrid"]]
    coming = await shown(house, door, begun, authenticator)
    assert coming.json()["method"] == "password_passkey"
    again = await shown(house, door, begun, authenticator)
    assert (again.status_code, again.json()["code"]) == (401, "credentials_invalid")
