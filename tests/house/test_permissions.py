"""Who may call what: generated from the routes and the one table, over every pair of the two."""

import re
from pathlib import Path
from typing import Any, get_args
from uuid import uuid4

import pytest
from litestar import get
from litestar.handlers import HTTPRouteHandler

from application.permissions import (
    DEVICE_OPERATIONS,
    PEOPLE_ONLY,
    PLATFORM_WIDE,
    PROGRAMS_ONLY,
    ROLES,
    SCOPES,
    Permission,
)
from domain.device import DeviceType
from domain.ids import PLATFORM, wire
from domain.operator import Role
from interfaces.http import apps
from interfaces.http.authentication import RouteUnguarded, check_guarded
from interfaces.http.openapi import security
from tests.house.contract import Operation
from tests.house.samples import Stage, dumped, stage
from tests.house.spoilt import JSON
from tests.house.world import House

pytestmark = pytest.mark.asyncio(loop_scope="session")

OAUTH = {"issueToken", "introspectToken", "revokeToken"}
"""These let in whoever proves in the form or a header which client it is."""

ANYBODY = OAUTH | {
    "getAuthorizationServer",
    "getCABundle",
    "getDeviceCAs",
    "getDeviceCRL",
    "getDeviceCRLs",
    "getAuthorities",
    "getJWKS",
    "getLogKeys",
    "live",
    "pairDevice",
    "issueNonce",
    "getCertificateStatus",
    "recoverCertificate",
    "ready",
}

WAYS_IN = {
    "issueSignInNonce",
    "acceptInvitation",
    "beginPasskeySecondFactor",
    "beginPasskeySignIn",
    "refreshTokens",
    "requestCode",
    "requestPasswordReset",
    "resetPassword",
    "signInByApple",
    "signInByGoogle",
    "signInByPasskey",
    "signInByPassword",
    "signInOperator",
    "verifyCode",
}
"""Where a person is not known yet; the guard stands in front of each (tests/house/test_sign_in)."""


def routes() -> dict[str, HTTPRouteHandler]:
    return {str(route.operation_id): route for route in (*apps.PUBLIC, *apps.DEVICE)}


async def test_every_route_says_who_may_call_it_and_only_a_few_let_anybody_in() -> None:
    for name, route in routes().items():
        check_guarded(name, route.opt)
    assert {name for name, route in routes().items() if "public" in route.opt} == ANYBODY | WAYS_IN
    integrators = {route.operation_id for route in apps.PUBLIC if "permission" in route.opt}
    people = {
        str(route.operation_id) for route in apps.PUBLIC if {"user", "console"} & route.opt.keys()
    }
    assert integrators == {str(route.operation_id) for route in apps.PUBLIC} - (
        ANYBODY | WAYS_IN | people
    )
    assert all("device_operation" in route.opt for route in apps.DEVICE)


async def test_every_permission_guards_a_route_and_stands_behind_a_scope() -> None:
    guarded = {route.opt["permission"] for route in apps.PUBLIC if "permission" in route.opt}
    assert guarded == set(get_args(Permission))
    assert guarded == PEOPLE_ONLY | set().union(*SCOPES.values())
    assert guarded == PROGRAMS_ONLY | set().union(*ROLES.values())
    assert not PEOPLE_ONLY & set().union(*SCOPES.values())
    assert not PROGRAMS_ONLY & set().union(*ROLES.values())
    operations = {route.opt["device_operation"] for route in apps.DEVICE}
    assert operations == set().union(*DEVICE_OPERATIONS.values())
    assert set(DEVICE_OPERATIONS) == set(get_args(DeviceType))


@pytest.mark.parametrize("options", [{}, {"permission": "devices.read", "public": True}])
async def test_a_house_with_a_route_that_does_not_say_who_may_call_it_is_not_built(
    house: House, options: dict[str, Any]
) -> None:
    @get("/v1/forgotten", operation_id="forgotten", **options)
    async def forgotten() -> None: ...

    with pytest.raises(RouteUnguarded, match="forgotten"):
        apps.build(house.platform.services, public=(*apps.PUBLIC, forgotten))


async def test_the_document_says_of_every_operation_who_may_call_it(house: House) -> None:
    described = {operation.id: operation for operation in house.contract.operations}
    assert described.keys() == routes().keys()
    for name, operation in described.items():
        if name in OAUTH:
            assert operation.described["security"] == [{"client": []}, {}]
        else:
            assert operation.described["security"] == security(routes()[name].opt)
        assert operation.on_device is ("device_operation" in routes()[name].opt)


