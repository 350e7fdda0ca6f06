"""The vendor's answers become candidates, refusals or failures, and never a wrong "no match"."""

import asyncio
import json
import math
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from application.ports import (
    PalmQueryForbidden,
    PalmRejected,
    PalmVendorFailed,
    PalmVerifier,
    Scan,
)
from domain.ids import PalmRef
from domain.matching import MatchPolicy, judge
from examples.palm_server.server import PalmServer, Receive, Scope, Send
from examples.palm_server.serving import serving
from examples.synthetic_palms import Capture, Palm, capture, no_hand
from infrastructure.clock import SystemClock
from infrastructure.outbound.client import Answer, OutboundClient, OutboundFailed
from infrastructure.outbound.egress import EgressGuard, SystemResolver
from infrastructure.outbound.http_exchange import FailureKind
from infrastructure.palm_xtelcom import ANSWER_BYTES_MAX, HttpCalls, XTelcomPalmVerifier

ACME = "acme-3fd1"
REF = PalmRef(UUID("0198c7a0-9e6c-7b1f-8d3e-2a4b5c6d7e8f"))
THRESHOLDS = [0.5, 0.5, 0.5, 0.5]


def scan_of(seen: Capture, palm: Palm) -> Scan:
    return Scan(format="biowave.rgb_ir.v1", rgb=seen.rgb, ir=seen.ir, hand=palm.hand, sha256="0")


def scan(palm: Palm, seed: int) -> Scan:
    return scan_of(capture(palm, np.random.default_rng([palm.person, seed])), palm)


SCAN = Scan(format="biowave.rgb_ir.v1", rgb=b"rgb\xff", ir=b"ir\x00", hand="left", sha256="0")


class Scripted:
    """A vendor that says one thing, and remembers what it was asked."""

    def __init__(self, answer: Answer | OutboundFailed) -> None:
        self._answer = answer
        self.asked: list[tuple[str, str, Mapping[str, str], bytes, float, int]] = []

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        deadline_s: float,
        max_bytes: int,
    ) -> Answer:
        self.asked.append((method, url, headers, body, deadline_s, max_bytes))
        if isinstance(self._answer, OutboundFailed):
            raise self._answer
        return self._answer


def verifier(calls: HttpCalls, base_url: str = "http://palm.test") -> XTelcomPalmVerifier:
    return XTelcomPalmVerifier(base_url, calls, SystemClock())


def saying(body: object, status: int = 200) -> Scripted:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Scripted(Answer(status=status, headers={}, body=content))


def found(*results: object, thresholds: object = THRESHOLDS) -> dict[str, object]:
    return {"code": 0, "msg": "ok", "data": {"results": results, "thresholds": thresholds}}


def result(user_id: str, *scores: float) -> dict[str, object]:
    return {"user_id": user_id, "hand": "left", "scores": scores or (0.9, 0.9, 0.9, 0.9)}


OWN = f"{ACME}.{REF.hex}"


async def identify(calls: HttpCalls) -> Any:
    return await verifier(calls).identify(ACME, SCAN, k=5, deadline_s=1.5)


async def failure(calls: HttpCalls) -> PalmVendorFailed:
    with pytest.raises(PalmVendorFailed) as raised:
        await identify(calls)
    return raised.value


async def test_a_query_is_asked_in_the_vendors_words() -> None:
    calls = saying(found())
    palms: PalmVerifier = XTelcomPalmVerifier(
        "http://palm.test/", calls, SystemClock(), credentials={"x-api-key": "k"}
    )
    await palms.identify(ACME, SCAN, k=3, deadline_s=1.5)
    [(method, url, headers, body, deadline_s, max_bytes)] = calls.asked
    assert (method, url) == ("POST", "http://palm.test/KZ/query")
    assert (deadline_s, max_bytes) == (1.5, ANSWER_BYTES_MAX)
    assert headers == {"content-type": "application/json", "x-api-key": "k"}
    assert json.loads(body) == {
        "group": ACME, "hand": "left", "rgb": "cmdi/w==", "ir": "aXIA", "top_k": 3,
    }  # fmt: skip


