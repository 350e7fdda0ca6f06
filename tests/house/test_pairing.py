"""Pairing under attack: guessed, stale and raced codes, odd keys, and answers that get lost."""

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AttributeOID

from application.fleet.pairing import FAILURES_OF_PLATFORM, TRIES_PER_ADDRESS, Pairings
from application.fleet.pairing_codes import PairingCodes
from application.ports import EventLog
from domain.errors import NotFound
from domain.events import Recorded
from domain.ids import PLATFORM, TenantId
from interfaces.attestation_settings import key_attestations
from tests.house.samples import Stage, stage
from tests.house.world import House, key_and_csr

pytestmark = pytest.mark.asyncio(loop_scope="session")

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
KIOSK = {"type": "kiosk", "name": "Kiosk by the door"}


async def coded(at: Stage) -> tuple[str, str]:
    """A device that waits to be paired, and its code."""
    made = await at.tenant.api.post("/v1/devices", json=KIOSK)
    return made.json()["id"], made.json()["pairing"]["code"]


async def pair(house: House, code: str, csr: str | None = None) -> httpx.Response:
    public = await house.client(house.public_url)
    body = {"code": code, "csr": csr or key_and_csr()[1]}
    return await public.post("/v1/device/pair", json=body)


def csr_of(key: Key, *, challenge: str | None = None) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if challenge is not None:
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge.encode())
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM).decode()


def told(answered: httpx.Response) -> tuple[int, str, str]:
    """Status, body and headers, without what is drawn anew for every answer."""
    body: dict[str, Any] = answered.json()
    body.pop("request_id")
    drawn = ("x-request-id", "date", "traceresponse")
    headers = {k: v for k, v in answered.headers.items() if k not in drawn}
    return answered.status_code, json.dumps(body), json.dumps(headers)


async def test_a_code_that_does_not_work_never_says_why(house: House) -> None:
    at = await stage(house)
    house.limiter.unlimited.add("pairing.address")
    _, used = await coded(at)
    assert (await pair(house, used)).status_code == 201
    replaced_id, replaced = await coded(at)
    renewed = await at.tenant.api.post(f"/v1/devices/{replaced_id}/pairing-code")
    revoked_id, revoked = await coded(at)
    assert (await at.tenant.api.delete(f"/v1/devices/{revoked_id}")).status_code == 204
    _, expired = await coded(at)
    before = await at.facts()
    answers = {
        name: await pair(house, code)
        for name, code in {
            "wrong": "AAA-AAA-AAA",
            "too short": "AAA",
            "other symbols": "K7Q\u00df2ZM9X",
            "letters that become ASCII": "\u0131" * 9,
            "used": used,
            "replaced": replaced,
            "revoked": revoked,
        }.items()
    }
    house.clock.shift = timedelta(seconds=301)
    answers["expired"] = await pair(house, expired)
    assert len({told(answer) for answer in answers.values()}) == 1
    wrong = answers["wrong"]
    assert (wrong.status_code, wrong.json()["code"]) == (404, "pairing_code_invalid")
    assert await at.facts() == before
    house.clock.shift = timedelta(0)
    assert (await pair(house, renewed.json()["code"])).status_code == 201


async def test_a_code_is_good_until_the_second_it_expires(house: House) -> None:
    at = await stage(house)
    _, code = await coded(at)
    house.clock.shift = timedelta(seconds=298)
    assert (await pair(house, code)).status_code == 201


async def test_a_code_may_be_typed_in_small_letters_with_spaces(house: House) -> None:
    at = await stage(house)
    _, code = await coded(at)
    assert (await pair(house, f" {code.lower().replace('-', ' - ')} ")).status_code == 201


def tampered(csr: str) -> str:
    body = csr.replace("-----BEGIN CERTIFICATE REQUEST-----\n", "").partition("\n-----END")[0]
    flipped = body[:-12] + ("A" if body[-12] != "A" else "B") + body[-11:]
    return csr.replace(body, flipped)


