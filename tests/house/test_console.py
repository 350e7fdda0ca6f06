"""Console people over the wire: from the invitation to the removal that ends the open session."""

import base64
from typing import Any
from uuid import uuid4

import httpx
import pytest

from domain import totp
from domain.ids import wire
from tests.house.world import PASSWORD, House, Tenancy

pytestmark = pytest.mark.asyncio(loop_scope="session")


def app_code(house: House, secret: str) -> str:
    step = totp.step_of(house.clock.now())
    return totp.code_at(base64.b32decode(secret), step)


async def signed_in(house: House, client: httpx.AsyncClient, who: dict[str, Any]) -> httpx.Response:
    """Sign in, and have the client keep the session."""
    told = await client.post("/v1/console/sign-in", json=who)
    if told.status_code == 200:
        client.headers["authorization"] = f"Bearer {told.json()['token']}"
    return told


async def test_somebody_is_invited_comes_in_gets_another_role_and_is_removed(house: House) -> None:
    tenant = await house.tenant()
    admin = await house.operator("tenant_admin", tenant.tenant_id)
    email = f"{uuid4().hex}@example.com"
    body = {"email": email, "name": "Noura", "role": "tenant_operator"}
    invited = await admin.post("/v1/operators", json=body)
    assert (invited.status_code, invited.json()["status"]) == (201, "invited")
    path = invited.headers["location"]
    assert (await admin.get(path)).json()["invitation"] is None

    noura = await house.client(house.public_url)
    taken = {"invitation": invited.json()["invitation"], "password": PASSWORD}
    accepted = await noura.post("/v1/console/invitations/accept", json=taken)
    assert accepted.json()["tenant_id"] == wire("ten", tenant.tenant_id)
    again = await noura.post("/v1/console/invitations/accept", json=taken)
    assert (again.status_code, again.json()["code"]) == (401, "invitation_invalid")

    who = {"tenant_id": accepted.json()["tenant_id"], "email": email, "password": PASSWORD}
    told = await signed_in(house, noura, who)
    assert told.json()["pending"] == ["enroll_second_factor"]
    early = await noura.get("/v1/devices")
    assert (early.status_code, early.json()["code"]) == (403, "console_setup_required")
    secret = (await noura.post("/v1/console/totp")).json()["secret"]
    proof = {"code": app_code(house, secret)}
    codes = (await noura.post("/v1/console/totp/verify", json=proof)).json()["recovery_codes"]
    assert len(codes) == 10

    assert (await noura.get("/v1/devices")).status_code == 200
    refused = await noura.post("/v1/devices", json={"type": "kiosk", "name": "Kiosk"})
    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
    assert (await signed_in(house, noura, who)).json()["code"] == "second_factor_missing"
    with_code = await signed_in(house, noura, {**who, "recovery_code": codes[0]})
    assert with_code.json()["method"] == "password_recovery_code"
    sessions = (await noura.get("/v1/console/sessions")).json()["items"]
    assert [each["current"] for each in sessions] == [True, False]

    etag = {"if-match": (await admin.get(path)).headers["etag"]}
    promoted = await admin.patch(path, json={"role": "tenant_admin"}, headers=etag)
    assert promoted.status_code == 200, promoted.text
    assert (await noura.get("/v1/console/me")).json()["code"] == "token_invalid"
    await signed_in(house, noura, {**who, "recovery_code": codes[1]})
    made = await noura.post("/v1/devices", json={"type": "kiosk", "name": "Kiosk"})
    assert made.status_code == 201
    await tells_the_tenant(house, tenant, made, invited.json()["id"], email)

    assert (await admin.delete(path)).status_code == 204
    assert (await noura.get("/v1/devices")).json()["code"] == "token_invalid"
    gone = await signed_in(house, noura, {**who, "recovery_code": codes[2]})
    assert gone.json()["code"] == "credentials_invalid"