async def test_candidates_come_best_first_and_foreign_ones_not_at_all() -> None:
    """A tenant key that begins like ours, and an id of no form that we know, are foreign too."""
    second = uuid4()
    calls = saying(
        found(
            result(f"globex.{uuid4().hex}"),
            result(f"{ACME}.{second.hex}", 0.6, 0.7, 0.6, 0.7),
            result(f"{ACME}2.{uuid4().hex}"),
            result("somebody else's"),
            result(OWN, 0.9, 0.8, 0.9, 1),
        )
    )
    candidates = await identify(calls)
    assert [each.palm_ref for each in candidates.found] == [REF, second]
    assert candidates.found[0].scores == (0.9, 0.8, 0.9, 1.0)
    assert candidates.thresholds == (0.5, 0.5, 0.5, 0.5)


async def test_nobody_found_is_an_answer() -> None:
    assert (await identify(saying(found()))).found == []


async def test_code_30008_is_a_forbidden_query() -> None:
    with pytest.raises(PalmQueryForbidden):
        await identify(saying({"code": 30008, "msg": "query type forbidden"}))


@pytest.mark.parametrize(("code", "fault"), [(50000, "internal_error"), (7, "other_code")])
async def test_the_vendors_code_is_kept_and_its_words_are_not(code: int, fault: str) -> None:
    error = await failure(saying({"code": code, "msg": "no palm of +966512345678"}))
    assert (error.reason, error.vendor_code) == ("palm_vendor_error", code)
    assert error.vendor_message == fault
    assert "966" not in str(error)


@pytest.mark.parametrize("data", [{"hints": ["blur", "<b>"]}, {"hints": ["blur"], "score": 1}])
async def test_a_poor_picture_is_rejected_with_the_hints_that_we_know(
    data: dict[str, Any],
) -> None:
    calls = saying({"code": 40010, "msg": "low quality", "data": data})
    with pytest.raises(PalmRejected) as rejected:
        await verifier(calls).enroll(ACME, REF, SCAN, deadline_s=1)
    assert rejected.value.hints == ("blur",)


async def test_a_poor_picture_without_hints_is_rejected_too() -> None:
    with pytest.raises(PalmRejected) as rejected:
        await verifier(saying({"code": 40010})).enroll(ACME, REF, SCAN, deadline_s=1)
    assert rejected.value.hints == ()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>",
        b"\xff",
        b"null",
        b"[]",
        b"[" * 60_000,
        b'{"code":0,"data":' + b"[" * 60_000,
        {},
        {"code": "0", "data": found()["data"]},
        {"code": True, "data": found()["data"]},
        {"code": 2**70},
        {"code": 0},
        {"code": 0, "data": None},
        {"code": 0, "data": {"results": []}},
        {"code": 0, "data": {"thresholds": THRESHOLDS}},
        found(thresholds=[0.5] * 3),
        found(thresholds=[0.5] * 5),
        found(thresholds=[0.5, 0.5, 0.5, 0]),
        found(thresholds=[0.5, 0.5, 0.5, math.nan]),
        found(result(OWN, 0.9, 0.9, 0.9)),
        found(result(OWN, 0.9, 0.9, 0.9, 0.9, 0.9)),
        found(result(OWN, 0.9, 0.9, 0.9, math.nan)),
        found(result(OWN, 0.9, 0.9, 0.9, math.inf)),
        found(result(OWN, 0.9, 0.9, 0.9, 1.01)),
        found(result(OWN, 0.9, 0.9, 0.9, -0.01)),
        found({"user_id": OWN, "scores": ["0.9"] * 4}),
        found({"user_id": OWN, "scores": [True] * 4}),
        found({"user_id": 7, "scores": [0.9] * 4}),
        found({"scores": [0.9] * 4}),
        found({**result(OWN), "hand": "foot"}),
        found(result(OWN), result(OWN)),
        found(result(f"{ACME}.{REF.hex.upper()}")),
        found(result(f"{ACME}.{REF}")),
        found(result(f"{ACME}.{REF.hex}\n")),
        found(result(f"{ACME}.")),
        found(result(ACME)),
        found(*(result(f"{ACME}.{uuid4().hex}") for _ in range(65))),
        found(result("globex.x", 0.9, 0.9, 0.9, math.nan), result(OWN)),
        {"code": 40010, "msg": "low quality"},
        b'{"code":50000,"msg":"","code":0,"data":{"results":[],"thresholds":[1,1,1,1]}}',
        {"code": 1, "msg": "ok", "data": found()["data"]},
    ],
    ids=lambda answer: str(answer)[:60],
)
async def test_an_answer_that_is_not_exactly_one_is_the_vendors_failure(answer: object) -> None:
    assert (await failure(saying(answer))).reason == "palm_vendor_error"


