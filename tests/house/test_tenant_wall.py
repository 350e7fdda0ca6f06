"""Two tenants in one house: what belongs to the other looks exactly like what is not there."""

import asyncio
import base64
import copy
import hashlib
import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, cast
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest
import rfc8785
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from application.ports.deliveries import event_id
from domain.ids import (
    DeviceId,
    LinkedServiceId,
    PalmRef,
    TenantId,
    TransactionId,
    UserId,
    parse,
    wire,
)
from interfaces.http.openapi import ID_PREFIXES
from projections import (
    approvals,
    audit,
    device_commands,
    devices,
    enrollments,
    linked_services,
    oauth_clients,
    operators,
    palm_challenges,
    transactions,
    users,
    webhook_endpoints,
    webhook_identities,
)
from projections.catalogue import READ_MODELS
from projections.read_model import Connection, Page
from tests.authenticator import Authenticator
from tests.house.contract import Operation
from tests.house.samples import bodies, dumped
from tests.house.spoilt import JSON
from tests.house.world import House, PairedDevice, Tenancy, scan, transaction

pytestmark = pytest.mark.asyncio(loop_scope="session")

PALM = b"the palm of one person"
WIRE_ID = re.compile(r"[a-z]{3}_[0-9a-f]{32}")

GOOD: dict[str, dict[str, Any]] = {
    "certifyLinkedService": {"action": "pay"},
    "changeLinkedService": {"timeout_ms": 700},
    "setBreaker": {"mode": "observe", "reason": "incident"},
    "changeWebhookEndpoint": {"event_types": ["device.paired"]},
    "retireOAuthClientSecret": {"secret": 1},
    "queueCommand": {"kind": "identify"},
    "changeOperator": {"role": "tenant_operator"},
    "renamePasskey": {"name": "Another laptop"},
    "changeUser": {"name": "Sara"},
    "suspendTenant": {},
    "recordConsent": {"consent_type": "marketing", "version": "1"},
    "recordConsentWithdrawal": {"consent_type": "marketing"},
    "changeSettingsOfTenant": {},
    "changeKyc": {"status": "verified"},
}
"""Bodies for routes with an id in their path; an empty object will do for the others."""


class Estate(msgspec.Struct, frozen=True):
    """All that a tenant can have: one id of each kind, in its form on the wire."""

    tenant: Tenancy
    till: PairedDevice
    ids: dict[str, str]
    challenge_id: str
    mobile: str
    position: int
    correlation_id: str
    person: httpx.AsyncClient
    operator: httpx.AsyncClient

    def client(self, operation: Operation) -> httpx.AsyncClient:
        if operation.by_operator:
            return self.operator
        return self.person if operation.by_user else self.tenant.api


