"""A chain proves what it proves, and whatever is wrong with one is refused for its own reason.

Bugs that were planted and caught here: no look at the certificates above the key's own, the level
of the attestation alone, the times of nobody, the signatures of nobody.
"""

import base64
import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from domain.attestation import Attestation
from domain.errors import Invalid, Unavailable
from infrastructure.attestation.android_key import AndroidKeyAttestations
from infrastructure.attestation.roots import RootsUnreadable, read_roots
from infrastructure.attestation.status_list import StatusList, StatusListUnreadable, parse
from tests.application.hand_clock import HandClock
from tests.attesting import (
    MAKER,
    SOFTWARE,
    STRONGBOX,
    TEE,
    Maker,
    Said,
    certificate,
    der,
    new_key,
    pem,
)
from tests.builders import NOW

KEY: Final = new_key()
PUBLIC: Final = KEY.public_key()
CHALLENGE: Final = hashlib.sha256(b"link-pair-v1:K7Q2ZM9XP").digest()
SAID: Final = Said(challenge=CHALLENGE)
SERIAL: Final = f"{0xA11CE:x}"


def spki_sha256(key: ec.EllipticCurvePublicKey) -> str:
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


def verified(
    chain: list[str], status: StatusList | None = None, maker: Maker = MAKER
) -> Attestation:
    attestations = AndroidKeyAttestations([maker.root], status, HandClock())
    return attestations.verify(chain, challenge=CHALLENGE, spki_sha256=spki_sha256(PUBLIC))


def refusal(chain: list[str], status: StatusList | None = None, maker: Maker = MAKER) -> object:
    with pytest.raises(Invalid) as caught:
        verified(chain, status, maker)
    assert caught.value.code == "attestation_invalid"
    return caught.value.extra["attestation_reason"]


def saying(**instead: object) -> list[str]:
    return MAKER.chain(PUBLIC, msgspec.structs.replace(SAID, **instead))


@pytest.mark.parametrize(
    ("level", "keymint_level", "proved"),
    [
        (STRONGBOX, STRONGBOX, "strongbox"),
        (TEE, TEE, "tee"),
        (SOFTWARE, SOFTWARE, "software"),
        (STRONGBOX, TEE, "tee"),
        (TEE, STRONGBOX, "tee"),
        (TEE, SOFTWARE, "software"),
    ],
)
def test_the_level_is_the_weaker_of_two(level: int, keymint_level: int, proved: str) -> None:
    assert verified(saying(level=level, keymint_level=keymint_level)).level == proved


def test_all_that_is_proved_is_said() -> None:
    assert verified(saying(boot_state=1, locked=b"\x00", unknown_field=True)) == Attestation(
        level="tee", boot="self_signed", locked=False, patch_level=202_602, serials=(SERIAL,)
    )


def test_hardware_that_cannot_sort_its_purposes_is_believed() -> None:
    assert verified(saying(purposes=(3, 2))).level == "tee"


def test_a_key_in_software_has_nobody_who_speaks_of_the_system() -> None:
    found = verified(saying(level=SOFTWARE, boot_state=None))
    assert (found.boot, found.locked) == ("unverified", False)


@pytest.mark.parametrize(
    ("instead", "reason"),
    [
        ({"challenge": hashlib.sha256(b"link-pair-v1:AAAAAAAAA").digest()}, "challenge_mismatch"),
        ({"challenge": b""}, "challenge_mismatch"),
        ({"origin": 2}, "not_generated"),
        ({"origin": None}, "not_generated"),
        ({"purposes": (0, 1, 3)}, "purpose_missing"),
        ({"purposes": ()}, "purpose_missing"),
        ({"boot_state": None}, "root_of_trust_missing"),
        ({"boot_state": 4}, "description_invalid"),
        ({"level": 3}, "description_invalid"),
        ({"keymint_level": 3}, "description_invalid"),
        ({"locked": b"\x01"}, "description_invalid"),
        ({"locked": b"\xff\xff"}, "description_invalid"),
    ],
)
def test_a_key_that_was_not_made_for_this_is_refused(
    instead: dict[str, object], reason: str
) -> None:
    assert refusal(saying(**instead)) == reason


