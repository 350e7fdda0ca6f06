"""`openssl` and `curl`, which we did not write, pair a device, renew its certificate and speak."""

import asyncio
import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.house.world import House

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Stranger:
    """A folder with the files that a person would have who reads the integrator's guide."""

    def __init__(self, house: House, folder: Path) -> None:
        self.house, self.folder = house, folder
        (folder / "server-ca.pem").write_text(house.platform.authority.ca_bundle_pem())

    async def run(self, *words: str) -> str:
        """What a program says; it must succeed."""
        done = await asyncio.to_thread(
            subprocess.run,
            words,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    async def makes_key(self, name: str) -> str:
        """A key and a request for it; the request as PEM."""
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        out = ("-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        await self.run("openssl", "req", "-new", *key, *out)
        await self.run("openssl", "req", "-verify", "-noout", "-in", f"{name}.csr")
        return (self.folder / f"{name}.csr").read_text()

    async def asks(
        self, url: str, body: dict[str, Any], certificate: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        (self.folder / "body.json").write_text(json.dumps(body))
        shown: tuple[str, ...] = ()
        if certificate is not None:
            shown = ("--cert", f"{certificate}.pem", "--key", f"{certificate}.key")
        told = await self.run(
            "curl", "--silent", "--show-error", "--noproxy", "*", "--cacert", "server-ca.pem",
            *shown, "--header", "Content-Type: application/json", "--data", "@body.json",
            "--write-out", "\n%{http_code}", url,
        )  # fmt: skip
        answer, _, status = told.rpartition("\n")
        return int(status), json.loads(answer)

    async def keeps(self, name: str, certified: dict[str, Any]) -> None:
        """What came for a request, and whether it is what it says."""
        (self.folder / f"{name}.pem").write_text(certified["certificate"] + certified["chain"])
        (self.folder / "device-ca.pem").write_text(certified["chain"])
        checked = ("openssl", "verify", "-x509_strict", "-purpose", "sslclient")
        assert "OK" in await self.run(*checked, "-CAfile", "device-ca.pem", f"{name}.pem")
        of_key = await self.run("openssl", "pkey", "-in", f"{name}.key", "-pubout")
        of_certificate = await self.run(
            "openssl", "x509", "-in", f"{name}.pem", "-pubkey", "-noout"
        )
        assert of_key == of_certificate

    async def beats(self, name: str, seq: int) -> tuple[int, dict[str, Any]]:
        now = datetime.now(UTC).isoformat()
        body = {"seq": seq, "boot_id": "stranger-01", "device_time": now}
        return await self.asks(f"{self.house.device_url}/v1/device/heartbeat", body, name)


async def test_a_stranger_pairs_renews_and_speaks(house: House, tmp_path: Path) -> None:
    tenant = await house.tenant()
    made = await tenant.api.post("/v1/devices", json={"type": "kiosk", "name": "Kiosk"})
    stranger = Stranger(house, tmp_path)
    body = {"code": made.json()["pairing"]["code"], "csr": await stranger.makes_key("first")}
    status, certified = await stranger.asks(f"{house.public_url}/v1/device/pair", body)
    assert status == 201, certified
    await stranger.keeps("first", certified)
    status, told = await stranger.beats("first", 1)
    assert (status, told["renew_after"]) == (200, certified["renew_after"])

    renew = f"{house.device_url}/v1/device/certificate/renew"
    request = {"csr": await stranger.makes_key("second")}
    status, told = await stranger.asks(renew, request, "first")
    assert (status, told["code"]) == (409, "renewal_too_early")
    path = f"/v1/devices/{made.json()['id']}/commands"
    command = await tenant.api.post(path, json={"kind": "rotate_cert"})
    await tenant.api.get(path, params={"min_position": command.headers["log-position"]})
    status, renewed = await stranger.asks(renew, request, "first")
    assert status == 201, renewed
    assert (await stranger.asks(renew, request, "first")) == (201, renewed)
    await stranger.keeps("second", renewed)
    for seq, name in enumerate(("second", "first"), start=2):
        assert (await stranger.beats(name, seq))[0] == 200
    house.clock.shift = timedelta(hours=25)
    status, told = await stranger.beats("first", 4)
    assert (status, told["code"]) == (401, "device_unknown")
    assert (await stranger.beats("second", 4))[0] == 200
