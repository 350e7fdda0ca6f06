"""A device whose hardware vouches for its key, from the pairing to the renewal; and one that lies.

The chain is made here, by a maker whose root is configured.
"""

import asyncio
import base64
import hashlib
import os
from typing import Any

import httpx
import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from tests.attesting import MAKER, STRONGBOX, Maker, Said
from tests.house.world import House, PairedDevice, Tenancy, key_and_csr

pytestmark = pytest.mark.asyncio(loop_scope="session")


def public_key(csr: str) -> ec.EllipticCurvePublicKey:
    key = x509.load_pem_x509_csr(csr.encode()).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key


def attestation(csr: str, purpose: str, maker: Maker = MAKER, **instead: Any) -> dict[str, Any]:
    said = Said(challenge=hashlib.sha256(purpose.encode()).digest(), level=STRONGBOX)
    chain = maker.chain(public_key(csr), msgspec.structs.replace(said, **instead))
    return {"format": "android-key", "chain": chain}


async def expected(tenant: Tenancy, **fields: Any) -> tuple[str, str]:
    """The id of a kiosk that waits, and its code as it was drawn."""
    made = await tenant.api.post("/v1/devices", json={"type": "kiosk", "name": "Kiosk", **fields})
    assert made.status_code == 201, made.text
    return made.json()["id"], made.json()["pairing"]["code"].replace("-", "")


async def pair(house: House, body: dict[str, Any]) -> httpx.Response:
    public = await house.client(house.public_url)
    return await public.post("/v1/device/pair", json=body)


def refusal(answer: httpx.Response) -> tuple[int, str, str | None]:
    problem = answer.json()
    return answer.status_code, problem["code"], problem.get("attestation_reason")


async def test_a_key_in_hardware_becomes_a_device_and_renews_with_nothing_less(
    house: House,
) -> None:
    tenant = await house.tenant(attestation={"kiosk": "tee"})
    device_id, code = await expected(tenant)
    key, csr = key_and_csr()
    body: dict[str, Any] = {"code": code, "csr": csr}
    assert refusal(await pair(house, body)) == (422, "attestation_required", None)
    lying = body | {"attestation": attestation(csr, f"link-pair-v1:{code}", Maker())}
    assert refusal(await pair(house, lying)) == (422, "attestation_invalid", "root_unknown")
    body["attestation"] = attestation(csr, f"link-pair-v1:{code}")
    paired = await pair(house, body)
    assert paired.status_code == 201, paired.text

    shown = (await tenant.api.get(f"/v1/devices/{device_id}")).json()
    assert (shown["attestation"], shown["assurance"]) == ("none", "strongbox")
    listed = await tenant.api.get("/v1/devices", params={"min_position": await house.end()})
    assert [each["assurance"] for each in listed.json()["items"]] == ["strongbox"]
    audit = await tenant.api.get(
        "/v1/audit", params={"action": "device_paired", "min_position": await house.end()}
    )
    (row,) = audit.json()["items"]
    assert row["facts"]["attestation"]["level"] == "strongbox", row

    chain = paired.json()["certificate"] + paired.json()["chain"]
    trust = house.with_certificate(chain, key)
    http = await house.client(house.device_url, verify=trust)
    kiosk = PairedDevice(device_id, tenant, http, trust, key, house.device_url)
    await renewed(house, kiosk, paired.json()["certificate"])


async def renewed(house: House, kiosk: PairedDevice, certificate: str) -> None:
    commands = f"/v1/devices/{kiosk.id}/commands"
    told = await kiosk.tenant.api.post(commands, json={"kind": "rotate_cert"})
    assert told.status_code == 201, told.text
    known = {"min_position": told.headers["log-position"]}
    assert (await kiosk.tenant.api.get(commands, params=known)).status_code == 200
    _, csr = key_and_csr()
    url = "/v1/device/certificate/renew"
    assert refusal(await kiosk.http.post(url, json={"csr": csr})) == (
        422,
        "attestation_downgrade",
        None,
    )
    der = x509.load_pem_x509_certificate(certificate.encode()).public_bytes(Encoding.DER)
    purpose = f"link-renew-v1:{hashlib.sha256(der).hexdigest()}"
    weaker = attestation(csr, purpose, level=1)
    assert refusal(await kiosk.http.post(url, json={"csr": csr, "attestation": weaker})) == (
        422,
        "attestation_downgrade",
        None,
    )
    body = {"csr": csr, "attestation": attestation(csr, purpose)}
    done = await kiosk.http.post(url, json=body)
    assert done.status_code == 201, done.text