async def estate(house: House, product_key: str = "solely") -> Estate:
    tenant = await house.tenant(duplicate_palm_check=False)
    await tenant.api.post(
        "/v1/linked-services", json={"product_key": product_key, "base_url": house.product_url}
    )
    till = await house.device(tenant)
    user_id = await house.person(till, house.mobile(), PALM + tenant.tenant_id.bytes)
    asked = transaction(PALM + tenant.tenant_id.bytes)
    told = (await till.http.post("/v1/device/transactions", json=asked)).json()
    assert told["decision"] == "allow"
    mobile = house.mobile()
    waiting = await till.http.post("/v1/device/signup", json={"mobile": mobile})
    endpoint = await tenant.api.post(
        "/v1/webhook-endpoints",
        json={"url": f"https://localhost:{house.public.port}/x", "event_types": ["device.revoked"]},
    )
    client = await tenant.api.post(
        "/v1/oauth-clients", json={"name": "backend", "scopes": ["devices:read"]}
    )
    asked_for = await tenant.api.post("/v1/webhook-mtls/csr", json={})
    assert asked_for.status_code == 201, asked_for.text
    queued = await tenant.api.post(f"/v1/devices/{till.id}/commands", json={"kind": "identify"})
    assert queued.status_code == 201, queued.text
    challenge = await challenged(tenant, till.id, user_id)
    position = await house.end()
    newest = {"min_position": str(position)}
    palms = (await tenant.api.get("/v1/enrollments", params=newest)).json()["items"]
    lines = (await tenant.api.get("/v1/audit", params=newest)).json()["items"]
    person = await house.signed_in(tenant)
    (session,) = (await person.get("/v1/auth/sessions")).json()["items"]
    agreed = (await tenant.api.get(f"/v1/users/{user_id}/consents")).json()["items"]
    operator = await house.operator("tenant_admin", tenant.tenant_id)
    own = (await operator.get("/v1/console/sessions")).json()["items"][0]
    asked_for = await operator.post(
        "/v1/approvals", json={"operation": "user.erase", "subject": user_id}
    )
    ids = {
        "consent_id": str(agreed[0]["id"]),
        "tenant_id": wire("ten", tenant.tenant_id),
        "session_id": str(session["id"]),
        "console_session_id": str(own["id"]),
        "passkey_id": await passkey_of(house, operator),
        "operator_id": str((await operator.get("/v1/console/me")).json()["id"]),
        "approval_id": str(asked_for.json()["id"]),
        "device_id": till.id,
        "service_id": tenant.service_id,
        "transaction_id": str(told["transaction_id"]),
        "user_id": user_id,
        "palm_ref": str(palms[0]["palm_ref"]),
        "verification_id": await compared(tenant, "verifications", user_id=user_id),
        "identification_id": await compared(tenant, "identifications"),
        "challenge_id": challenge,
        "endpoint_id": str(endpoint.json()["id"]),
        "client_id": str(client.json()["id"]),
    }
    correlation_id = str(lines[0]["correlation_id"])
    challenge_id = waiting.json()["challenge_id"]
    position = await house.end()
    return Estate(
        tenant, till, ids, challenge_id, mobile, position, correlation_id, person, operator
    )


async def passkey_of(house: House, operator: httpx.AsyncClient) -> str:
    """A passkey that was just added, by its id."""
    begun = (await operator.post("/v1/console/passkeys/options")).json()
    made = Authenticator().make(begun["options"], house.console_page())
    body = {"ceremony": begun["ceremony"], "name": "Laptop", "credential": made}
    added = await operator.post("/v1/console/passkeys", json=body)
    assert added.status_code == 201, added.text
    return str(added.json()["id"])


async def challenged(tenant: Tenancy, device_id: str, user_id: str) -> str:
    """An enrolment of the other hand, by the challenge's id."""
    body = {"user_id": user_id, "device_id": device_id, "hand": "right"}
    asked = await tenant.api.post("/v1/enrollments", json=body)
    assert asked.status_code == 201, asked.text
    return str(asked.json()["id"])


async def compared(tenant: Tenancy, what: str, **body: str) -> str:
    """A comparison of the tenant's palm, by its id."""
    asked = {"scan": scan(PALM + tenant.tenant_id.bytes), **body}
    answered = await tenant.api.post(f"/v1/{what}", json=asked)
    assert (answered.status_code, answered.json()["result"]) == (201, "match"), answered.text
    return str(answered.json()["id"])


def unknown(wire_id: str) -> str:
    """An id of the same kind that nobody has."""
    return f"{wire_id.partition('_')[0]}_{uuid4().hex}"


def told(answered: httpx.Response) -> tuple[int, dict[str, str], object]:
    """All that an answer says, but for what is drawn or counted anew for every answer."""
    headers = {
        name: value
        for name, value in answered.headers.items()
        if name not in ("x-request-id", "date", "traceresponse")
    }
    body: dict[str, Any] = json.loads(answered.content) if answered.content else {}
    body.pop("request_id", None)
    return answered.status_code, headers, body