def test_another_key_than_that_of_the_request_is_refused() -> None:
    assert refusal(MAKER.chain(new_key().public_key(), SAID)) == "key_mismatch"


def test_a_root_of_ones_own_is_refused_whatever_it_is_called() -> None:
    assert refusal(Maker().chain(PUBLIC, SAID)) == "root_unknown"


def test_the_name_and_key_of_a_root_are_enough() -> None:
    """Google made its root anew with the same key, and old devices send the old certificate."""
    again = certificate("root", MAKER.root_key.public_key(), "root", MAKER.root_key, serial=11)
    assert verified([*MAKER.chain(PUBLIC, SAID)[:2], *pem([again])]).level == "tee"


def test_a_chain_whose_root_stands_for_itself_only_is_refused() -> None:
    leaf, *_ = MAKER.chain(PUBLIC, SAID)
    assert refusal([leaf, *pem([MAKER.attester, MAKER.attester])]) == "root_unknown"


def extended(description: bytes | None) -> list[str]:
    """Who holds an attested key signs another certificate with it, and says what he likes."""
    held = new_key()
    honest = MAKER.attested(held.public_key(), SAID.encoded())
    forged = certificate("key", PUBLIC, "key", held, description=description)
    return pem([forged, *honest])


def test_an_extended_chain_is_refused() -> None:
    assert refusal(extended(msgspec.structs.replace(SAID, level=STRONGBOX).encoded())) == (
        "chain_extended"
    )
    assert refusal(extended(None)) == "chain_extended"


def test_who_may_sign_no_certificates_signs_none() -> None:
    plain = certificate("plain", KEY.public_key(), "root", MAKER.root_key, ca=False)
    leaf = certificate("key", PUBLIC, "plain", KEY, description=SAID.encoded())
    assert refusal(pem([leaf, plain, MAKER.root])) == "chain_invalid"


def test_a_certificate_that_somebody_else_signed_is_refused() -> None:
    leaf = certificate("key", PUBLIC, "attester", new_key(), description=SAID.encoded())
    assert refusal(pem([leaf, MAKER.attester, MAKER.root])) == "signature_invalid"
    attester = certificate("attester", MAKER.attester_key.public_key(), "root", new_key())
    chain = MAKER.attested(PUBLIC, SAID.encoded())
    assert refusal(pem([chain[0], attester, MAKER.root])) == "signature_invalid"
    misnamed = certificate("key", PUBLIC, "other", MAKER.attester_key, description=SAID.encoded())
    assert refusal(pem([misnamed, MAKER.attester, MAKER.root])) == "signature_invalid"


def test_a_weak_hash_is_no_signature() -> None:
    builder = (
        x509.CertificateBuilder()
        .subject_name(MAKER.attester.subject)
        .issuer_name(MAKER.attester.subject)
        .public_key(PUBLIC)
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
    )
    weak = builder.sign(MAKER.attester_key, hashes.SHA224())
    assert refusal(pem([weak, MAKER.attester, MAKER.root])) == "signature_invalid"


def test_the_times_of_who_attests_count_and_those_of_the_key_do_not() -> None:
    lapsed = Maker(ends=NOW - timedelta(seconds=1))
    assert refusal(lapsed.chain(PUBLIC, SAID), maker=lapsed) == "expired"
    leaf = certificate(
        "key",
        PUBLIC,
        "attester",
        MAKER.attester_key,
        description=SAID.encoded(),
        begins=NOW + timedelta(days=1),
        ends=NOW + timedelta(days=2),
    )
    assert verified(pem([leaf, MAKER.attester, MAKER.root])).level == "tee"


