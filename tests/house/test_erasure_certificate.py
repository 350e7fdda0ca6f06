"""An auditor holds the certificate of an erasure against an export, and every lie in it shows."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from domain.catalogue import EVENTS, UPCASTERS
from domain.ids import TenantId, wire
from domain.transparency.note import read_vkey
from infrastructure.event_log.mapper import EventMapper
from infrastructure.log_export.directory import ExportDirectory, NotAnExport
from infrastructure.log_export.erasure_certificate import CertificateVerdict, check_certificate
from infrastructure.log_export.export import export
from infrastructure.log_export.proving import CannotProve
from infrastructure.log_export.verification import Trust
from tests.house.world import House

pytestmark = pytest.mark.asyncio(loop_scope="session")

Certificate = dict[str, Any]


class Stage(msgspec.Struct):
    """An export with two erasures in it, their certificates, and the log's key."""

    export: Path
    trust: Trust
    certificate: Certificate
    other: Certificate

    def judge(self, certificate: Any) -> CertificateVerdict:
        text = certificate if isinstance(certificate, bytes) else json.dumps(certificate).encode()
        return check_certificate(
            ExportDirectory(self.export), self.trust, EventMapper(EVENTS, UPCASTERS), text
        )


async def trust_in(house: House, tenant_id: TenantId) -> Trust:
    anybody = await house.client(house.public_url)
    where = {"tenant_id": wire("ten", tenant_id)}
    told = await anybody.get("/.well-known/transparency-log.json", params=where)
    return Trust(log_key=read_vkey(told.json()["log"]["vkey"]))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(shared_house: House, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    house = shared_house
    house.reset()
    tenant = await house.tenant("Leaving")
    till = await house.device(tenant)
    certificates: list[Certificate] = []
    for palm in (b"somebody who is gone", b"somebody else who is gone"):
        user_id = await house.person(till, house.mobile(), palm)
        path = f"/v1/users/{user_id}/dsr/erasure"
        erased = await tenant.api.post(path, json={})
        assert erased.json()["status"] == "completed", erased.text
        certificates.append((await tenant.api.get(f"{path}/certificate")).json())
    root = tmp_path_factory.mktemp("export")
    await export(house.platform.transparency.logs, tenant.tenant_id, root)
    return Stage(root, await trust_in(house, tenant.tenant_id), *certificates)


async def test_a_true_certificate_holds(stage: Stage) -> None:
    for certificate in (stage.certificate, stage.other):
        verdict = stage.judge(certificate)
        assert verdict.ok, verdict
        assert (verdict.user_id, verdict.steps) == (certificate["user_id"], 5)


def another_person(told: Certificate, other: Certificate) -> None:
    told["user_id"] = other["user_id"]


def nobody(told: Certificate, _other: Certificate) -> None:
    told["user_id"] = "usr_1"


def no_steps(told: Certificate, _other: Certificate) -> None:
    told["steps"] = []


def not_ended(told: Certificate, _other: Certificate) -> None:
    del told["steps"][-1]


def keys_kept(told: Certificate, _other: Certificate) -> None:
    del told["steps"][2]


def begun_by_nobody(told: Certificate, _other: Certificate) -> None:
    del told["steps"][0]


def out_of_order(told: Certificate, _other: Certificate) -> None:
    told["steps"][1:3] = told["steps"][2:0:-1]


def proofs_swapped(told: Certificate, _other: Certificate) -> None:
    first, second = told["steps"][:2]
    first["proof"], second["proof"] = second["proof"], first["proof"]


def proof_cut(told: Certificate, _other: Certificate) -> None:
    told["steps"][0]["proof"] = told["steps"][0]["proof"][:-20]


def said_to_be_earlier(told: Certificate, _other: Certificate) -> None:
    told["steps"][0]["at"] = "2020-01-01T00:00:00Z"


def another_step(told: Certificate, _other: Certificate) -> None:
    told["steps"][1]["step"] = "keys_destroyed"


def a_step_of_another(told: Certificate, other: Certificate) -> None:
    told["steps"][2] = other["steps"][2]


def beyond_the_export(told: Certificate, _other: Certificate) -> None:
    told["steps"][4]["position"] = 10**12


def more_was_done(told: Certificate, _other: Certificate) -> None:
    told["techniques"].append("backups_destroyed")


def ended_earlier(told: Certificate, _other: Certificate) -> None:
    told["erased_at"] = "2020-01-01T00:00:00Z"


def no_techniques(told: Certificate, _other: Certificate) -> None:
    del told["techniques"]


@pytest.mark.parametrize(
    ("lie", "reason", "step"),
    [
        (another_person, "step_differs", 0),
        (nobody, "certificate_malformed", None),
        (no_steps, "certificate_malformed", None),
        (no_techniques, "certificate_malformed", None),
        (not_ended, "erasure_incomplete", None),
        (keys_kept, "erasure_incomplete", None),
        (begun_by_nobody, "erasure_incomplete", None),
        (out_of_order, "erasure_incomplete", None),
        (proofs_swapped, "proof_invalid", 0),
        (proof_cut, "proof_invalid", 0),
        (said_to_be_earlier, "step_differs", 0),
        (another_step, "step_differs", 1),
        (a_step_of_another, "step_differs", 2),
        (beyond_the_export, "step_not_in_export", 4),
        (more_was_done, "step_differs", 4),
        (ended_earlier, "step_differs", 4),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_a_lie_is_named_with_its_step(
    stage: Stage, lie: Callable[[Certificate, Certificate], None], reason: str, step: int | None
) -> None:
    """Seen to fail, by its own cases, without the proof's check and without the count of steps."""
    told = json.loads(json.dumps(stage.certificate))
    lie(told, stage.other)
    verdict = stage.judge(told)
    assert (verdict.ok, verdict.reason) == (False, reason)
    assert verdict.bad_step == (None if step is None else told["steps"][step]["position"])


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000], ids=range(6))
async def test_what_is_no_certificate_is_refused(stage: Stage, text: bytes) -> None:
    assert stage.judge(text).reason == "certificate_malformed"


async def test_without_the_right_key_or_an_export_there_is_no_verdict(
    house: House, stage: Stage, tmp_path: Path
) -> None:
    tenant = await house.tenant("Another")
    mistaken = Stage(
        stage.export, await trust_in(house, tenant.tenant_id), stage.certificate, stage.other
    )
    with pytest.raises(CannotProve):
        mistaken.judge(stage.certificate)
    nowhere = Stage(tmp_path / "nowhere", stage.trust, stage.certificate, stage.other)
    with pytest.raises(NotAnExport):
        nowhere.judge(stage.certificate)