ODD_REQUESTS: list[tuple[str, Callable[[], str], str]] = [
    ("signature tampered with", lambda: tampered(key_and_csr()[1]), "csr_signature_invalid"),
    ("RSA 2048", lambda: csr_of(rsa.generate_private_key(65537, 2048)), "key_policy_violation"),
    (
        "P-521",
        lambda: csr_of(ec.generate_private_key(ec.SECP521R1())),
        "key_policy_violation",
    ),
    (
        "secp256k1",
        lambda: csr_of(ec.generate_private_key(ec.SECP256K1())),
        "key_policy_violation",
    ),
    (
        "Ed25519",
        lambda: csr_of(ed25519.Ed25519PrivateKey.generate()),
        "key_policy_violation",
    ),
    (
        "made for another code",
        lambda: csr_of(ec.generate_private_key(ec.SECP256R1()), challenge="AAAAAAAAA"),
        "code_binding_mismatch",
    ),
    (
        "made for no code",
        lambda: csr_of(ec.generate_private_key(ec.SECP256R1()), challenge="none"),
        "code_binding_mismatch",
    ),
    ("no request", lambda: "hello", "csr_invalid"),
    ("a certificate", lambda: key_and_csr()[1].replace("REQUEST-", "-"), "csr_invalid"),
    ("two requests", lambda: key_and_csr()[1] + key_and_csr()[1], "csr_invalid"),
    ("empty frame", lambda: key_and_csr()[1][:36] + key_and_csr()[1][-34:], "csr_invalid"),
    ("20 KB", lambda: key_and_csr()[1] + " " * 20_480, "invalid_request"),
]


async def test_an_odd_request_is_refused_and_the_code_still_works(house: House) -> None:
    at = await stage(house)
    house.limiter.unlimited.add("pairing.address")
    _, code = await coded(at)
    before = await at.facts()
    for name, made, reason in ODD_REQUESTS:
        csr = made()
        answered = await pair(house, code, csr)
        assert (answered.status_code, answered.json()["code"]) == (400, reason), (
            name,
            answered.text,
        )
        assert len(csr) < 90 or csr[40:90] not in answered.text
    assert await at.facts() == before
    assert (await pair(house, code)).status_code == 201


async def test_a_request_that_carries_its_own_code_is_taken(house: House) -> None:
    at = await stage(house)
    _, code = await coded(at)
    key = ec.generate_private_key(ec.SECP256R1())
    assert (await pair(house, code, csr_of(key, challenge=code.lower()))).status_code == 201


async def test_of_fifty_keys_with_one_code_one_wins(house: House) -> None:
    at = await stage(house)
    house.limiter.unlimited.add("pairing.address")
    device_id, code = await coded(at)
    public = await house.client(house.public_url)
    requests = [{"code": code, "csr": key_and_csr()[1]} for _ in range(50)]
    answers = await asyncio.gather(
        *(public.post("/v1/device/pair", json=body) for body in requests)
    )
    assert sorted(answer.status_code for answer in answers) == [201] + [404] * 49
    (won,) = (answer for answer in answers if answer.status_code == 201)
    shown = (await at.tenant.api.get(f"/v1/devices/{device_id}")).json()
    certificate = x509.load_pem_x509_certificate(won.json()["certificate"].encode())
    assert shown["fingerprint"] == certificate.fingerprint(hashes.SHA256()).hex()
    assert (await house.events(at.tenant)).count("device.paired") == 2  # And the stage's till.


async def test_one_key_that_asks_twenty_times_at_once_gets_one_certificate(house: House) -> None:
    at = await stage(house)
    house.limiter.unlimited.add("pairing.address")
    _, code = await coded(at)
    _, csr = key_and_csr()
    public = await house.client(house.public_url)
    answers = await asyncio.gather(
        *(public.post("/v1/device/pair", json={"code": code, "csr": csr}) for _ in range(20))
    )
    assert {answer.status_code for answer in answers} == {201}, [a.text for a in answers]
    assert len({answer.json()["certificate"] for answer in answers}) == 1
    assert (await house.events(at.tenant)).count("device.paired") == 2


async def test_a_lost_answer_is_given_again_while_the_code_lives(house: House) -> None:
    at = await stage(house)
    _, code = await coded(at)
    _, csr = key_and_csr()
    first = await pair(house, code, csr)
    house.clock.shift = timedelta(seconds=240)
    assert (await pair(house, code, csr)).content == first.content
    other = await pair(house, code)
    assert (other.status_code, other.json()["code"]) == (404, "pairing_code_invalid")
    house.clock.shift = timedelta(seconds=301)
    assert (await pair(house, code, csr)).status_code == 404


