"""Who may call what: generated from the routes and the one table, over every pair of the two."""

from typing import Any, get_args

import pytest
from litestar import get
from litestar.handlers import HTTPRouteHandler

from application.permissions import DEVICE_OPERATIONS, SCOPES, Permission
from domain.device import DeviceType
from interfaces.http import apps
from interfaces.http.authentication import RouteUnguarded, check_guarded
from interfaces.http.openapi import security
from tests.house.contract import Operation
from tests.house.samples import dumped, stage
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
    "refreshTokens",
    "requestCode",
    "requestPasswordReset",
    "resetPassword",
    "signInByApple",
    "signInByGoogle",
    "signInByPassword",
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
    people = {str(route.operation_id) for route in apps.PUBLIC if "user" in route.opt}
    assert integrators == {str(route.operation_id) for route in apps.PUBLIC} - (
        ANYBODY | WAYS_IN | people
    )
    assert all("device_operation" in route.opt for route in apps.DEVICE)


async def test_every_permission_guards_a_route_and_stands_behind_a_scope() -> None:
    guarded = {route.opt["permission"] for route in apps.PUBLIC if "permission" in route.opt}
    assert guarded == set(get_args(Permission)) == set().union(*SCOPES.values())
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
        ):
            assert await ask(at, operation, headers) == (401, code), operation.id


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
        told = (answered.status_code, answered.json()["code"])
        allowed = routes()[operation.id].opt["device_operation"] in DEVICE_OPERATIONS[kind]
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
            assert answered.json()["code"] == wrong
        elif operation.path != "/v1/device/pair":
            assert (answered.status_code, answered.json()["code"]) == (404, "not_found")


async def test_a_devices_path_is_not_there_for_who_has_no_certificate(house: House) -> None:
    at = await stage(house)
    for operation in house.contract.operations:
        if operation.on_device:
            answered = await at.tenant.api.request(operation.method, operation.path, json={})
            assert (answered.status_code, answered.json()["code"]) == (404, "not_found")