async def facts(house: House, tenant_id: TenantId) -> int:
    async with house.platform.projector_pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT count(*) FROM events WHERE tenant_id = %s", (tenant_id,)
        )
        row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


def with_ids(house: House) -> list[tuple[Operation, str]]:
    return [
        (operation, name)
        for operation in house.contract.operations
        for name in ID_PREFIXES
        if f"{{{name}}}" in operation.path
    ]


async def test_a_foreign_id_in_a_path_is_answered_like_an_unknown_one(house: House) -> None:
    ours, theirs = await asyncio.gather(estate(house), estate(house))
    before = await facts(house, theirs.tenant.tenant_id)
    cells = with_ids(house)
    assert {name for _, name in cells} == set(ID_PREFIXES)
    for operation, name in cells:
        content = dumped(GOOD.get(operation.id, {})) if operation.takes_json else b""
        answers = [
            told(
                await ours.client(operation).request(
                    operation.method,
                    operation.path.format(**{**ours.ids, name: wire_id}),
                    content=content,
                    headers={**JSON, "if-match": '"1"'} if content else {},
                )
            )
            for wire_id in (theirs.ids[name], unknown(theirs.ids[name]), f"{name}_x")
        ]
        assert answers[0] == answers[1] == answers[2], operation.id
        assert answers[0][0] == 404
    assert await facts(house, theirs.tenant.tenant_id) == before


async def test_an_id_of_another_kind_is_answered_like_an_unknown_one(house: House) -> None:
    """A device's digits under a product's prefix, and so on: all of them our own."""
    ours = await estate(house)
    for operation, name in with_ids(house):
        content = dumped(GOOD.get(operation.id, {})) if operation.takes_json else b""
        kinds = [*ours.ids, "tenant"]
        digits = {kind: ours.ids[kind].partition("_")[2] for kind in ours.ids}
        digits["tenant"] = ours.tenant.tenant_id.hex
        answers = [
            told(
                await ours.client(operation).request(
                    operation.method,
                    operation.path.format(
                        **{**ours.ids, name: f"{ID_PREFIXES[name]}_{digits[kind]}"}
                    ),
                    content=content,
                    headers={**JSON, "if-match": '"1"'} if content else {},
                )
            )
            for kind in kinds
            if kind != name
        ]
        assert {answer[0] for answer in answers} == {404}, operation.id
        assert all(answer == answers[0] for answer in answers)


async def ids_in_bodies(theirs: Estate) -> dict[str, str]:
    """By prefix, what a body may name; tenants are named by whoever signs in, and are no secret."""
    newest = {"min_position": str(theirs.position)}
    path = f"/v1/devices/{theirs.ids['device_id']}/commands"
    commands = (await theirs.tenant.api.get(path, params=newest)).json()["items"]
    return {
        "usr": theirs.ids["user_id"],
        "dev": theirs.ids["device_id"],
        "chl": theirs.challenge_id,
        "cmd": str(commands[0]["id"]),
        "evt": wire("evt", event_id(theirs.tenant.tenant_id, 1)),
    }


