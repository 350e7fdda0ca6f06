"""What nobody should send gets a clear refusal, changes nothing and tells nothing back."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx
import msgspec
import pytest

from interfaces.http import apps
from interfaces.http.apps import SMALL_BODY
from interfaces.http.integrator.devices import NewDevice
from interfaces.http.json_body import BodyRefused, read_json
from tests.house import spoilt
from tests.house.contract import Operation
from tests.house.samples import Stage, bodies, dumped, secrets_of, stage
from tests.house.spoilt import Spoilt
from tests.house.world import House, scan, transaction

pytestmark = pytest.mark.asyncio(loop_scope="session")

JSON_OPERATIONS = sorted(
    str(handler.operation_id)
    for handler in (*apps.PUBLIC, *apps.DEVICE)
    if "data" in handler.fn.__annotations__
)
BODY_MAX = {
    str(handler.operation_id): own
    if isinstance(own := handler.request_max_body_size, int)
    else SMALL_BODY
    for handler in (*apps.PUBLIC, *apps.DEVICE)
}


async def test_every_route_that_reads_json_is_attacked() -> None:
    assert sorted(bodies()) == JSON_OPERATIONS


ALL_OPTIONAL = {
    "activateServerCertificate",
    "renewServerCertificate",
    "rollBackServerCertificate",
    "changeLinkedService",
    "changeOAuthClient",
    "changeTenantSettings",
    "changeUser",
    "changeSettingsOfTenant",
    "changeWebhookEndpoint",
    "suspendTenant",
    "erasePerson",
    "evaluateMatchPolicy",
    "exportPersonalData",
    "makeServerCsr",
    "makeWebhookCsr",
    "replayWebhooks",
    "rotateWebhookSecret",
    "signUpUser",
    "suspendUser",
}
"""An empty object is a good request."""


async def refused(
    stage: Stage, operation: Operation, attack: Spoilt, secrets: list[str]
) -> str | None:
    """Why an attack was not refused as it should be; None when it was."""
    headers = attack.headers
    if operation.method in ("patch", "put"):
        headers = {"if-match": '"1"', **headers}
    answered = await stage.client(operation).request(
        operation.method, stage.path(operation), content=attack.content, headers=headers
    )
    text = answered.text
    if answered.headers["content-type"] != "application/problem+json":
        return f"{attack.name}: {answered.status_code} {text[:200]}"
    told = answered.json()
    if (answered.status_code, told["code"] in attack.codes) != (attack.status, True):
        return f"{attack.name}: {answered.status_code} {text[:200]}"
    echoed = [secret for secret in secrets if secret in text]
    if echoed or len(text) > 1000:
        return f"{attack.name} tells {echoed or len(text)}: {text[:200]}"
    return None


@pytest.mark.parametrize("operation_id", JSON_OPERATIONS)
async def test_a_spoilt_body_is_refused_and_leaves_no_trace(
    house: House, operation_id: str
) -> None:
    at = await stage(house)
    operation, body = house.contract.operation(operation_id), bodies()[operation_id]
    content = operation.described["requestBody"]["content"]["application/json"]
    schemas = house.contract.document["components"]["schemas"]
    before = await at.facts()
    turn = None if os.environ.get("LINK_TEST_THOROUGH") else JSON_OPERATIONS.index(operation_id)
    attacks = list(spoilt.everything(body, content["schema"], schemas, turn))
    assert len(attacks) > 20
    findings = [await refused(at, operation, attack, secrets_of(body)) for attack in attacks]
    assert "\n".join(finding for finding in findings if finding is not None) == ""
    assert await at.facts() == before


@pytest.mark.parametrize("opening", [b"[", b'{"a":'], ids=["lists", "objects"])
async def test_a_hundred_thousand_levels_are_refused_by_every_route(
    house: House, opening: bytes
) -> None:
    at = await stage(house)
    content = b'{"context":' + opening * 100_000
    for operation_id in JSON_OPERATIONS:
        operation = house.contract.operation(operation_id)
        answered = await at.client(operation).request(
            operation.method, at.path(operation), content=content, headers=spoilt.JSON
        )
        fits = len(content) <= BODY_MAX[operation_id]
        told = (answered.status_code, answered.json()["code"])
        assert told == ((400, "invalid_json") if fits else (413, "body_too_large")), operation_id


@pytest.mark.parametrize("operation_id", JSON_OPERATIONS)
async def test_a_body_without_a_required_member_is_refused(house: House, operation_id: str) -> None:
    at = await stage(house)
    operation, body = house.contract.operation(operation_id), bodies()[operation_id]
    schemas = house.contract.document["components"]["schemas"]
    schema = operation.described["requestBody"]["content"]["application/json"]["schema"]
    required = [(name,) for name in spoilt.resolved(schema, schemas).get("required", [])]
    before = await at.facts()
    for path in required:
        attack = Spoilt(f"without {path}", spoilt.without(body, path))
        assert await refused(at, operation, attack, []) is None
    assert required or operation_id in ALL_OPTIONAL
    assert await at.facts() == before


@pytest.mark.parametrize("operation_id", JSON_OPERATIONS)
async def test_an_oversize_body_is_refused_whether_or_not_it_says_so(
    house: House, operation_id: str
) -> None:
    """Chunks that would never end are cut off. Without the limit on what is discarded after an
    answer, each of these took the 30 seconds that any body may take."""
    at = await stage(house)
    operation = house.contract.operation(operation_id)
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield dumped(bodies()[operation_id])[:-1]
        while True:
            sent += 1
            yield b" " * 65_536
            await asyncio.sleep(0)

    before = await at.facts()
    client = at.client(operation)
    declared = await client.request(
        operation.method,
        at.path(operation),
        content=dumped(bodies()[operation_id])[:-1] + b" " * (2 * 1024 * 1024 + 65_536),
        headers=spoilt.JSON,
    )
    assert (declared.status_code, declared.json()["code"]) == (413, "body_too_large")
    with pytest.raises(httpx.NetworkError):  # Closed on it while it was still sending.
        await client.request(
            operation.method, at.path(operation), content=endless(), headers=spoilt.JSON
        )
    assert sent < 1000
    assert await at.facts() == before


async def test_a_body_that_is_announced_as_huge_is_refused_before_it_is_sent(house: House) -> None:
    at = await stage(house)
    token = at.tenant.api.headers["authorization"]
    head = (
        "POST /v1/devices HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"authorization: {token}\r\ncontent-length: 10000000000\r\n\r\n"
    )
    answer = await raw(house.public.port, house.trust(), head.encode())
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"body_too_large"' in answer


async def test_nobody_unknown_has_a_body_read(house: House) -> None:
    """The head alone is enough to be refused: the body never comes."""
    head = (
        "POST /v1/devices HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        "content-length: 1000\r\n\r\n"
    )
    answer = await raw(house.public.port, house.trust(), head.encode())
    assert answer.startswith(b"HTTP/1.1 401 ")


async def raw(port: int, trust: ssl.SSLContext, sent: bytes) -> bytes:
    """The first answer to some bytes, over TLS."""
    reader, writer = await asyncio.open_connection("localhost", port, ssl=trust)
    try:
        writer.write(sent)
        async with asyncio.timeout(30):
            head = await reader.readuntil(b"\r\n\r\n")
            return head + await reader.read(4096)
    finally:
        writer.transport.abort()


DEEP: Any = {"a": {"b": {"c": {"d": {}}}}}
BAD_TRANSACTIONS: list[tuple[dict[str, Any], int, str | None]] = [
    ({"context": {"note": "x" * 4086}}, 400, "context_too_large"),
    ({"context": DEEP}, 400, "context_too_deep"),
    ({"context": {"list": [[[[]]]]}}, 400, "context_too_deep"),
    ({"context": {"n": 2**53}}, 422, "context_not_canonical"),
    ({"context": {"n": 10**400}}, 422, "context_not_canonical"),
    ({"idempotency_key": None}, 400, "idempotency_key_missing"),
    ({"idempotency_key": "short"}, 400, "invalid_request"),
    ({"scan": scan(b"") | {"hand": "unknown"}}, 400, "scan_invalid"),
    ({"scan": scan(b"x") | {"rgb": "not base64!"}}, 400, "scan_invalid"),
    ({"scan": scan(b"x") | {"ir": "YQ"}}, 400, "scan_invalid"),
    ({"scan": scan(b"x") | {"ir": "YQ==\u00e9"}}, 400, "scan_invalid"),
    ({"scan": scan(b"x") | {"rgb": "A" * (2 * 1024 * 1024)}}, 400, "invalid_request"),
    ({"scan": scan(b"x") | {"format": "biowave.rgb_ir.v2"}}, 415, "unsupported_scan_format"),
    ({"scan": scan(b"x") | {"features": {"n": 10**400}}}, 200, None),
    ({"scan": scan(b"x") | {"features": {"n": [1] * 20_000}}}, 400, "invalid_request"),
    ({"deadline_ms": 499}, 400, "invalid_request"),
]


@pytest.mark.parametrize(
    ("fields", "status", "code"), BAD_TRANSACTIONS, ids=lambda value: str(value)[:40]
)
async def test_what_a_transaction_may_not_hold(
    house: House, fields: dict[str, Any], status: int, code: str | None
) -> None:
    at = await stage(house)
    before = await at.facts()
    answered = await at.till.http.post(
        "/v1/device/transactions", json=transaction(b"nobody") | fields
    )
    assert (answered.status_code, answered.json().get("code")) == (status, code), answered.text
    assert (await at.facts() == before) is (status != 200)


async def test_a_context_of_four_kilobytes_and_four_levels_is_taken(house: House) -> None:
    at = await stage(house)
    full: list[dict[str, Any]] = [{"note": "x" * 4085}, {"a": {"b": {"c": {}}}}]
    for context in full:
        answered = await at.till.http.post(
            "/v1/device/transactions", json=transaction(b"nobody", context=context)
        )
        assert answered.status_code == 200, answered.text


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/devices?limit=0", "invalid_request"),
        ("/v1/devices?limit=201", "invalid_request"),
        ("/v1/devices?limit=%2010", "invalid_request"),
        ("/v1/devices?limit=" + "9" * 5000, "invalid_request"),
        ("/v1/devices?min_position=-1", "invalid_request"),
        ("/v1/devices?min_position=99999999999999999999", "invalid_request"),
        ("/v1/devices?status=gone", "invalid_request"),
        ("/v1/devices?status=active&status=revoked", "invalid_request"),
        ("/v1/devices?status=null", "invalid_request"),
        ("/v1/devices?status=%4eull", "invalid_request"),
        ("/v1/devices?" + "&".join(f"x{n}=1" for n in range(40)), "invalid_request"),
        ("/v1/transactions?device_id=null", "invalid_request"),
        ("/v1/devices?cursor=zzz", "cursor_invalid"),
        ("/v1/devices?cursor=%C3%9F", "cursor_invalid"),
        ("/v1/devices?cursor=%ff", "invalid_request"),
        ("/v1/devices?cursor=" + "a" * 65, "invalid_request"),
        ("/v1/devices?cursor=%00", "invalid_request"),
        ("/v1/transactions?device_id=dev_%00", "invalid_request"),
        ("/v1/transactions?user_id=usr_" + "g" * 32, "invalid_request"),
        ("/v1/transactions?outcome=maybe", "invalid_request"),
        ("/v1/audit?subject=" + "a" * 32 + "%0A", "invalid_request"),
        ("/v1/audit?subject=" + "a" * 31, "invalid_request"),
        ("/v1/audit?actor=client:x%0A", "invalid_request"),
        ("/v1/audit?action=x%0A", "invalid_request"),
        ("/v1/audit?correlation_id=x", "invalid_request"),
        ("/v1/audit?correlation_id=" + "%00" * 36, "invalid_request"),
    ],
)
async def test_a_malformed_parameter_is_refused(house: House, path: str, code: str) -> None:
    at = await stage(house)
    answered = await at.tenant.api.get(path)
    assert (answered.status_code, answered.json()["code"]) == (400, code), answered.text


@pytest.mark.parametrize(
    "path",
    [
        "/v1/devices/%00",
        "/v1/devices/%ff%fe",
        "/v1/devices/dev_" + "a" * 32 + "%0A",
        "/v1/devices/dev_" + "A" * 32,
        "/v1/devices/..%2f..%2fetc%2fpasswd",
        "/v1/devices/" + "x" * 10_000,
        "/v1/linked-services/%E2%80%AE",
        "/v1/transactions/txn_%27%20OR%201=1--",
        "/nowhere",
        "/v1/device/transactions",
    ],
)
async def test_a_path_to_nothing_is_not_found(house: House, path: str) -> None:
    at = await stage(house)
    answered = await at.tenant.api.get(path)
    assert answered.status_code == 404, answered.text
    assert answered.headers["content-type"] == "application/problem+json"


async def test_another_method_is_told_which_ones_there_are(house: House) -> None:
    at = await stage(house)
    for method in ("PUT", "PATCH", "TRACE", "PROPFIND"):
        answered = await at.tenant.api.request(method, "/v1/devices")
        assert (answered.status_code, answered.json()["code"]) == (405, "method_not_allowed")
        assert {"GET", "POST"} <= set(answered.headers["allow"].replace(" ", "").split(","))


@pytest.mark.parametrize(
    "keys",
    [["short"], ["x" * 65], ["with space in the key"], ["k" * 20, "k" * 20], ["k" * 20 + "\u00e9"]],
    ids=str,
)
async def test_a_malformed_idempotency_key_is_refused(house: House, keys: list[str]) -> None:
    at = await stage(house)
    before = await at.facts()
    headers = [(b"idempotency-key", key.encode("latin-1")) for key in keys]
    given = [*headers, (b"content-type", b"application/json")]
    body = dumped({"type": "kiosk", "name": "Kiosk"})
    answered = await at.tenant.api.post("/v1/devices", content=body, headers=given)
    assert (answered.status_code, answered.json()["code"]) in {
        (400, "idempotency_key_invalid"),
        (400, "invalid_request"),
    }, answered.text
    assert await at.facts() == before


@pytest.mark.parametrize(
    ("if_match", "status", "code"),
    [
        (None, 428, "if_match_required"),
        ('"0"', 412, "version_mismatch"),
        ('"9"', 412, "version_mismatch"),
        ('W/"1"', 412, "version_mismatch"),
        ("1", 412, "version_mismatch"),
        ('"1", "2"', 412, "version_mismatch"),
        ('"' + "9" * 40 + '"', 400, "invalid_request"),
    ],
)
async def test_a_change_of_what_was_not_seen_is_refused(
    house: House, if_match: str | None, status: int, code: str
) -> None:
    at = await stage(house)
    before = await at.facts()
    headers = {} if if_match is None else {"if-match": if_match}
    answered = await at.tenant.api.patch(
        f"/v1/linked-services/{at.tenant.service_id}", json={"timeout_ms": 700}, headers=headers
    )
    assert (answered.status_code, answered.json()["code"]) == (status, code)
    assert await at.facts() == before


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://wallet.example", "url_forbidden"),
        ("ftp://wallet.example", "url_scheme_forbidden"),
        ("https://user@wallet.example", "url_invalid"),
        ("https://169.254.169.254", "url_forbidden"),
        ("https://10.0.0.1", "url_forbidden"),
        ("https://0x7f000001", "url_forbidden"),
        ("https://[::ffff:10.0.0.1]", "url_forbidden"),
        ("https://" + "a" * 64 + ".example", "url_invalid"),
        ("https://wallet.example/a/../b", "url_invalid"),
        ("https://wallet.example:99999", "url_invalid"),
        ("https://wallet\u3002example", "url_invalid"),
    ],
)
async def test_a_product_at_an_address_we_do_not_call_is_refused(
    house: House, url: str, code: str
) -> None:
    at = await stage(house)
    body = {"product_key": "other", "base_url": url}
    answered = await at.tenant.api.post("/v1/linked-services", json=body)
    assert answered.status_code == 422, answered.text
    assert answered.json()["code"] in {code, "url_invalid"}


@pytest.mark.parametrize("name", ["\u202eevil", "\u200b", "   ", "a\u2028b"])
async def test_a_device_with_a_name_that_misleads_readers_is_refused(
    house: House, name: str
) -> None:
    at = await stage(house)
    for fields in ({"name": name}, {"name": "Kiosk", "serial": name}):
        answered = await at.tenant.api.post("/v1/devices", json={"type": "kiosk", **fields})
        assert answered.status_code in (400, 422), answered.text


async def test_the_attacks_tell_a_strict_reader_from_one_that_only_knows_the_shape() -> None:
    """The planted fault is the reader without its strict pass; some attacks get by it."""
    body = bodies()["registerDevice"]
    attacks = [*spoilt.of_no_shape(body), *spoilt.of_doubtful_text(body)]
    passed: set[tuple[str, ...]] = set()
    for attack in attacks:
        with pytest.raises(BodyRefused):
            read_json(attack.content, NewDevice)
        with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            msgspec.json.decode(attack.content, type=NewDevice)
            passed.add(attack.codes)
    assert passed == {("duplicate_member",), ("invalid_request",)}