async def test_a_lost_answer_is_not_given_to_a_device_revoked_since(house: House) -> None:
    at = await stage(house)
    device_id, code = await coded(at)
    _, csr = key_and_csr()
    assert (await pair(house, code, csr)).status_code == 201
    assert (await at.tenant.api.delete(f"/v1/devices/{device_id}")).status_code == 204
    assert (await pair(house, code, csr)).status_code == 404


async def test_a_key_is_good_for_one_device_and_one_pairing(house: House) -> None:
    at = await stage(house)
    other = await house.tenant()
    key = ec.generate_private_key(ec.SECP256R1())
    device_id, code = await coded(at)
    assert (await pair(house, code, csr_of(key))).status_code == 201
    elsewhere = await other.api.post("/v1/devices", json=KIOSK)
    await at.tenant.api.delete(f"/v1/devices/{device_id}")
    again = await at.tenant.api.post(f"/v1/devices/{device_id}/pairing-code")
    for fresh in (elsewhere.json()["pairing"]["code"], again.json()["code"]):
        answered = await pair(house, fresh, csr_of(key, challenge=fresh))
        assert (answered.status_code, answered.json()["code"]) == (409, "key_already_used")
        assert device_id not in answered.text
        assert (await pair(house, fresh)).status_code == 201


async def test_one_key_raced_for_two_devices_is_one_devices_key(house: House) -> None:
    at = await stage(house)
    key = ec.generate_private_key(ec.SECP256R1())
    codes = [(await coded(at))[1] for _ in range(2)]
    answers = await asyncio.gather(
        *(pair(house, code, csr_of(key, challenge=code)) for code in codes)
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409]


async def test_an_address_has_ten_tries_a_minute_whatever_it_claims_to_be(house: House) -> None:
    at = await stage(house)
    house.limiter.reset()
    _, code = await coded(at)
    public = await house.client(house.public_url)
    statuses: list[int] = []
    for number in range(TRIES_PER_ADDRESS + 1):
        claimed = {"x-forwarded-for": f"10.0.0.{number}", "forwarded": f"for=10.0.0.{number}"}
        body = {"code": "AAA-AAA-AAA", "csr": key_and_csr()[1]}
        answered = await public.post("/v1/device/pair", json=body, headers=claimed)
        statuses.append(answered.status_code)
    assert statuses == [404] * TRIES_PER_ADDRESS + [429]
    right = await pair(house, code)
    assert (right.status_code, right.json()["code"]) == (429, "rate_limited")
    assert right.headers["retry-after"] == "60"
    assert right.json()["retryable"] is True


async def test_a_platform_under_attack_pauses_pairing(house: House) -> None:
    at = await stage(house)
    _, code = await coded(at)
    for _ in range(FAILURES_OF_PLATFORM):
        await house.limiter.hit(
            "pairing.failures", "platform", limit=FAILURES_OF_PLATFORM, per_s=600
        )
    answered = await pair(house, code)
    assert (answered.status_code, answered.json()["code"]) == (429, "pairing_paused")
    assert int(answered.headers["retry-after"]) > 0


async def test_an_active_device_gets_no_second_code(house: House) -> None:
    at = await stage(house)
    answered = await at.tenant.api.post(f"/v1/devices/{at.till.id}/pairing-code")
    assert (answered.status_code, answered.json()["code"]) == (409, "device_already_paired")


class Loads:
    """The log, counting what is looked up in the stream of a code."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self.append = log.append
        self.of_platform = 0

    async def load(self, tenant_id: TenantId, stream_id: UUID) -> Sequence[Recorded]:
        self.of_platform += tenant_id == PLATFORM
        return await self._log.load(tenant_id, stream_id)


@pytest.mark.parametrize("code", ["AAA-AAA-AAA", "AAA", "\u00df" * 9])
async def test_a_malformed_code_takes_the_same_road_as_a_wrong_one(house: House, code: str) -> None:
    """No clock tells the two apart, because both look up one stream and find nothing."""
    platform, loads = house.platform, Loads(house.platform.log)
    given = platform.services
    pairings = Pairings(
        loads,
        given.devices,
        given.authority,
        house.limiter,
        PairingCodes(platform.keyring),
        key_attestations(platform.settings.attestation, platform.clock),
        platform.clock,
    )
    with pytest.raises(NotFound):
        await pairings.pair(code, key_and_csr()[1], {}, address="192.0.2.1", correlation_id=uuid4())
    assert loads.of_platform == 1
