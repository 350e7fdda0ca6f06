"""The OpenAPI document is whole, and the house does what it says, under generated requests."""

import asyncio
import copy
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis import checks as general_checks
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi import checks as openapi_checks

from domain.ids import parse, wire
from tests.house.contract import PROBLEM, Contract, Operation, Undocumented
from tests.house.samples import Stage, bodies, stage
from tests.house.world import House, scan

pytestmark = pytest.mark.asyncio(loop_scope="session")

EXAMPLES = int(os.environ.get("LINK_TEST_EXAMPLES", "6"))
"""Per operation, once with data that the document allows and once with data that it does not."""

_general, _openapi = cast("Any", general_checks), cast("Any", openapi_checks)
CHECKS = [
    _general.not_a_server_error,
    _openapi.status_code_conformance,
    _openapi.content_type_conformance,
    _openapi.response_headers_conformance,
    _openapi.response_schema_conformance,
]
NEGATIVE_CHECKS = [*CHECKS, _openapi.negative_data_rejection]


async def test_the_document_is_served_and_is_what_the_tests_hold_answers_against(
    house: House,
) -> None:
    public = await house.client(house.public_url)
    served = (await public.get("/openapi.json")).json()
    assert served == house.contract.document
    assert served["openapi"] == "3.1.0"


async def test_every_operation_is_described(house: House) -> None:
    seen: list[str] = []
    for operation in house.contract.operations:
        described = operation.described
        seen.append(operation.id)
        assert described["summary"], operation.id
        assert described["tags"], operation.id
        assert isinstance(described["security"], list), operation.id
        assert any(status.startswith("2") for status in described["responses"]), operation.id
        if operation.takes_json:
            statuses = {"400", "413", "415"}
            assert statuses <= described["responses"].keys(), operation.id
            assert described["requestBody"]["required"] is True
        for parameter in described.get("parameters", []):
            assert "null" not in str(parameter["schema"].get("type"))
            if parameter["in"] == "path":
                assert parameter["schema"]["pattern"].startswith("^")
                assert parameter["required"] is True
    assert len(seen) == len(set(seen))


async def test_every_refusal_names_its_codes_and_no_code_stands_under_two_statuses(
    house: House,
) -> None:
    statuses: dict[str, set[str]] = {}
    for operation in house.contract.operations:
        for status, answer in operation.described["responses"].items():
            if PROBLEM in answer.get("content", {}):
                codes = operation.codes(int(status))
                assert codes, (operation.id, status)
                for code in codes:
                    assert f"`{code}`" in answer["description"]
                    statuses.setdefault(code, set()).add(status)
    assert len(statuses) > 50
    two_fold = {code: found for code, found in statuses.items() if len(found) > 1}
    # Named in a path it is not found; named in a body it makes no sense.
    assert two_fold == {"linked_service_not_found": {"404", "422"}}


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        members = cast("dict[str, Any]", node)
        if "$ref" in members:
            yield str(members["$ref"])
        for value in members.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in cast("Sequence[Any]", node):
            yield from references(value)


async def test_every_reference_leads_somewhere_and_every_schema_is_used(house: House) -> None:
    document = house.contract.document
    referred = {ref.rpartition("/")[2] for ref in references(document)}
    assert referred == set(document["components"]["schemas"])
    schemes = set(document["components"]["securitySchemes"])
    used = {
        name
        for operation in house.contract.operations
        for choice in operation.described["security"]
        for name in choice
    }
    assert used == schemes


async def test_what_reads_strictly_says_so(house: House) -> None:
    schemas = house.contract.document["components"]["schemas"]
    for operation_id in bodies():
        content = house.contract.operation(operation_id).described["requestBody"]["content"]
        name = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
        assert schemas[name]["additionalProperties"] is False, name