async def ask(at: Any, operation: Operation, headers: dict[str, str]) -> tuple[int, str | None]:
    """A call that the door lets through only to be refused further in."""
    content = dumped([]) if operation.takes_json else b""
    answered = await at.tenant.api.request(
        operation.method,
        at.path(
            operation,
            device_id="dev_0",
            service_id="lsvc_0",
            endpoint_id="whe_0",
            client_id="cli_0",
            operator_id="opr_0",
            approval_id="apr_0",
        ),
        content=content,
        params={"wait": 0} if operation.id == "streamAudit" else None,
        headers={**JSON, **headers},
    )
    code = answered.json().get("code") if answered.status_code >= 400 else None
    if answered.status_code in (401, 403):
        assert answered.headers["www-authenticate"].startswith('Bearer realm="link-identity"')
    return answered.status_code, code


async def test_each_scope_opens_its_own_routes_and_no_other(house: House) -> None:
    at = await stage(house)
    before = await at.facts()
    tokens = {scope: await house.token(at.tenant.tenant_id, scope) for scope in SCOPES}
    issued = await at.facts()
    assert issued == before + len(SCOPES)
    opened: dict[str, set[str]] = {scope: set() for scope in SCOPES}
    expected: dict[str, set[str]] = {scope: set() for scope in SCOPES}
    for operation in house.contract.operations:
        permission = routes()[operation.id].opt.get("permission")
        if permission is None:
            continue
        for scope, token in tokens.items():
            status, code = await ask(at, operation, {"authorization": f"Bearer {token}"})
            if permission in SCOPES[scope]:
                expected[scope].add(operation.id)
            if (status, code) != (403, "insufficient_scope"):
                assert status in (200, 400, 404), (operation.id, scope, status, code)
                opened[scope].add(operation.id)
    assert opened == expected
    assert await at.facts() == issued


SEED: dict[str, tuple[str, str, str]] = {
    "tenant.read": ("all", "own", "own"),
    "tenant.write": ("all", "own", "-"),
    "oauth_clients.read": ("all", "own", "-"),
    "oauth_clients.write": ("all", "own", "-"),
    "devices.read": ("all", "own", "own"),
    "devices.write": ("all", "own", "-"),
    "webhooks.write": ("all", "own", "-"),
    "users.read": ("all", "own", "own"),
    "users.write": ("all", "own", "-"),
    "audit.read": ("all", "own", "own"),
    "consents.read": ("all", "own", "own"),
    "tenants.read": ("all", "-", "-"),
    "tenants.write": ("all", "-", "-"),
    "device_ca.write": ("all", "-", "-"),
    "server_certificate.write": ("all", "-", "-"),
    "enrollments.read": ("all", "own", "own"),
    "linked_services.read": ("all", "own", "own"),
    "linked_services.write": ("all", "own", "-"),
    "transactions.read": ("all", "own", "own"),
    "transactions.simulate": ("all", "own", "-"),
    "dsr.read": ("all", "own", "own"),
    "dsr.write": ("all", "own", "-"),
    "operators.write": ("all", "own", "-"),
    "verifications.write": ("-", "-", "-"),
    "identifications.write": ("-", "-", "-"),
}
"""003 §3.4 line by line, and what reference broker.md §8 row 8 adds, in the order of the roles."""


async def test_the_table_says_what_the_seed_says() -> None:
    for permission, by_role in SEED.items():
        opened = ["own" if permission in ROLES[role] else "-" for role in get_args(Role)]
        assert opened == [said.replace("all", "own") for said in by_role], permission


@pytest.mark.parametrize("role", get_args(Role))
async def test_each_role_opens_its_own_routes_and_no_other(house: House, role: Role) -> None:
    """Both ways, over every route of the document; a Platform Admin names the tenant. What is not
    about a tenant's things opens to no role, and no token of another kind stands in for a
    session's. What a role opens is taken from the page for console people.

    Seen to fail with a permission taken out of a role, and with one put in.
    """
    at = await stage(house)
    tenant_id = at.tenant.tenant_id
    named = {"link-tenant": wire("ten", tenant_id)} if role == "platform_admin" else {}
    person = await house.operator(role, PLATFORM if named else tenant_id)
    session = {"authorization": person.headers["authorization"]}
    before = await at.facts()
    opened, expected, told = set[str](), set[str](), told_of(role)
    for operation in house.contract.operations:
        opt = routes()[operation.id].opt
        if operation.on_device or "public" in opt:
            continue
        if "permission" not in opt:
            if named:
                await check_another_kind(at, operation, "console" in opt)
            continue
        status, code = await ask(at, operation, {**session, **named})
        if opt["permission"] in told:
            expected.add(operation.id)
        if (status, code) != (403, "insufficient_scope"):
            assert status in (200, 400, 404), (operation.id, status, code)
            opened.add(operation.id)
        if named:
            without = await ask(at, operation, session)
            wide = opt["permission"] in PLATFORM_WIDE
            missing = (400, "tenant_not_named")
            assert (without == missing) is not (wide or operation.id not in expected)
    assert opened == expected
    assert await at.facts() == before