def garbage(csr: str, code: str) -> list[tuple[dict[str, Any], int, str, str | None]]:
    good = attestation(csr, f"link-pair-v1:{code}")
    chain = good["chain"]
    noise = base64.encodebytes(os.urandom(900)).decode()
    framed = f"-----BEGIN CERTIFICATE-----\n{noise}-----END CERTIFICATE-----\n"
    _, other = key_and_csr()
    return [
        (attestation(csr, "another code"), 422, "attestation_invalid", "challenge_mismatch"),
        (attestation(other, f"link-pair-v1:{code}"), 422, "attestation_invalid", "key_mismatch"),
        (good | {"chain": [framed, *chain[1:]]}, 422, "attestation_invalid", "chain_invalid"),
        (good | {"chain": chain * 3}, 422, "attestation_invalid", "chain_invalid"),
        (good | {"chain": chain[:1] * 100}, 400, "invalid_request", None),
        (good | {"chain": [chain[0] + " " * 8192, *chain[1:]]}, 400, "invalid_request", None),
        (good | {"chain": ["A" * 8000] * 10}, 413, "body_too_large", None),
        (good | {"chain": []}, 400, "invalid_request", None),
        (good | {"format": "apple"}, 400, "invalid_request", None),
        (good | {"level": "strongbox"}, 400, "invalid_request", None),
    ]


async def test_what_does_not_hold_is_refused_and_the_code_is_still_good(house: House) -> None:
    """Nothing was required: what is offered must hold all the same."""
    tenant = await house.tenant()
    device_id, code = await expected(tenant)
    _, csr = key_and_csr()
    for given, status, problem, reason in garbage(csr, code):
        answer = await pair(house, {"code": code, "csr": csr, "attestation": given})
        assert refusal(answer) == (status, problem, reason)
        house.limiter.reset()
    body = {"code": code, "csr": csr, "attestation": attestation(csr, f"link-pair-v1:{code}")}
    answers = await asyncio.gather(*(pair(house, body) for _ in range(6)))
    assert [each.status_code for each in answers] == [201] * 6
    assert len({each.json()["certificate"] for each in answers}) == 1
    shown = (await tenant.api.get(f"/v1/devices/{device_id}")).json()
    assert (shown["status"], shown["assurance"]) == ("active", "strongbox")


async def test_a_slot_of_a_batch_is_attested_as_its_batch_requires(house: House) -> None:
    tenant = await house.tenant()
    made = await tenant.api.post(
        "/v1/device-batches",
        json={
            "batch": "spring",
            "type": "kiosk",
            "attestation": "strongbox",
            "slots": [{"name": "One"}],
        },
    )
    assert made.status_code == 201, made.text
    (device_id,) = made.json()["devices"]
    drawn = await tenant.api.post(f"/v1/devices/{device_id}/pairing-code")
    code = drawn.json()["code"].replace("-", "")
    _, csr = key_and_csr()
    weaker = attestation(csr, f"link-pair-v1:{code}", level=1)
    answer = await pair(house, {"code": code, "csr": csr, "attestation": weaker})
    assert refusal(answer) == (422, "attestation_invalid", "level_too_low")
    good = attestation(csr, f"link-pair-v1:{code}")
    assert (await pair(house, {"code": code, "csr": csr, "attestation": good})).status_code == 201
    shown = (await tenant.api.get(f"/v1/devices/{device_id}")).json()
    assert (shown["attestation"], shown["assurance"]) == ("strongbox", "strongbox")