class Session:
    """Calls both listeners as who may: a backend with all scopes, or a till."""

    def __init__(
        self, at: Stage, ca: Path, certificate: tuple[Path, Path], ids: dict[str, str]
    ) -> None:
        self.ids = ids
        self.product_url = at.house.product_url
        self._urls = (at.house.public_url, at.house.device_url)
        self._sessions = (requests.Session(), requests.Session())
        self._sessions[0].headers["authorization"] = at.tenant.api.headers["authorization"]
        person = requests.Session()
        person.headers["authorization"] = at.person.headers["authorization"]
        self._person = person
        operator = requests.Session()
        operator.headers["authorization"] = at.operator.headers["authorization"]
        self._operator = operator
        self._verify = str(ca)
        self._certificates = (None, tuple(str(file) for file in certificate))

    def call(self, case: Any, described: Operation) -> Any:
        on_device = described.on_device
        people = {described.by_user: self._person, described.by_operator: self._operator}
        return case.call(
            base_url=self._urls[on_device],
            session=people.get(True, self._sessions[on_device]),
            verify=self._verify,
            cert=self._certificates[on_device],
            timeout=10,
        )

    def close(self) -> None:
        for session in (*self._sessions, self._person, self._operator):
            session.close()


def patient(case: Any) -> None:
    """A position that the log will not reach for ages is answered only after a long wait, and a
    stream ends when it was asked to."""
    if case.path == "/v1/audit/stream":
        query: dict[str, Any] = case.query or {}
        wait = query.get("wait", 0)
        if isinstance(wait, int) and 0 <= wait <= 300:
            case.query = {**query, "wait": 0}
    if case.query and isinstance(case.query.get("min_position"), int):
        case.query["min_position"] = min(case.query["min_position"], 1)


def steered(case: Any, session: Session) -> None:
    """Let a request get further in: real ids, a palm that is one, a product that is there."""
    parameters: dict[str, Any] = case.path_parameters or {}
    parameters.update({name: session.ids[name] for name in parameters})
    body = cast("dict[str, Any]", case.body) if isinstance(case.body, dict) else {}
    if case.query:
        case.query.pop("as_of", None)  # Most moments that are drawn have not come yet.
    if "scan" in body:
        body["scan"] = scan(b"nobody")
    if "base_url" in body:
        body["base_url"] = session.product_url


Heard = Callable[[str, int], None]


def nobody_listens(operation_id: str, status: int) -> None:
    del operation_id, status


def attack(document: dict[str, Any], session: Session, heard: Heard, *only: str) -> None:
    """Generated requests to every operation, or `only` some; raises what a check finds."""
    contract = Contract(document)
    refusals = {"negative_data_rejection": {"expected-statuses": ["4xx"]}}
    config = schemathesis.Config.from_dict({"checks": refusals})
    schema = cast("Any", schemathesis.openapi.from_dict(document, config=config))
    for found in schema.get_all_operations():
        operation = found.ok()
        described = contract.operation(operation.definition.raw["operationId"])
        if only and described.id not in only:
            continue
        generate(operation, described, GenerationMode.POSITIVE, session, heard)
        if described.described.keys() & {"parameters", "requestBody"}:
            generate(operation, described, GenerationMode.NEGATIVE, session, heard)


def generate(
    operation: Any, described: Operation, mode: GenerationMode, session: Session, heard: Heard
) -> None:
    negative = mode is GenerationMode.NEGATIVE

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(case=operation.as_strategy(generation_mode=mode), further=st.booleans())
    def one(case: Any, further: bool) -> None:
        patient(case)
        if further and not negative:
            steered(case, session)
        response = session.call(case, described)
        heard(described.id, response.status_code)
        case.validate_response(response, checks=NEGATIVE_CHECKS if negative else CHECKS)

    one()