def told_of(role: Role) -> set[str]:
    """The permissions of the role, as docs/console.md shows them."""
    page = (Path(__file__).parents[2] / "docs" / "console.md").read_text("utf-8")
    rows = re.findall(r"^\| `([a-z_.]+)` \|(.*)\|$", page, re.MULTILINE)
    column = get_args(Role).index(role)
    return {
        permission
        for permission, cells in rows
        if permission in get_args(Permission) and len(cells.split("|")[column].strip()) > 1
    }


async def check_another_kind(at: Stage, operation: Operation, console: bool) -> None:
    """A backend's, a user's and a console person's tokens are each nothing to the others."""
    shown = {
        "backend": at.tenant.api.headers["authorization"],
        "user": at.person.headers["authorization"],
        "console": at.operator.headers["authorization"],
    }
    del shown["console" if console else "user"]
    for token in shown.values():
        told = await ask(at, operation, {"authorization": token})
        assert told == (401, "token_invalid"), operation.id


async def test_a_console_person_acts_in_no_tenant_but_their_own(house: House) -> None:
    ours, theirs = await house.tenant(), await house.tenant()
    admin = await house.operator("tenant_admin", ours.tenant_id)
    platform = await house.operator()
    own = {"link-tenant": wire("ten", ours.tenant_id)}
    assert (await admin.get("/v1/devices", headers=own)).status_code == 200
    answers = [
        (await by.get("/v1/devices", headers={"link-tenant": named})).json()["code"]
        for by, named in (
            (admin, wire("ten", theirs.tenant_id)),
            (admin, wire("ten", uuid4())),
            (admin, wire("ten", PLATFORM)),
            (admin, "nonsense"),
            (platform, wire("ten", uuid4())),
            (platform, "nonsense"),
            (platform, wire("ten", PLATFORM)),
        )
    ]
    assert answers == ["tenant_not_found"] * 6 + ["tenant_not_named"]


async def test_a_role_is_not_given_by_a_client_that_a_person_registers(house: House) -> None:
    tenant = await house.tenant()
    admin = await house.operator("tenant_admin", tenant.tenant_id)
    made = await admin.post(
        "/v1/oauth-clients", json={"name": "backend", "scopes": ["verifications:write"]}
    )
    assert made.status_code == 201, made.text


async def test_without_a_token_nothing_opens(house: House) -> None:
    at = await stage(house)
    for operation in house.contract.operations:
        if "permission" not in routes()[operation.id].opt:
            continue
        for headers, code in (
            ({"authorization": ""}, "token_missing"),
            ({"authorization": "Basic YTpi"}, "token_missing"),
            ({"authorization": "Bearer"}, "token_missing"),
            ({"authorization": "Bearer x.y.z"}, "token_invalid"),
            ({"authorization": "Bearer " + "x" * 5000}, "token_invalid"),
            ({"authorization": "Bearer lcs_x"}, "token_invalid"),
            ({"authorization": "Basic lcs_x"}, "token_missing"),
        ):
            assert await ask(at, operation, headers) == (401, code), operation.id


NOTHING_TO_SAY = {"pollChallenges"}
"""What a device asks with neither a body nor a name in the path, so that nothing can be wrong."""


@pytest.mark.parametrize("kind", get_args(DeviceType))
async def test_a_device_does_what_its_type_may_and_nothing_else(
    house: House, kind: DeviceType
) -> None:
    at = await stage(house)
    device = await house.device(at.tenant, kind)
    for operation in house.contract.operations:
        if not operation.on_device:
            continue
        answered = await device.http.request(operation.method, operation.path, json={})
        told = (answered.status_code, answered.json().get("code"))
        allowed = routes()[operation.id].opt["device_operation"] in DEVICE_OPERATIONS[kind]
        if allowed and operation.id in NOTHING_TO_SAY:
            assert told == (200, None)
            continue
        # The first thing that is wrong with the request itself: its body, or the name in its path.
        wrong = "invalid_request" if operation.takes_json else "idempotency_key_invalid"
        assert told == ((400, wrong) if allowed else (403, "device_type_not_allowed"))


async def test_an_integrators_token_is_nothing_on_the_device_listener(house: House) -> None:
    at = await stage(house)
    token = {"authorization": at.tenant.api.headers["authorization"]}
    for operation in house.contract.operations:
        answered = await at.till.http.request(
            operation.method, at.path(operation), json={}, headers=token
        )
        if operation.on_device:
            wrong = "invalid_request" if operation.takes_json else "transaction_not_found"
            allowed = routes()[operation.id].opt["device_operation"] in DEVICE_OPERATIONS["pos"]
            assert answered.json()["code"] == (wrong if allowed else "device_type_not_allowed")
        elif operation.path != "/v1/device/pair":
            assert (answered.status_code, answered.json()["code"]) == (404, "not_found")


async def test_a_devices_path_is_not_there_for_who_has_no_certificate(house: House) -> None:
    at = await stage(house)
    for operation in house.contract.operations:
        if operation.on_device:
            answered = await at.tenant.api.request(operation.method, operation.path, json={})
            assert (answered.status_code, answered.json()["code"]) == (404, "not_found")
