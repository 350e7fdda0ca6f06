"""The device simulator against the whole platform: pairing, enrolment, retries, refusals."""

import asyncio
import json
import stat
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import httpx
import msgspec
import numpy as np
import pytest

from examples.device_simulator import (
    ConnectionRefused,
    InboxCodes,
    NoCode,
    Refused,
    SimulatedDevice,
)
from examples.device_simulator.forgery import forge
from examples.synthetic_palms import Palm, capture
from tests.house.world import House, Tenancy, opened

MOBILE: Final = "+966501234567"
PALM: Final = capture(Palm(person=1, hand="left"), np.random.default_rng(1))
PRICE: Final = {"amount": "5.00", "currency": "SAR"}
ALLOWED: Final = json.dumps({"decision": "allow", "display_message": "Approved"}).encode()


@pytest.fixture
async def house(database: str, tmp_path: Path) -> AsyncIterator[House]:
    async with opened(database, tmp_path / "data") as found:
        yield found


async def code_of_new_device(tenant: Tenancy) -> str:
    device = {"type": "pos", "name": "Till", "bound_product": "wallet", "bound_action": "pay"}
    made = await tenant.api.post("/v1/devices", json=device)
    assert made.status_code == 201, made.text
    return str(made.json()["pairing"]["code"])


async def paired(house: House, tenant: Tenancy, folder: Path) -> SimulatedDevice:
    """A till; the house listens on a port that it did not know beforehand."""
    data_dir = house.platform.settings.data_dir
    device = await SimulatedDevice.pair(
        house.public_url,
        await code_of_new_device(tenant),
        folder,
        data_dir / "pki" / "server-ca.pem",
    )
    await device.aclose()
    return at(device, house.device_url)


def at(device: SimulatedDevice, device_api: str) -> SimulatedDevice:
    """The same device, calling another address."""
    return SimulatedDevice(msgspec.structs.replace(device.credentials, device_api=device_api))


def codes(house: House) -> InboxCodes:
    return InboxCodes(house.platform.settings.data_dir)


async def enrolled(house: House, device: SimulatedDevice) -> str:
    person = await device.sign_up(MOBILE, codes(house))
    await device.enroll(person.user_id, PALM, "left")
    return person.user_id


async def test_a_device_pairs_enrols_a_person_and_is_told_the_decision(
    house: House, tmp_path: Path
) -> None:
    tenant = await house.tenant()
    async with await paired(house, tenant, tmp_path / "till") as device:
        user_id = await enrolled(house, device)
        answer = await device.transact(PALM, PRICE)
    assert (answer.decision, answer.display_message) == ("allow", "Approved")
    assert (answer.replayed, answer.tries) == (False, 1)
    assert answer.milliseconds > 0
    (call,) = house.product.calls
    assert (call["user_id"], call["device_id"]) == (user_id, device.id)
    assert call["context"] == PRICE


async def test_a_person_who_signs_up_again_is_the_same_person(house: House, tmp_path: Path) -> None:
    tenant = await house.tenant()
    async with await paired(house, tenant, tmp_path / "one") as one:
        first = await one.sign_up(MOBILE, codes(house))
    async with await paired(house, tenant, tmp_path / "two") as two:
        second = await two.sign_up(MOBILE, codes(house))
    assert (first.is_new, second.is_new) == (True, False)
    assert first.user_id == second.user_id


async def test_a_device_keeps_its_secrets_to_itself_and_is_itself_after_a_restart(
    house: House, tmp_path: Path
) -> None:
    tenant = await house.tenant()
    folder = tmp_path / "till"
    async with await paired(house, tenant, folder) as device:
        pass
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    kept = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    names = ["ca.pem", "chain.pem", "csr.pem", "device.json", "key.pem"]
    assert kept == dict.fromkeys(names, 0o600)
    again = SimulatedDevice.load(folder)
    await again.aclose()
    assert again.id == device.id
    async with at(again, house.device_url) as awake:
        assert (await awake.transact(PALM, PRICE)).decision == "not_recognized"


