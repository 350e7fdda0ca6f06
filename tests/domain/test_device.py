"""A device is registered, paired, revoked, and perhaps paired again."""

from datetime import timedelta

import pytest

from domain.device import (
    DeviceRegistered,
    DeviceType,
    issue_pairing_code,
    pair,
    rebuild,
    register,
    revoke,
)
from domain.errors import Conflict, Invalid
from domain.events import DomainEvent
from domain.folding import UnexpectedEvent
from tests.builders import (
    NOW,
    claim_taken,
    device_paired,
    device_pairing_code_issued,
    device_registered,
    device_revoked,
)
from tests.spec import STREAM, TENANT, given, recorded

EXPIRY = NOW + timedelta(minutes=5)
REGISTERED = (device_registered(),)
PENDING = (*REGISTERED, device_pairing_code_issued())
ACTIVE = (*PENDING, device_paired())
REVOKED = (*ACTIVE, device_revoked())
PENDING_AGAIN = (*REVOKED, device_pairing_code_issued(code_number=2))
SECOND_PAIRING = device_paired(code_number=2, fingerprint="f2" * 32, csr_sha256="c6" * 32)
PAIRED_AGAIN = (*PENDING_AGAIN, SECOND_PAIRING)


def kind(
    device_type: DeviceType, product: str | None = None, action: str | None = None
) -> DeviceRegistered:
    return device_registered(type=device_type, bound_product=product, bound_action=action)


@pytest.mark.parametrize(
    "registered",
    [
        kind("pos", "wallet", "pay"),
        kind("gate", "access", "open"),
        kind("kiosk", "wallet", "pay"),
        kind("kiosk"),
        kind("personal_scanner"),
    ],
)
def test_a_device_is_expected_with_the_binding_of_its_type(registered: DeviceRegistered) -> None:
    given(rebuild).when(register, registered).then(registered)


@pytest.mark.parametrize(
    ("registered", "code"),
    [
        (kind("pos"), "binding_required"),
        (kind("pos", "wallet"), "binding_required"),
        (kind("gate", None, "open"), "binding_required"),
        (kind("kiosk", "wallet"), "binding_required"),
        (kind("kiosk", None, "pay"), "binding_required"),
        (kind("personal_scanner", "wallet", "pay"), "binding_forbidden"),
        (kind("personal_scanner", "wallet"), "binding_forbidden"),
        (kind("personal_scanner", None, "pay"), "binding_forbidden"),
    ],
)
def test_a_binding_that_its_type_cannot_have_is_refused(
    registered: DeviceRegistered, code: str
) -> None:
    given(rebuild).when(register, registered).then_refused(Invalid, code)


@pytest.mark.parametrize("name", ["", "  ", "x" * 81, " " * 80 + "x", "Till\n4", "Till\u202e4"])
def test_a_device_needs_a_name_that_people_can_read(name: str) -> None:
    given(rebuild).when(register, device_registered(name=name)).then_refused(
        Invalid, "device_name_invalid"
    )


def test_registering_the_same_device_again_changes_nothing() -> None:
    given(rebuild, *PAIRED_AGAIN).when(register, device_registered()).then_nothing()


def test_one_key_does_not_register_two_devices() -> None:
    given(rebuild, *REGISTERED).when(register, device_registered(name="Till 5")).then_refused(
        Invalid, "idempotency_key_reused"
    )


@pytest.mark.parametrize(
    ("past", "number"), [(REGISTERED, 1), (PENDING, 2), (REVOKED, 2), (PENDING_AGAIN, 3)]
)
def test_a_device_without_a_key_gets_a_code_with_the_next_number(
    past: tuple[DomainEvent, ...], number: int
) -> None:
    given(rebuild, *past).when(issue_pairing_code, EXPIRY).then(
        device_pairing_code_issued(code_number=number, expires_at=EXPIRY)
    )


@pytest.mark.parametrize("past", [ACTIVE, PAIRED_AGAIN])
def test_an_active_device_gets_no_code(past: tuple[DomainEvent, ...]) -> None:
    given(rebuild, *past).when(issue_pairing_code, EXPIRY).then_refused(
        Conflict, "device_already_paired"
    )


def test_the_holder_of_the_newest_code_becomes_the_device() -> None:
    given(rebuild, *PENDING).when(pair, device_paired()).then(device_paired())
    given(rebuild, *PENDING_AGAIN).when(pair, SECOND_PAIRING).then(SECOND_PAIRING)


@pytest.mark.parametrize(
    ("past", "code_number"),
    [
        (REGISTERED, 0),
        (REGISTERED, 1),
        (PENDING, 0),
        (PENDING, 2),
        (ACTIVE, 1),
        (REVOKED, 1),
        (PENDING_AGAIN, 1),
        (PAIRED_AGAIN, 2),
    ],
)
def test_no_other_code_pairs_a_device(past: tuple[DomainEvent, ...], code_number: int) -> None:
    given(rebuild, *past).when(pair, device_paired(code_number=code_number)).then_refused(
        Conflict, "device_not_pairable"
    )


@pytest.mark.parametrize(
    ("past", "fingerprints"),
    [
        (REGISTERED, ()),
        (PENDING, ()),
        (ACTIVE, ("f1" * 32,)),
        (PENDING_AGAIN, ()),
        (PAIRED_AGAIN, ("f2" * 32,)),
    ],
)
def test_a_revocation_names_the_certificate_that_the_device_held(
    past: tuple[DomainEvent, ...], fingerprints: tuple[str, ...]
) -> None:
    given(rebuild, *past).when(revoke, "lost").then(
        device_revoked(reason="lost", fingerprints=fingerprints)
    )


def test_revoking_twice_changes_nothing() -> None:
    given(rebuild, *REVOKED).when(revoke, "lost").then_nothing()


@pytest.mark.parametrize(
    ("past", "held"),
    [
        (REGISTERED, set[str]()),
        (PENDING, set[str]()),
        (ACTIVE, {"f1" * 32}),
        (REVOKED, set[str]()),
        (PENDING_AGAIN, set[str]()),
        (PAIRED_AGAIN, {"f2" * 32}),
    ],
)
def test_only_the_certificate_of_the_latest_pairing_speaks_for_the_device(
    past: tuple[DomainEvent, ...], held: set[str]
) -> None:
    device = rebuild(recorded(*past))
    assert device is not None
    assert {f for f in ("f1" * 32, "f2" * 32, "", "F1" * 32) if device.holds(f, NOW)} == held


def test_a_device_remembers_what_happened_to_it() -> None:
    device = rebuild(recorded(*PAIRED_AGAIN))
    assert device is not None
    assert (device.id, device.tenant_id, device.version) == (STREAM, TENANT, 6)
    assert (device.registered, device.status, device.code_number) == (
        device_registered(),
        "active",
        2,
    )
    assert device.code_expires_at == device_pairing_code_issued().expires_at
    assert device.certificate is not None
    assert (device.certificate.csr_sha256, device.certificate.not_after) == (
        "c6" * 32,
        SECOND_PAIRING.not_after,
    )


@pytest.mark.parametrize(
    "stray", [device_pairing_code_issued(), device_paired(), device_revoked(), claim_taken()]
)
def test_a_stream_that_does_not_begin_with_a_device_is_no_device(stray: DomainEvent) -> None:
    with pytest.raises(UnexpectedEvent):
        rebuild(recorded(stray))