@pytest.mark.parametrize("status", [201, 204, 302, 400, 401, 404, 500, 503])
async def test_only_status_200_is_believed(status: int) -> None:
    error = await failure(saying(found(result(OWN)), status))
    assert error.vendor_message == "http_status"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("timeout", "palm_vendor_timeout"),
        ("connect", "palm_vendor_error"),
        ("blocked", "palm_vendor_error"),
        ("protocol", "palm_vendor_error"),
        ("too_large", "palm_vendor_error"),
    ],
)
async def test_a_call_that_failed_is_a_time_out_or_an_error(kind: FailureKind, reason: str) -> None:
    assert (await failure(Scripted(OutboundFailed(kind, True, "x")))).reason == reason


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=5)
            | st.dictionaries(
                st.sampled_from(
                    ["code", "msg", "data", "results", "thresholds", "scores", "user_id"]
                ),
                inner,
                max_size=5,
            )
        ),
        max_leaves=20,
    )
)
async def test_no_json_makes_it_do_anything_undeclared(answer: object) -> None:
    try:
        candidates = await identify(saying(answer))
    except (PalmVendorFailed, PalmQueryForbidden):
        return
    assert all(0 <= score <= 1 for each in candidates.found for score in each.scores)


async def test_an_enrolment_with_garbled_hints_failed() -> None:
    calls = saying({"code": 40010, "data": {"hints": "blur"}})
    with pytest.raises(PalmVendorFailed):
        await verifier(calls).enroll(ACME, REF, SCAN, deadline_s=1)


@pytest.mark.parametrize("palm_id", ["", "a b", "x" * 129, "a\n", None, 7])
async def test_an_enrolment_without_a_proper_palm_id_failed(palm_id: object) -> None:
    calls = saying({"code": 0, "data": {"palm_id": palm_id}})
    with pytest.raises(PalmVendorFailed):
        await verifier(calls).enroll(ACME, REF, SCAN, deadline_s=1)


@pytest.mark.parametrize("key", ["", "a.b", "a b", "x" * 65, "acme\n"])
async def test_a_tenant_key_that_could_be_read_as_another_is_refused(key: str) -> None:
    calls = saying(found())
    with pytest.raises(ValueError, match="tenant key"):
        await verifier(calls).identify(key, SCAN, k=5, deadline_s=1)
    assert calls.asked == []


@pytest.mark.parametrize(("status", "outcome"), [(404, "not_supported"), (405, "not_supported")])
async def test_a_vendor_that_cannot_delete_says_so(status: int, outcome: str) -> None:
    calls = saying(b"", status)
    assert await verifier(calls).delete(ACME, REF, deadline_s=1) == outcome


@pytest.mark.parametrize(
    ("data", "outcome"),
    [
        (None, "deleted"),
        ({}, "deleted"),
        ({"deleted": True}, "deleted"),
        ({"deleted": False}, "absent"),
    ],
)
async def test_a_vendor_says_whether_there_was_a_template(data: object, outcome: str) -> None:
    calls = saying({"code": 0, "msg": "ok", "data": data})
    assert await verifier(calls).delete(ACME, REF, deadline_s=1) == outcome


async def test_a_deletion_answered_in_another_shape_failed() -> None:
    with pytest.raises(PalmVendorFailed):
        await verifier(saying({"code": 0, "data": {"deleted": 1}})).delete(ACME, REF, deadline_s=1)


async def test_a_deletion_that_failed_is_not_reported_as_done() -> None:
    with pytest.raises(PalmVendorFailed):
        await verifier(saying({"code": 50000})).delete(ACME, REF, deadline_s=1)


@pytest.mark.parametrize(
    ("calls", "reason"),
    [
        (saying({"code": 0, "msg": "ok"}), ""),
        (saying({"code": 50000, "msg": "Milvus error"}), "internal_error"),
        (saying(b"", 503), "http_status"),
        (Scripted(OutboundFailed("timeout", True, "x")), "palm_vendor_timeout"),
    ],
)
async def test_a_probe_says_whether_and_why_not(calls: Scripted, reason: str) -> None:
    health = await verifier(calls).probe(deadline_s=1)
    assert (health.healthy, health.reason) == (not reason, reason)
    assert health.latency_s >= 0


# Over real connections


@pytest.fixture
async def client() -> AsyncGenerator[OutboundClient]:
    opened = OutboundClient(EgressGuard([], True, SystemResolver()))
    yield opened
    await opened.close()