async def test_pairing_again_after_a_lost_answer_gets_the_same_certificate(
    house: House, tmp_path: Path
) -> None:
    tenant = await house.tenant()
    code = await code_of_new_device(tenant)
    folder, ca = tmp_path / "till", house.platform.settings.data_dir / "pki" / "server-ca.pem"
    first = await SimulatedDevice.pair(house.public_url, code, folder, ca)
    await first.aclose()
    certificate = (folder / "chain.pem").read_text()
    for lost in ("device.json", "chain.pem", "ca.pem"):
        (folder / lost).unlink()
    second = await SimulatedDevice.pair(house.public_url, code, folder, ca)
    await second.aclose()
    assert (second.id, (folder / "chain.pem").read_text()) == (first.id, certificate)


async def test_a_wrong_code_pairs_nothing(house: House, tmp_path: Path) -> None:
    ca = house.platform.settings.data_dir / "pki" / "server-ca.pem"
    with pytest.raises(Refused) as refused:
        await SimulatedDevice.pair(house.public_url, "AAA-BBB-CCC", tmp_path / "till", ca)
    assert (refused.value.status, refused.value.code) == (404, "pairing_code_invalid")
    with pytest.raises(FileNotFoundError):
        SimulatedDevice.load(tmp_path / "till")


class Cutter:
    """A wire between device and platform that can be cut while an answer is on it."""

    def __init__(self, target: str) -> None:
        url = urlsplit(target)
        self._target = (url.hostname, url.port)
        self.cut = False

    async def join(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        far, to_far = await asyncio.open_connection(*self._target)
        ways = [asyncio.create_task(self._carry(*way)) for way in ((near, to_far), (far, to_near))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for writer in (to_near, to_far):
            writer.transport.abort()
        await asyncio.gather(*ways, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if self.cut:
                self.cut = False
                return
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def cuttable(target: str) -> AsyncGenerator[tuple[Cutter, str]]:
    cutter = Cutter(target)
    server = await asyncio.start_server(cutter.join, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield cutter, f"https://127.0.0.1:{port}"
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(("keeps_key", "charges"), [(True, 1), (False, 2)])
async def test_a_lost_answer_is_asked_for_again_with_the_same_key_and_charges_once(
    house: House, tmp_path: Path, keeps_key: bool, charges: int
) -> None:
    """The second case is the bug that the first one guards against: a new key for a retry."""
    tenant = await house.tenant()
    async with (
        cuttable(house.device_url) as (cutter, url),
        await paired(house, tenant, tmp_path / "till") as device,
        at(device, url) as behind,
    ):
        await enrolled(house, device)

        async def charge(_: dict[str, Any]) -> tuple[int, bytes]:
            cutter.cut = len(house.product.calls) == 1
            return 200, ALLOWED

        house.product.script = charge
        if keeps_key:
            answer = await behind.transact(PALM, PRICE)
            assert (answer.replayed, answer.tries) == (True, 2)
        else:
            with pytest.raises(httpx.TransportError):
                await behind.transact(PALM, PRICE, tries=1)
            answer = await behind.transact(PALM, PRICE, tries=1)
        assert answer.decision == "allow"
    assert len({call["idempotency_key"] for call in house.product.calls}) == charges


async def test_a_vendor_that_fails_for_a_moment_is_tried_again_after_the_pause_it_asked_for(
    house: House, tmp_path: Path
) -> None:
    tenant = await house.tenant()
    pauses: list[float] = []

    async def recover(seconds: float) -> None:
        pauses.append(seconds)
        house.vendor.script = None

    async with await paired(house, tenant, tmp_path / "till") as device:
        await enrolled(house, device)
        house.vendor.script = broken
        credentials = device.credentials
    async with SimulatedDevice(credentials, pause=recover) as patient:
        answer = await patient.transact(PALM, PRICE)
    assert (answer.decision, answer.tries, pauses) == ("allow", 2, [1.0])


async def test_a_vendor_that_stays_broken_is_told_as_the_problem_it_is(
    house: House, tmp_path: Path
) -> None:
    tenant = await house.tenant()
    house.vendor.script = broken
    async with await paired(house, tenant, tmp_path / "till") as device:
        with pytest.raises(Refused) as refused:
            await device.transact(PALM, PRICE, tries=1)
    assert (refused.value.status, refused.value.code) == (503, "palm_vendor_error")


async def broken(_: str) -> tuple[int, bytes]:
    return 200, b'{"code": 50000, "msg": "Milvus error"}'


async def test_a_revoked_device_loses_its_open_connection_and_gets_no_other(
    house: House, tmp_path: Path
) -> None:
    tenant = await house.tenant()
    async with await paired(house, tenant, tmp_path / "till") as device:
        held = await device.connect()
        assert held.status == 404
        revoked = await tenant.api.delete(f"/v1/devices/{device.id}")
        assert revoked.status_code == 204
        async with asyncio.timeout(30):
            await held.ended()
        await held.close()
        with pytest.raises(ConnectionRefused) as refused:
            await device.connect()
        assert refused.value.alert == "closed"
        with pytest.raises(httpx.TransportError):
            await device.transact(PALM, PRICE, tries=2)
    assert house.product.calls == []


async def test_a_copy_of_a_certificate_from_another_ca_is_refused(
    house: House, tmp_path: Path
) -> None:
    tenant = await house.tenant()
    async with await paired(house, tenant, tmp_path / "till") as device:
        forged = forge(device.credentials, tmp_path / "forged")
        async with SimulatedDevice(forged) as impostor:
            with pytest.raises(ConnectionRefused) as refused:
                await impostor.transact(PALM, PRICE)
        assert refused.value.alert == "unknown_ca"
        assert (await device.transact(PALM, PRICE)).decision == "not_recognized"


async def test_a_code_that_never_came_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(NoCode, match=r"\+966501234567"):
        await InboxCodes(tmp_path).code_for(MOBILE)


async def command(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "examples.device_simulator",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_the_command_line_draws_the_same_palm_for_the_same_seed(tmp_path: Path) -> None:
    drawn: list[Any] = []
    for folder in ("one", "two"):
        to = str(tmp_path / folder)
        code, out, _ = await command("draw", "--person", "7", "--seed", "3", "--to", to)
        assert code == 0
        drawn.append(json.loads((tmp_path / folder / "scan.json").read_text()))
        assert set(json.loads(out)) == {"rgb", "ir", "scan"}
    assert drawn[0] == drawn[1]
    assert drawn[0]["format"] == "biowave.rgb_ir.v1"


@pytest.mark.parametrize(("known", "status"), [(True, 0), (False, 2)])
async def test_the_command_line_says_with_its_exit_code_how_it_went(
    house: House, tmp_path: Path, known: bool, status: Literal[0, 2]
) -> None:
    tenant = await house.tenant()
    folder = tmp_path / "till"
    async with await paired(house, tenant, folder) as device:
        await enrolled(house, device)
        identity = json.loads((folder / "device.json").read_text())
        identity["device_api"] = house.device_url
        (folder / "device.json").write_text(json.dumps(identity))
        code, out, err = await command(
            "transact", "--person", "1", "--seed", "1", "--context", json.dumps(PRICE),
            "--folder", str(folder if known else tmp_path / "nobody"),
        )  # fmt: skip
    assert (code, bool(out), bool(err)) == (status, known, not known)
    if known:
        assert json.loads(out)["decision"] == "allow"


async def test_a_device_does_each_command_once_however_often_it_comes(
    house: House, tmp_path: Path
) -> None:
    tenant = await house.tenant()
    async with await paired(house, tenant, tmp_path / "till") as device:
        path = f"/v1/devices/{device.id}/commands"
        for kind in ("restart", "collect_logs", "rotate_cert", "lock"):
            queued = await tenant.api.post(path, json={"kind": kind})
            position = queued.headers["log-position"]
        await tenant.api.get(path, params={"min_position": position})
        before = device.credentials.chain_file.read_text()
        operation = device.operation(fw_version="3.2.1")
        for _ in range(3):
            await operation.beat()
        assert (operation.restarts, operation.locked) == (1, True)
        with pytest.raises(Refused, match="device_locked"):
            await device.transact(PALM, PRICE)
        assert device.credentials.chain_file.read_text() != before
        async with at(SimulatedDevice.load(tmp_path / "till"), house.device_url) as again:
            await again.operation().beat()
    listed = await tenant.api.get(path, params={"min_position": await house.end()})
    assert {each["kind"]: (each["status"], each["detail"]) for each in listed.json()["items"]} == {
        "restart": ("done", None),
        "rotate_cert": ("done", None),
        "collect_logs": ("rejected", "not_supported"),
        "lock": ("done", None),
    }