async def session_of(at: Stage, folder: Path) -> Session:
    house, api = at.house, at.tenant.api
    state = await house.platform.services.devices.get(
        at.tenant.tenant_id, parse("dev", at.till.id) or at.tenant.tenant_id
    )
    assert state.certificate is not None
    pem = state.certificate.certificate_pem + house.platform.authority.device_ca_pem()
    files = (folder / "till.pem", folder / "till.key")
    files[0].write_text(pem)
    files[1].write_bytes(at.till.key_pem)
    spare = {"product_key": "spare", "base_url": house.product_url}
    ids = {
        "service_id": (await api.post("/v1/linked-services", json=spare)).json()["id"],
        "device_id": (await api.post("/v1/devices", json=bodies()["registerDevice"])).json()["id"],
        "user_id": await house.person(at.till, house.mobile(), b"somebody"),
    }
    told = {"url": house.public_url + "/x", "event_types": ["device.revoked"]}
    ids["endpoint_id"] = (await api.post("/v1/webhook-endpoints", json=told)).json()["id"]
    client = {"name": "backend", "scopes": ["devices:read"]}
    ids["client_id"] = (await api.post("/v1/oauth-clients", json=client)).json()["id"]
    enrollments = await api.get("/v1/enrollments", params={"min_position": await house.end()})
    listed = await api.get("/v1/transactions")
    shown = {"scan": scan(b"somebody")}
    for name, path in (("verification", "verifications"), ("identification", "identifications")):
        body = shown if name == "identification" else {**shown, "user_id": ids["user_id"]}
        ids[f"{name}_id"] = (await api.post(f"/v1/{path}", json=body)).json()["id"]
    ids["operator_id"] = (await at.operator.get("/v1/console/me")).json()["id"]
    ids["console_session_id"] = f"ocs_{'0' * 32}"
    ids["passkey_id"] = f"pky_{'0' * 32}"
    wanted = {"operation": "user.erase", "subject": ids["user_id"]}
    ids["approval_id"] = (await api.post("/v1/approvals", json=wanted)).json()["id"]
    ids["session_id"] = f"uss_{'0' * 32}"
    ids["tile_path"] = "entries/000.p/1"
    ids["provider"] = "google"
    ids["challenge_id"] = f"pch_{'0' * 32}"
    ids["consent_id"] = f"cst_{'0' * 32}"
    ids["tenant_id"] = wire("ten", at.tenant.tenant_id)
    ids["batch"] = "spring-rollout"
    ids["palm_ref"] = enrollments.json()["items"][0]["palm_ref"]
    ids["idempotency_key"] = "till-4-00000000001"
    ids["transaction_id"] = (listed.json()["items"] or [{"id": "txn_" + "0" * 32}])[0]["id"]
    ca = house.platform.settings.data_dir / "pki" / "server-ca.pem"
    return Session(at, ca, files, ids)


async def test_generated_requests_get_only_what_the_document_says(
    house: House, tmp_path: Path
) -> None:
    at = await stage(house)
    house.limiter.unlimited |= {"pairing.address", "signup.device", "signup.mobile"}
    house.limiter.unlimited |= {"sign_in.address", "sign_in.installation"}
    session = await session_of(at, tmp_path)
    answers: Counter[tuple[str, int]] = Counter()

    def heard(operation_id: str, status: int) -> None:
        answers[operation_id, status] += 1

    try:
        await asyncio.to_thread(attack, house.contract.document, session, heard)
    finally:
        session.close()
    everything = {operation.id for operation in house.contract.operations}
    assert {operation_id for operation_id, _ in answers} == everything
    assert sum(answers.values()) > len(everything) * EXAMPLES
    assert {status for _, status in answers} >= {200, 201, 400, 404, 412, 422}


def without_its_404(answers: dict[str, Any]) -> None:
    del answers["404"]


def with_another_code(answers: dict[str, Any]) -> None:
    answers["404"]["content"][PROBLEM]["schema"]["allOf"][1]["properties"]["code"]["enum"] = ["x"]


def with_another_shape(answers: dict[str, Any]) -> None:
    answers["200"]["content"]["application/json"]["schema"] = {"type": "array"}


@pytest.mark.parametrize("plant", [without_its_404, with_another_code, with_another_shape])
async def test_a_document_that_is_wrong_is_found_out(
    house: House, tmp_path: Path, plant: Callable[[dict[str, Any]], None]
) -> None:
    """The planted fault is in the document; the house stays as it is."""
    at = await stage(house)
    session = await session_of(at, tmp_path)
    document = copy.deepcopy(house.contract.document)
    plant(document["paths"]["/v1/devices/{device_id}"]["get"]["responses"])
    try:
        with pytest.raises((FailureGroup, Failure)):
            await asyncio.to_thread(attack, document, session, nobody_listens, "getDevice")
    finally:
        session.close()


async def test_every_answer_in_these_tests_is_held_against_the_document(house: House) -> None:
    at = await stage(house)
    document = copy.deepcopy(house.contract.document)
    without_its_404(document["paths"]["/v1/devices/{device_id}"]["get"]["responses"])
    answered = await at.tenant.api.get("/v1/devices/dev_0")
    house.contract.check(answered)
    with pytest.raises(Undocumented, match="404 device_not_found"):
        Contract(document).check(answered)
