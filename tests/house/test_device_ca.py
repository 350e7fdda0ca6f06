"""The device CA changes under a live fleet, seen with `openssl` and `curl`, which are not ours."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest

from domain.ids import PLATFORM
from tests.house.test_certificates_by_strangers import Stranger
from tests.house.test_heartbeats import heartbeat
from tests.house.world import House, Tenancy, opened

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROTATE = "/v1/admin/ssl/ca-cert/rotate"


class Fleet(Stranger):
    """A stranger with several devices, each a key and a certificate in files."""

    def __init__(self, house: House, tenant: Tenancy, folder: Path) -> None:
        super().__init__(house, folder)
        self.tenant = tenant
        self.seq = 0

    async def pairs(self, name: str) -> str:
        made = await self.tenant.api.post("/v1/devices", json={"type": "kiosk", "name": name})
        await self.redeems(name, made.json()["pairing"]["code"])
        return str(made.json()["id"])

    async def redeems(self, name: str, code: str) -> None:
        body = {"code": code, "csr": await self.makes_key(name)}
        status, certified = await self.asks(f"{self.house.public_url}/v1/device/pair", body)
        assert status == 201, certified
        await self.keeps(name, certified)

    async def renews(self, name: str) -> None:
        url = f"{self.house.device_url}/v1/device/certificate/renew"
        body = {"csr": await self.makes_key(f"{name}-next")}
        status, renewed = await self.asks(url, body, name)
        assert status == 201, renewed
        await self.keeps(name, renewed)
        (self.folder / f"{name}-next.key").rename(self.folder / f"{name}.key")
        assert (await self.speaks(name))[0] == 200

    async def keeps(self, name: str, certified: dict[str, Any]) -> None:
        (self.folder / f"{name}.pem").write_text(certified["certificate"] + certified["chain"])

    async def speaks(self, name: str) -> tuple[int, dict[str, Any]]:
        self.seq += 1
        return await self.beats(name, self.seq)

    async def fetches(self, path: str, to: str) -> None:
        url = f"{self.house.public_url}{path}"
        await self.run(
            "curl", "--silent", "--fail", "--noproxy", "*", "--cacert", "server-ca.pem",
            "--output", to, url,
        )  # fmt: skip

    async def verifies(self, name: str) -> str:
        """What `openssl verify -crl_check` makes of a device's certificate by what we publish."""
        await self.fetches("/v1/pki/device-cas", "cas.pem")
        await self.fetches("/v1/pki/device-crls", "crls.pem")
        checked = ("verify", "-x509_strict", "-purpose", "sslclient", "-crl_check")
        try:
            return await self.run(
                "openssl", *checked, "-CAfile", "cas.pem", "-CRLfile", "crls.pem", f"{name}.pem"
            )
        except AssertionError as failed:
            return str(failed)

    def connection(self, name: str) -> ssl.SSLContext:
        context = self.house.trust()
        context.load_cert_chain(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        return context


async def platform_client(house: House) -> httpx.AsyncClient:
    client = await house.client(house.public_url)
    client.headers["authorization"] = f"Bearer {await house.token(PLATFORM)}"
    return client


async def test_the_ca_changes_under_a_live_fleet(database: str, tmp_path: Path) -> None:
    """Nobody who follows is dropped, not even from an open connection; who did not, can recover;
    and after a regeneration nobody gets in who did not pair anew."""
    async with opened(database, tmp_path / "data") as house:
        tenant = await house.tenant()
        (tmp_path / "files").mkdir()
        fleet = Fleet(house, tenant, tmp_path / "files")
        ids = {name: await fleet.pairs(name) for name in ("gate", "till", "sleeper", "stolen")}
        admin = await platform_client(house)

        # What was revoked is on the list at once, and strangers can check the others by it.
        gone = await tenant.api.delete(f"/v1/devices/{ids['stolen']}", params={"reason": "stolen"})
        assert gone.status_code == 204
        end = await house.end()
        assert await house.platform.runner.wait(end, "device_certificates", 30)
        await house.platform.revocation_lists.round()
        assert "gate.pem: OK" in await fleet.verifies("gate")
        assert "certificate revoked" in await fleet.verifies("stolen")
        await fleet.fetches("/v1/pki/device-ca.crl", "first.crl")
        told = await fleet.run("openssl", "crl", "-inform", "DER", "-in", "first.crl", "-text")
        assert "Key Compromise" in told
        public = await house.client(house.public_url)
        seen = await public.get("/v1/pki/device-ca.crl")
        again = await public.get(
            "/v1/pki/device-ca.crl", headers={"if-none-match": seen.headers["etag"]}
        )
        assert (again.status_code, again.content) == (304, b"")

        # Tenants have no say in it.
        for asked in (
            await tenant.api.get(ROTATE),
            await tenant.api.post(ROTATE, json={"phase": "prepare"}),
        ):
            assert asked.json()["code"] == "device_ca_not_found"

        # An open connection, kept through all of the rotation.
        open_gate = await house.client(house.device_url, verify=fleet.connection("gate"))
        assert (await open_gate.post("/v1/device/heartbeat", json=heartbeat(1))).is_success

        before = (await public.get("/v1/pki/authorities")).json()
        prepared = await admin.post(ROTATE, json={"phase": "prepare"})
        assert prepared.json()["trusted"] == [1, 2], prepared.text
        await until(lambda: house.platform.authority.missing() == [] and known(house, "announced"))
        after = (await public.get("/v1/pki/authorities")).json()
        assert (after["version"], len(after["device_cas"])) == (before["version"] + 1, 2)
        issuing = await admin.post(ROTATE, json={"phase": "issue", "spread_s": 0})
        assert issuing.json()["issuing"] == 2, issuing.text
        await until(lambda: known(house, "issuing"))
        assert (await open_gate.post("/v1/device/heartbeat", json=heartbeat(2))).is_success

        for name in ("gate", "till"):
            await fleet.renews(name)
        assert "till.pem: OK" in await fleet.verifies("till")
        back = {"phase": "rollback", "force": True}
        stale = {"if-match": prepared.headers["etag"]}
        answers = [await admin.post(ROTATE, json=back, headers=each) for each in ({}, stale)]
        assert [each.json()["code"] for each in answers] == [
            "if_match_required",
            "version_mismatch",
        ]
        refused = await admin.post(ROTATE, json={"phase": "finalize"})
        assert (refused.status_code, refused.json()["code"]) == (409, "devices_left_behind")
        standing = (await admin.get(ROTATE)).json()
        assert [each["device_id"] for each in standing["laggards"]] == [ids["sleeper"]]
        assert (await open_gate.post("/v1/device/heartbeat", json=heartbeat(3))).is_success

        final = await admin.post(ROTATE, json={"phase": "finalize", "force": True})
        assert (final.json()["phase"], final.json()["trusted"]) == ("standby", [2]), final.text
        await until(lambda: known(house, "standby"))
        for name in ("gate", "till"):
            assert (await fleet.speaks(name))[0] == 200
        with pytest.raises(AssertionError, match="curl"):
            await fleet.speaks("sleeper")
        with pytest.raises((httpx.TransportError, ssl.SSLError)):
            await open_gate.post("/v1/device/heartbeat", json=heartbeat(4))

        # Somebody has the CA's key: everybody out, and back in with a code.
        wrong = await admin.post("/v1/admin/ssl/ca-cert/regenerate", json={"confirm": "yes"})
        assert (wrong.status_code, wrong.json()["code"]) == (422, "confirmation_wrong")
        confirmed = {"confirm": "every device must be paired again"}
        alone = await admin.post("/v1/admin/ssl/ca-cert/regenerate", json=confirmed)
        assert (alone.status_code, alone.json()["code"]) == (403, "approval_required")
        wanted = {"operation": "ca.regenerate", "subject": "the platform"}
        asked = (await admin.post("/v1/approvals", json=wanted)).json()
        second = await platform_client(house)
        given = await second.post(f"/v1/approvals/{asked['id']}/approve")
        assert given.status_code == 200, given.text
        made = await admin.post(
            "/v1/admin/ssl/ca-cert/regenerate",
            json=confirmed,
            headers={"approval-id": asked["id"]},
        )
        assert (made.json()["trusted"], made.json()["distrusted"]) == ([3], [1, 2]), made.text
        await until(
            lambda: (
                house.platform.authority.state.issuing == 3
                and not house.platform.authority.missing()
            )
        )
        with pytest.raises(AssertionError, match="curl"):
            await fleet.speaks("till")
        code = await tenant.api.post(f"/v1/devices/{ids['till']}/pairing-code")
        await fleet.redeems("till", code.json()["code"])
        assert (await fleet.speaks("till"))[0] == 200
        names = [
            each.event.NAME
            for each in await house.platform.log.read(0, 500)
            if each.event.NAME.startswith("device_ca.")
        ]
        assert names == [
            "device_ca.announced",
            "device_ca.issuing_started",
            "device_ca.retired",
            "device_ca.regenerated",
        ]


def known(house: House, phase: str) -> bool:
    return house.platform.authority.state.phase == phase


async def until(condition: Any, patience_s: float = 60) -> None:
    """Wait for what another task of the process brings about."""
    async with asyncio.timeout(patience_s):
        while not condition():  # noqa: ASYNC110 - the state has no event
            await asyncio.sleep(0.01)