async def test_the_palm_server_knows_again_whom_it_enrolled(
    client: OutboundClient, tmp_path: Path
) -> None:
    one, other, stranger = Palm(1, "left"), Palm(2, "left"), Palm(3, "left")
    refs = {one: PalmRef(uuid4()), other: PalmRef(uuid4())}
    async with serving(PalmServer(tmp_path)) as url:
        palms = verifier(client, url)
        assert (await palms.probe(deadline_s=5)).healthy
        for palm, ref in refs.items():
            first = await palms.enroll(ACME, ref, scan(palm, 0), deadline_s=5)
            again = await palms.enroll(ACME, ref, scan(palm, 0), deadline_s=5)
            assert first == again
        for palm, ref in refs.items():
            seen = await palms.identify(ACME, scan(palm, 1), k=5, deadline_s=5)
            judged = judge(MatchPolicy(), seen.found, seen.thresholds)
            assert (judged.verdict, judged.best and judged.best.palm_ref) == ("match", ref)
        nobody = await palms.identify(ACME, scan(stranger, 1), k=5, deadline_s=5)
        assert judge(MatchPolicy(), nobody.found, nobody.thresholds).verdict == "no_candidate"
        elsewhere = await palms.identify("globex", scan(one, 1), k=5, deadline_s=5)
        assert elsewhere.found == []
        assert await palms.delete(ACME, refs[one], deadline_s=5) == "deleted"
        gone = await palms.identify(ACME, scan(one, 1), k=5, deadline_s=5)
        assert gone.found == []
    assert not (await palms.probe(deadline_s=5)).healthy


async def test_one_palm_under_two_references_is_ambiguous(
    client: OutboundClient, tmp_path: Path
) -> None:
    async with serving(PalmServer(tmp_path)) as url:
        palms = verifier(client, url)
        for _ in range(2):
            await palms.enroll(ACME, PalmRef(uuid4()), scan(Palm(1, "left"), 0), deadline_s=5)
        seen = await palms.identify(ACME, scan(Palm(1, "left"), 1), k=5, deadline_s=5)
    assert judge(MatchPolicy(), seen.found, seen.thresholds).verdict == "ambiguous"


async def test_the_palm_servers_refusals_are_understood(
    client: OutboundClient, tmp_path: Path
) -> None:
    nothing = scan_of(no_hand(np.random.default_rng(1)), Palm(1, "right"))
    app = PalmServer(tmp_path, forbidden_hands=frozenset({"left"}))
    async with serving(app) as url:
        palms = verifier(client, url)
        with pytest.raises(PalmQueryForbidden):
            await palms.identify(ACME, scan(Palm(1, "left"), 1), k=5, deadline_s=5)
        with pytest.raises(PalmRejected) as rejected:
            await palms.enroll(ACME, REF, nothing, deadline_s=5)
        unseen = await palms.identify(ACME, nothing, k=5, deadline_s=5)
        assert (unseen.found, len(unseen.thresholds)) == ([], 4)
        with pytest.raises(PalmVendorFailed):
            await palms.enroll(ACME, REF, SCAN, deadline_s=5)
    assert rejected.value.hints == ("coverage",)


async def test_a_vendor_that_hangs_is_a_time_out(client: OutboundClient) -> None:
    closing = asyncio.Event()

    async def hang(scope: Scope, receive: Receive, send: Send) -> None:
        await closing.wait()

    async with serving(hang) as url:
        with pytest.raises(PalmVendorFailed) as raised:
            await verifier(client, url).identify(ACME, SCAN, k=5, deadline_s=0.1)
        closing.set()
    assert raised.value.reason == "palm_vendor_timeout"


async def test_an_answer_without_end_is_cut_off(client: OutboundClient) -> None:
    async def babble(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        body = b" " * (2 * ANSWER_BYTES_MAX)
        await send({"type": "http.response.body", "body": body})

    async with serving(babble) as url:
        with pytest.raises(PalmVendorFailed) as raised:
            await verifier(client, url).identify(ACME, SCAN, k=5, deadline_s=5)
    assert (raised.value.reason, raised.value.vendor_message) == ("palm_vendor_error", "too_large")


async def test_a_vendor_that_is_not_there_is_an_error(
    client: OutboundClient, tmp_path: Path
) -> None:
    async with serving(PalmServer(tmp_path)) as url:
        pass
    with pytest.raises(PalmVendorFailed) as raised:
        await verifier(client, url).identify(ACME, SCAN, k=5, deadline_s=5)
    assert (raised.value.reason, raised.value.vendor_message) == ("palm_vendor_error", "connect")
