"""A device whose certificate has run out, over the wire: shut out, told why, back again."""

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from examples.device_simulator import Refused, SimulatedDevice
from examples.device_simulator.recovery import PublicListener
from tests.house.test_heartbeats import heartbeat
from tests.house.world import House, Tenancy

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def paired(house: House, tenant: Tenancy, folder: Path) -> SimulatedDevice:
    made = await tenant.api.post("/v1/devices", json={"type": "kiosk", "name": "Kiosk"})
    ca = house.platform.settings.data_dir / "pki" / "server-ca.pem"
    code = made.json()["pairing"]["code"]
    return await SimulatedDevice.pair(house.public_url, code, folder, ca)


async def signed_in_anew(house: House, tenant: Tenancy) -> None:
    """By the house's clock the tenant's token has run out."""
    tenant.api.headers["authorization"] = f"Bearer {await house.token(tenant.tenant_id)}"


def desk(house: House, device: SimulatedDevice) -> PublicListener:
    ca = house.platform.settings.data_dir / "pki" / "server-ca.pem"
    return PublicListener(house.public_url, ca, device.credentials)


async def test_a_device_that_slept_too_long_comes_back(house: House, tmp_path: Path) -> None:
    tenant = await house.tenant(certificate_days=1)
    async with (
        await paired(house, tenant, tmp_path / "kiosk") as device,
        desk(house, device) as public,
    ):
        assert (await public.status())["status"] == "valid"
        with pytest.raises(Refused, match="certificate_not_expired"):
            await public.recover()
        house.clock.shift = timedelta(days=3)
        context = device.credentials.tls()
        edge = await house.client(house.device_url, verify=context)
        refused = await edge.post("/v1/device/heartbeat", json=heartbeat(1))
        assert (refused.status_code, refused.json()["code"]) == (401, "device_unknown")
        told = await public.status()
        assert (told["status"], told["action"]) == ("expired_recoverable", "recover")
        await public.recover()
        chain = device.credentials.chain_file.read_bytes()
        leaf, *_ = x509.load_pem_x509_certificates(chain)
        assert leaf.not_valid_after_utc > datetime.now(UTC) + timedelta(days=3)
        await signed_in_anew(house, tenant)
        shown = (await tenant.api.get(f"/v1/devices/{device.id}")).json()
        assert datetime.fromisoformat(shown["certificate_not_after"]) == leaf.not_valid_after_utc
        # The device's clock is the real one, and the house's is three days ahead of it.
        assert (await public.status())["status"] == "clock_skew"
        house.clock.shift = timedelta(days=40)
        assert (await public.status())["status"] == "expired"
        with pytest.raises(Refused, match="recovery_window_passed"):
            await public.recover()
        await signed_in_anew(house, tenant)
        assert (await tenant.api.delete(f"/v1/devices/{device.id}")).status_code == 204
        told = await public.status()
        assert (told["status"], told["action"]) == ("revoked", "contact_admin")


async def proof(public: httpx.AsyncClient, device: SimulatedDevice) -> dict[str, str]:
    told: dict[str, Any] = (await public.post("/v1/device/nonce")).json()
    leaf, *_ = x509.load_pem_x509_certificates(device.credentials.chain_file.read_bytes())
    der = base64.b64encode(leaf.public_bytes(Encoding.DER)).decode()
    said = {"aud": told["audience"], "nonce": told["nonce"], "iat": 1_772_355_600}
    headers = {"typ": "device-cert-status+jwt", "x5c": [der]}
    key = device.credentials.key_file.read_text()
    return {"proof": jwt.encode(said, key, algorithm="ES256", headers=headers)}


async def test_of_one_proof_at_the_same_time_one_counts(house: House, tmp_path: Path) -> None:
    public = await house.client(house.public_url)
    async with await paired(house, await house.tenant(), tmp_path / "kiosk") as device:
        one = await proof(public, device)
        path = "/v1/device/certificate/status"
        answers = await asyncio.gather(*(public.post(path, json=one) for _ in range(8)))
        assert sorted(each.status_code for each in answers) == [200] + [401] * 7
        late = await proof(public, device)
        house.clock.shift = timedelta(minutes=3)
        refused = await public.post(path, json=late)
        assert (refused.status_code, refused.json()["code"]) == (401, "proof_invalid")
