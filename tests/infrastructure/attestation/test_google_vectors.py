"""Google's published chains (`vectors`, with their source) are judged as Google says."""

import base64
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from domain.attestation import Attestation
from domain.errors import Invalid
from infrastructure.attestation import key_description
from infrastructure.attestation.android_key import AndroidKeyAttestations
from infrastructure.attestation.roots import read_roots
from tests.application.hand_clock import HandClock
from tests.attesting import pem

VECTORS: Final = Path(__file__).parent / "vectors"
MOMENTS: Final = {
    "akita--sdk34--TEE_EC_NONE": datetime(2024, 9, 27, tzinfo=UTC),
    "blueline--sdk28--SB_RSA_NONE": datetime(2020, 8, 29, tzinfo=UTC),
    "caiman--sdk36--SB_EC_RKP": datetime(2025, 9, 27, tzinfo=UTC),
    "tegu--sdk36--SB_EC_2026_ROOT": datetime(2026, 2, 25, tzinfo=UTC),
    "tegu--sdk36--TEE_EC_2026_ROOT": datetime(2026, 2, 25, tzinfo=UTC),
}
"""When each was made, within the life of the certificates above the key's own."""

LEVELS: Final = {"STRONG_BOX": "strongbox", "TRUSTED_ENVIRONMENT": "tee", "SOFTWARE": "software"}


def chain_of(name: str) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates((VECTORS / f"{name}.pem").read_bytes())


def expected_of(name: str) -> dict[str, Any]:
    lines = (VECTORS / f"{name}.json").read_text().splitlines()
    plain = "\n".join(line for line in lines if not line.lstrip().startswith("//"))
    found: dict[str, Any] = json.loads(plain)
    return found


def judged(name: str, moment: datetime, challenge: bytes) -> Attestation:
    chain = chain_of(name)
    spki = chain[0].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    clock = HandClock()
    clock.advance((moment - clock.now()).total_seconds())
    google = AndroidKeyAttestations(read_roots(None), None, clock)
    return google.verify(
        pem(chain), challenge=challenge, spki_sha256=hashlib.sha256(spki).hexdigest()
    )


def reason(caught: pytest.ExceptionInfo[Invalid]) -> object:
    assert caught.value.code == "attestation_invalid"
    return caught.value.extra["attestation_reason"]


def test_every_vector_is_judged() -> None:
    assert sorted(path.stem for path in VECTORS.glob("*.json")) == sorted(MOMENTS)


@pytest.mark.parametrize("name", sorted(MOMENTS))
def test_a_published_chain_proves_what_google_says_it_proves(name: str) -> None:
    expected = expected_of(name)
    hardware = expected["hardwareEnforced"]
    found = judged(name, MOMENTS[name], base64.b64decode(expected["attestationChallenge"]))
    assert (
        found
        == Attestation(
            level=LEVELS[expected["attestationSecurityLevel"]],  # type: ignore[arg-type]
            boot=hardware["rootOfTrust"]["verifiedBootState"].lower(),
            locked=hardware["rootOfTrust"]["deviceLocked"],
            patch_level=int(hardware["osPatchLevel"]),
            serials=tuple(f"{each.serial_number:x}" for each in chain_of(name)[1:-1]),
        )
    )


@pytest.mark.parametrize("name", sorted(MOMENTS))
def test_a_published_chain_for_another_challenge_proves_nothing(name: str) -> None:
    with pytest.raises(Invalid) as caught:
        judged(name, MOMENTS[name], b"another challenge")
    assert reason(caught) == "challenge_mismatch"


@pytest.mark.parametrize("name", sorted(MOMENTS))
def test_a_published_chain_proves_nothing_when_it_has_run_out(name: str) -> None:
    challenge = base64.b64decode(expected_of(name)["attestationChallenge"])
    with pytest.raises(Invalid) as caught:
        judged(name, datetime(2029, 6, 1, tzinfo=UTC), challenge)
    assert reason(caught) == "expired"
    with pytest.raises(Invalid) as caught:
        judged(name, datetime(2015, 1, 1, tzinfo=UTC), challenge)
    assert reason(caught) == "not_yet_valid"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("invalid--malformed_rot_device_locked", "description_invalid"),
        # Google made it by changing a chain that it had: the signature is wrong as well.
        ("invalid--tags_not_in_ascending_order", "signature_invalid"),
    ],
)
def test_what_google_calls_invalid_is_refused(name: str, why: str) -> None:
    extensions = chain_of(name)[0].extensions
    value = extensions.get_extension_for_oid(key_description.OID).value
    assert isinstance(value, x509.UnrecognizedExtension)
    with pytest.raises(key_description.Unreadable):
        key_description.read(value.value)
    with pytest.raises(Invalid) as caught:
        judged(name, datetime(2026, 3, 1, tzinfo=UTC), b"challenge")
    assert reason(caught) == why