def named_in(body: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where in a body an id stands."""
    if isinstance(body, str):
        if WIRE_ID.fullmatch(body):
            yield path
    elif isinstance(body, dict):
        for name, value in cast("dict[str, object]", body).items():
            yield from named_in(value, (*path, name))
    elif isinstance(body, list):
        for at, value in enumerate(cast("list[object]", body)):
            yield from named_in(value, (*path, at))


def prefix_at(body: Any, path: tuple[str | int, ...]) -> str:
    for step in path:
        body = body[step]
    return str(body).partition("_")[0]


def naming(body: Any, path: tuple[str | int, ...], wire_id: str) -> bytes:
    changed = copy.deepcopy(body)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = wire_id
    return dumped(changed)


async def test_a_foreign_id_in_a_body_is_answered_like_an_unknown_one(house: House) -> None:
    """Of what says yes to both, as a filter does, the status; of the rest all, but for the id."""
    ours, theirs = await asyncio.gather(estate(house), estate(house))
    foreign = await ids_in_bodies(theirs)
    before = await facts(house, theirs.tenant.tenant_id)
    good, tried = bodies(), 0
    for operation in house.contract.operations:
        body = good.get(operation.id)
        for path in named_in(body):
            prefix = prefix_at(body, path)
            if prefix not in foreign:
                continue
            client = ours.till.http if operation.on_device else ours.client(operation)
            answers: list[tuple[int, object]] = []
            for wire_id in (foreign[prefix], unknown(foreign[prefix])):
                answered = await client.request(
                    operation.method,
                    operation.path.format(**ours.ids),
                    content=naming(body, path, wire_id),
                    headers=JSON,
                )
                status, headers, said = told(answered)
                kept = json.dumps([headers, said]).replace(wire_id, "the id")
                answers.append((status, kept if status >= 400 else None))
            assert answers[0] == answers[1], (operation.id, path)
            tried += 1
    assert tried >= 15
    assert await facts(house, theirs.tenant.tenant_id) == before


async def test_a_foreign_id_as_a_filter_finds_nothing(house: House) -> None:
    ours, theirs = await asyncio.gather(estate(house), estate(house))
    filters = [
        ("/v1/transactions", "device_id", theirs.ids["device_id"]),
        ("/v1/transactions", "user_id", theirs.ids["user_id"]),
        ("/v1/enrollments", "user_id", theirs.ids["user_id"]),
        ("/v1/audit", "correlation_id", theirs.correlation_id),
        *(("/v1/audit", "subject", wire_id) for wire_id in theirs.ids.values()),
    ]
    for path, name, wire_id in filters:
        newest = {name: wire_id, "min_position": str(theirs.position)}
        answered = await ours.tenant.api.get(path, params=newest)
        assert told(answered)[::2] == (200, {"items": [], "next": None}), (path, name)
        mirrored = await theirs.tenant.api.get(path, params=newest)
        assert mirrored.json()["items"] or name == "subject", (path, name)


async def test_a_foreign_cursor_opens_no_page_of_the_other(house: House) -> None:
    ours, theirs = await asyncio.gather(estate(house), estate(house))
    newest = {"limit": "1", "min_position": str(theirs.position)}
    for path in ("/v1/audit", "/v1/linked-services"):
        cursor = (await theirs.tenant.api.get(path, params=newest)).json()["next"]
        own = [item["id"] for item in (await pages(ours, path)) if "id" in item]
        assert cursor is not None
        page = await ours.tenant.api.get(path, params={"cursor": cursor})
        assert page.status_code == 200
        for item in page.json()["items"]:
            assert "id" not in item or item["id"] in own
            assert theirs.tenant.tenant_id.hex not in json.dumps(item)
            assert not any(wire_id in json.dumps(item) for wire_id in theirs.ids.values())


async def pages(of: Estate, path: str) -> list[dict[str, Any]]:
    answered = await of.tenant.api.get(path, params={"limit": "200"})
    items: list[dict[str, Any]] = answered.json()["items"]
    return items


async def test_a_device_meets_foreign_people_and_challenges_as_if_they_were_not_there(
    house: House,
) -> None:
    ours, theirs = await asyncio.gather(estate(house), estate(house))
    before = await facts(house, theirs.tenant.tenant_id)
    code = house.code_sent_to(theirs.mobile)
    for path, body, name, status in (
        ("signup/verify", {"code": code}, "challenge_id", 404),
        ("consent", {"consent_type": "palm_enrollment", "version": "1"}, "user_id", 403),
        ("enroll", {"scan": scan(PALM), "hand": "left"}, "user_id", 403),
    ):
        foreign = theirs.challenge_id if name == "challenge_id" else theirs.ids[name]
        answers = [
            told(await ours.till.http.post(f"/v1/device/{path}", json={**body, name: wire_id}))
            for wire_id in (foreign, unknown(foreign), "nonsense")
        ]
        assert answers[0] == answers[1] == answers[2], path
        assert answers[0][0] == status, answers[0]
    assert await facts(house, theirs.tenant.tenant_id) == before


async def test_a_challenge_of_another_device_of_the_same_tenant_is_not_there(
    house: House,
) -> None:
    ours = await estate(house)
    other = await house.device(ours.tenant)
    body = {"challenge_id": ours.challenge_id, "code": house.code_sent_to(ours.mobile)}
    strange = await other.http.post("/v1/device/signup/verify", json=body)
    nothing = await other.http.post(
        "/v1/device/signup/verify", json={**body, "challenge_id": unknown("chl_0")}
    )
    assert told(strange) == told(nothing)
    assert strange.status_code == 404
    right = await ours.till.http.post("/v1/device/signup/verify", json=body)
    assert right.status_code == 200


async def test_a_device_that_matches_by_itself_cannot_name_a_foreign_person(
    house: House,
) -> None:
    theirs = await estate(house)
    tenant = await house.tenant(palm_model="small", attestation={"small_model": "none"})
    till = await house.device(tenant, small_model_capable=True)
    answers = [
        told(await till.http.post("/v1/device/transactions", json=matched(till, user_id)))
        for user_id in (theirs.ids["user_id"], unknown("usr_0"), "nonsense")
    ]
    assert answers[0] == answers[1] == answers[2]
    assert answers[0][0] == 403
    assert "small_model_not_allowed" in str(answers[0][2])


def matched(till: PairedDevice, user_id: str) -> dict[str, Any]:
    """A transaction in which the device itself says who it is, signed as it must be."""
    body = transaction(b"x", uuid4().hex)
    rgb, ir = (base64.b64decode(body["scan"][name]) for name in ("rgb", "ir"))
    match: dict[str, Any] = {
        "user_id": user_id,
        "model_version": "m-1",
        "library_version": "l-1",
        "scores": [0.99, 0.99],
        "thresholds": [0.9, 0.9],
    }
    said = {
        **match,
        "idempotency_key": body["idempotency_key"],
        "scan_sha256": hashlib.sha256(len(rgb).to_bytes(8, "big") + rgb + ir).hexdigest(),
    }
    key = load_pem_private_key(till.key_pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signature = key.sign(rfc8785.dumps(said), ec.ECDSA(hashes.SHA256()))
    return {**body, "match": {**match, "signature": base64.b64encode(signature).decode()}}


async def test_a_device_cannot_be_bound_to_a_foreign_product(house: House) -> None:
    ours, _ = await asyncio.gather(house.tenant(), estate(house, "only-theirs"))
    answers = [
        told(
            await ours.api.post(
                "/v1/devices",
                json={
                    "type": "pos",
                    "name": "Till",
                    "bound_product": product_key,
                    "bound_action": "pay",
                },
            )
        )
        for product_key in ("only-theirs", "nobodys")
    ]
    assert answers[0] == answers[1]
    assert answers[0][0] == 422


async def test_one_idempotency_key_means_two_things_to_two_tenants(house: House) -> None:
    ours, theirs = await asyncio.gather(house.tenant(), house.tenant())
    key, body = {"idempotency-key": "k" * 20}, {"type": "kiosk", "name": "Kiosk"}
    first, second = [
        (await tenant.api.post("/v1/devices", json=body, headers=key)).json()["id"]
        for tenant in (ours, theirs)
    ]
    again = (await ours.api.post("/v1/devices", json=body, headers=key)).json()["id"]
    assert first == again != second


Scope = Callable[[House, TenantId], Any]
Look = Callable[[Connection, Estate], Awaitable[Any]]


def _uuid(of: Estate, name: str) -> UUID:
    found = parse(ID_PREFIXES[name], of.ids[name])
    assert found is not None
    return found


async def _all_of(connection: Connection, of: Estate) -> dict[str, int]:
    """How much every read model shows of a tenant, asked for by that tenant's own id."""
    tenant_id = of.tenant.tenant_id
    one = [
        await users.by_id(connection, tenant_id, UserId(_uuid(of, "user_id"))),
        await transactions.by_id(connection, tenant_id, TransactionId(_uuid(of, "transaction_id"))),
        await enrollments.by_id(connection, tenant_id, PalmRef(_uuid(of, "palm_ref"))),
        await devices.by_id(connection, tenant_id, DeviceId(_uuid(of, "device_id"))),
        await linked_services.by_id(
            connection, tenant_id, LinkedServiceId(_uuid(of, "service_id"))
        ),
    ]
    many: dict[str, Page[Any]] = {
        "users": await users.by_tenant(connection, tenant_id),
        "transactions": await transactions.by_tenant(connection, tenant_id),
        "enrollments": await enrollments.by_tenant(connection, tenant_id),
        "challenges": await palm_challenges.by_tenant(connection, tenant_id),
        "devices": await devices.by_tenant(connection, tenant_id),
        "device_commands": await device_commands.by_device(
            connection, tenant_id, DeviceId(_uuid(of, "device_id"))
        ),
        "linked_services": await linked_services.by_tenant(connection, tenant_id),
        "oauth_clients": await oauth_clients.by_tenant(connection, tenant_id),
        "webhook_endpoints": await webhook_endpoints.by_tenant(connection, tenant_id),
        "webhook_identities": await webhook_identities.by_tenant(connection, tenant_id),
        "operators": await operators.by_tenant(connection, tenant_id),
        "approvals": await approvals.by_tenant(connection, tenant_id),
        "audit": await audit.by_tenant(connection, tenant_id),
    }
    return {name: len(page.rows) for name, page in many.items()} | {
        "by id": sum(row is not None for row in one)
    }


@asynccontextmanager
async def without_a_wall(house: House, _: TenantId) -> AsyncGenerator[Connection]:
    """The planted fault: a connection that row-level security does not bind."""
    async with house.platform.projector_pool.connection() as connection:
        yield connection


@pytest.mark.parametrize("planted", [False, True], ids=["ours", "planted"])
async def test_without_the_applications_filter_the_database_still_shows_nothing_foreign(
    house: House, planted: bool
) -> None:
    """The application's filter is taken out by naming the other tenant inside our own scope.

    More may be shown the second time: what a tenant's first events cause is still being written.
    """
    ours, theirs = await asyncio.gather(estate(house), estate(house))
    reads = house.platform.services.read_models
    end = max(ours.position, theirs.position)
    for model in READ_MODELS:
        assert await reads.wait(theirs.tenant.tenant_id, model.name, end)
    async with reads.scope(theirs.tenant.tenant_id) as connection:
        shown = await _all_of(connection, theirs)
    assert all(shown.values()), "every read model shows something to its own tenant"
    here = ours.tenant.tenant_id
    scope = without_a_wall(house, here) if planted else reads.scope(here)
    async with scope as connection:
        leaked = await _all_of(connection, theirs)
    if planted:
        assert all(leaked[name] >= shown[name] for name in shown)
    else:
        assert set(leaked.values()) == {0}


async def test_a_foreign_stream_loads_as_if_it_were_not_there(house: House) -> None:
    ours, theirs = await asyncio.gather(estate(house), estate(house))
    # Consents and passkeys are facts of their person's stream.
    for name in ID_PREFIXES.keys() - {"consent_id", "passkey_id"}:
        stream = _uuid(theirs, name)
        assert await house.platform.log.load(theirs.tenant.tenant_id, stream)
        assert not await house.platform.log.load(ours.tenant.tenant_id, stream)