async def tells_the_tenant(
    house: House, tenant: Tenancy, made: httpx.Response, operator_id: str, email: str
) -> None:
    """The audit names who did it, by an id and nothing else."""
    newest = {"min_position": made.headers["log-position"], "limit": "200"}
    lines = (await tenant.api.get("/v1/audit", params=newest)).json()["items"]
    done = [line for line in lines if line["action"] == "device_registered"]
    assert [line["actor"] for line in done] == [f"operator:{operator_id}"]
    actions = {line["action"] for line in lines}
    assert actions >= {"operator_invited", "operator_accepted", "operator_role_changed"}
    assert email not in str(lines)


async def test_an_erasure_by_a_console_person_takes_two(house: House) -> None:
    tenant = await house.tenant()
    one = await house.operator("tenant_admin", tenant.tenant_id)
    two = await house.operator("tenant_admin", tenant.tenant_id)
    made = await one.post("/v1/users", json={"name": "Sara", "mobile": house.mobile()})
    user_id = made.json()["id"]
    alone = await one.delete(f"/v1/users/{user_id}")
    assert (alone.status_code, alone.json()["code"]) == (403, "approval_required")
    wanted = {"operation": "user.erase", "subject": user_id}
    asked = (await one.post("/v1/approvals", json=wanted)).json()
    approval = {"approval-id": asked["id"]}
    early = await one.delete(f"/v1/users/{user_id}", headers=approval)
    assert (early.status_code, early.json()["code"]) == (403, "approval_required")
    path = f"/v1/approvals/{asked['id']}"
    own = await one.post(f"{path}/approve")
    assert (own.status_code, own.json()["code"]) == (403, "approval_needs_another_person")
    given = await two.post(f"{path}/approve")
    assert given.json()["status"] == "approved"
    newest = {"min_position": given.headers["log-position"]}
    listed = (await two.get("/v1/approvals", params=newest)).json()["items"]
    assert [(each["id"], each["status"]) for each in listed] == [(asked["id"], "approved")]
    done = await one.delete(f"/v1/users/{user_id}", headers=approval)
    assert done.status_code in (200, 202, 204), done.text
    assert (await two.get(path)).json()["status"] == "carried_out"


async def test_a_platform_admin_lets_the_first_person_into_a_tenant(house: House) -> None:
    tenant = await house.tenant()
    platform = await house.operator()
    named = {"link-tenant": wire("ten", tenant.tenant_id)}
    body = {"email": "first@example.com", "name": "First", "role": "tenant_admin"}
    wrong = await platform.post("/v1/operators", json=body)
    assert (wrong.status_code, wrong.json()["code"]) == (422, "role_not_here")
    made = await platform.post("/v1/operators", json=body, headers=named)
    assert made.status_code == 201
    newest = {"min_position": made.headers["log-position"]}
    listed = await platform.get("/v1/operators", params=newest, headers=named)
    assert [each["email"] for each in listed.json()["items"]] == ["first@example.com"]


async def test_an_invitation_by_mail_goes_to_the_address_and_nowhere_else(house: House) -> None:
    tenant = await house.tenant()
    admin = await house.operator("tenant_admin", tenant.tenant_id)
    email = f"{uuid4().hex}@example.com"
    body = {"email": email, "name": "Lama", "role": "tenant_operator", "by_mail": True}
    made = await admin.post("/v1/operators", json=body)
    assert made.status_code == 201, made.text
    assert (made.json()["invitation"], made.json()["invitation_mail"]) == (None, "sent")
    first = house.code_sent_to(email)
    again = await admin.post(f"/v1/operators/{made.json()['id']}/mail-invitation")
    assert (again.status_code, again.json()["invitation_mail"]) == (200, "sent")
    second = house.code_sent_to(email)
    assert first not in made.text + again.text
    newest = {"min_position": again.headers["log-position"], "limit": "200"}
    listed = (await admin.get("/v1/operators", params=newest)).json()["items"]
    assert {each["invitation_mail"] for each in listed if each["email"] == email} == {"sent"}
    anybody = await house.client(house.public_url)
    outcomes: list[int] = []
    for invitation in (first, second):
        taken = {"invitation": invitation, "password": "a long and winding password"}
        told = await anybody.post("/v1/console/invitations/accept", json=taken)
        outcomes.append(told.status_code)
    assert outcomes[0] == 401
    assert outcomes[1] < 300