SPOILT: Final[list[Callable[[list[str]], list[str]]]] = [
    lambda chain: chain[:0],
    lambda chain: chain[:2],
    lambda chain: chain * 3,
    lambda chain: chain[:1] * 98 + chain[1:],
    lambda chain: ["".join(chain), *chain[1:]],
    lambda chain: [chain[0].replace("CERTIFICATE", "PUBLIC KEY"), *chain[1:]],
    lambda chain: [chain[0] + "\u00e9", *chain[1:]],
    lambda chain: ["not a certificate", *chain[1:]],
    lambda chain: [framed(b""), *chain[1:]],
    lambda chain: [framed(b"\x30\x84\xff\xff\xff\xff"), *chain[1:]],
    lambda chain: [framed(os.urandom(600)), *chain[1:]],
    lambda chain: [chain[0], chain[1] + " " * 8192, chain[2]],
]


@pytest.mark.parametrize("spoil", SPOILT)
def test_what_is_no_chain_is_refused(spoil: Callable[[list[str]], list[str]]) -> None:
    assert refusal(spoil(MAKER.chain(PUBLIC, SAID))) == "chain_invalid"


def framed(content: bytes) -> str:
    text = base64.encodebytes(content).decode()
    return f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n"


def test_a_chain_that_describes_no_key_is_refused() -> None:
    assert refusal(pem(MAKER.attested(PUBLIC, None))) == "not_attested"


@pytest.mark.parametrize("at", range(0, 90, 6))
def test_no_byte_of_a_description_may_be_another(at: int) -> None:
    """Whatever it becomes, it is refused or of no consequence; it never breaks anything."""
    encoded = bytearray(SAID.encoded())
    encoded[at] ^= 0x41
    with contextlib.suppress(Invalid):
        assert verified(pem(MAKER.attested(PUBLIC, bytes(encoded)))).level == "tee"


@pytest.mark.parametrize(
    "description", [b"", b"\x05\x00", der(0x30), SAID.encoded() + b"\x00", b"\x30\x80\x00\x00"]
)
def test_garbage_in_a_description_is_refused(description: bytes) -> None:
    assert refusal(pem(MAKER.attested(PUBLIC, description))) == "description_invalid"


def listing(path: Path, *serials: str, age: timedelta = timedelta(0)) -> Path:
    entries = {each: {"status": "REVOKED", "reason": "KEY_COMPROMISE"} for each in serials}
    path.write_text(json.dumps({"entries": entries}))
    written = (NOW - age).timestamp()
    os.utime(path, (written, written))
    return path


def test_who_was_revoked_vouches_for_nobody_from_then_on(tmp_path: Path) -> None:
    path = listing(tmp_path / "status.json", "c0ffee")
    status = StatusList(path, timedelta(days=7), HandClock())
    assert verified(MAKER.chain(PUBLIC, SAID), status).level == "tee"
    listing(path, "c0ffee", SERIAL.upper())
    assert refusal(MAKER.chain(PUBLIC, SAID), status) == "revoked"


def test_a_list_that_is_too_old_or_gone_stops_everybody(tmp_path: Path) -> None:
    path = listing(tmp_path / "status.json", age=timedelta(days=8))
    status = StatusList(path, timedelta(days=7), HandClock())
    with pytest.raises(Unavailable) as caught:
        verified(MAKER.chain(PUBLIC, SAID), status)
    assert caught.value.code == "attestation_status_stale"
    listing(path)
    assert verified(MAKER.chain(PUBLIC, SAID), status).level == "tee"
    path.unlink()
    with pytest.raises(Unavailable):
        verified(MAKER.chain(PUBLIC, SAID), status)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"entries": []}', b'{"entries": {"serial": {"status": "x"}}}']
)
def test_another_file_is_no_status_list(content: bytes) -> None:
    with pytest.raises(StatusListUnreadable):
        parse(content)


def test_an_operators_roots_stand_instead_of_googles(tmp_path: Path) -> None:
    path = tmp_path / "roots.pem"
    path.write_text(pem([MAKER.root])[0])
    assert read_roots(path) == [MAKER.root]
    assert len(read_roots(None)) == 2
    path.write_text("no roots")
    with pytest.raises(RootsUnreadable):
        read_roots(path)
