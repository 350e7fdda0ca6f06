"""What our listeners show: ours at first, the operator's when they say so, and back."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from domain import server_certificate as s
from domain.errors import Conflict, Invalid
from tests.builders import (
    NOW,
    server_certificate_activated,
    server_certificate_expiring,
    server_certificate_installed,
    server_certificate_issued,
    server_certificate_rolled_back,
    server_csr_made,
)
from tests.spec import given, recorded

FIRST, CSR, INSTALLED = (
    server_certificate_issued(),
    server_csr_made(),
    server_certificate_installed(),
)
ACTIVATED, BACK = server_certificate_activated(), server_certificate_rolled_back()
NAMES = ("id.example.com", "127.0.0.1")
SHOWING_OWN = (FIRST, CSR, INSTALLED, ACTIVATED)
RENEWED = server_certificate_issued(
    key=3, fingerprint_sha256="5e" * 32, why="renewal", for_all=False
)
ASKED = server_certificate_issued(key=4, fingerprint_sha256="6f" * 32, why="asked", for_all=True)


def state(*past: Any) -> s.ServerCertificate:
    return s.rebuild(recorded(*past))


def shown(*past: Any) -> tuple[str, str]:
    """The first two figures of what clients are shown, and of what devices are."""
    showing = state(*past).showing
    assert showing is not None
    return showing.public.fingerprint_sha256[:2], showing.device.fingerprint_sha256[:2]


def brought(**fields: Any) -> s.Brought:
    made = s.Brought(
        chain_pem=INSTALLED.chain_pem,
        anchor_pem=INSTALLED.anchor_pem,
        fingerprint_sha256=INSTALLED.fingerprint_sha256,
        spki_sha256=CSR.spki_sha256,
        names=INSTALLED.names,
        not_before=INSTALLED.not_before,
        not_after=INSTALLED.not_after,
    )
    return msgspec.structs.replace(made, **fields)


def made(issued: Any) -> s.Certificate:
    return s.Certificate(
        source="platform",
        key=issued.key,
        chain_pem=issued.chain_pem,
        fingerprint_sha256=issued.fingerprint_sha256,
        names=issued.names,
        not_before=issued.not_before,
        not_after=issued.not_after,
    )


def activation(**given: Any) -> dict[str, Any]:
    usual = {"for_devices": False, "device_names": ("id.example.com",), "holders": 0}
    return {**usual, "force": False, "now": NOW, **given}


def test_what_is_shown_after_each_step() -> None:
    """Devices keep ours until the operator says otherwise, and renewals leave the operator's."""
    assert shown(FIRST) == ("3c", "3c")
    assert shown(FIRST, CSR, INSTALLED) == ("3c", "3c")
    assert shown(*SHOWING_OWN) == ("4d", "3c")
    assert shown(*SHOWING_OWN, RENEWED) == ("4d", "5e")
    assert shown(*SHOWING_OWN, RENEWED, BACK) == ("5e", "5e")
    assert shown(*SHOWING_OWN, RENEWED, BACK, BACK) == ("4d", "5e")
    assert shown(*SHOWING_OWN, ASKED) == ("6f", "6f")
    assert shown(*SHOWING_OWN, ASKED, BACK) == ("4d", "6f")
    for_devices = server_certificate_activated(for_devices=True)
    assert shown(FIRST, CSR, INSTALLED, for_devices) == ("4d", "4d")
    assert shown(FIRST, CSR, INSTALLED, for_devices, RENEWED) == ("4d", "4d")


def test_ours_is_issued_at_first_at_two_thirds_of_its_life_and_for_new_names() -> None:
    life = FIRST.not_after - FIRST.not_before
    assert s.due(state(), NAMES, NOW) == "first"
    assert s.due(state(FIRST), NAMES, NOW + life * 2 / 3 - timedelta(seconds=1)) is None
    assert s.due(state(FIRST), NAMES, NOW + life * 2 / 3) == "renewal"
    assert s.due(state(FIRST), (*NAMES, "new.example.com"), NOW) == "names"
    given(s.rebuild).when(s.issue, made(FIRST), "first").then(FIRST)
    given(s.rebuild, *SHOWING_OWN).when(s.issue, made(RENEWED), "renewal").then(RENEWED)
    given(s.rebuild, *SHOWING_OWN).when(s.issue, made(ASKED), "asked", everywhere=True).then(ASKED)


def test_a_request_stays_open_until_its_certificate_is_shown() -> None:
    again = server_csr_made(key=5)
    given(s.rebuild, FIRST).when(s.request, CSR, replace=False).then(CSR)
    given(s.rebuild, FIRST, CSR, INSTALLED).when(s.request, again, replace=False).then()
    given(s.rebuild, FIRST, CSR).when(s.request, again, replace=True).then(again)
    given(s.rebuild, *SHOWING_OWN).when(s.request, again, replace=False).then(again)


def test_what_is_brought_is_for_our_key_and_our_names() -> None:
    asked = given(s.rebuild, FIRST, CSR)
    asked.when(s.install, brought(), ("id.example.com",)).then(INSTALLED)
    given(s.rebuild, FIRST, CSR, INSTALLED).when(s.install, brought(), ()).then()
    with pytest.raises(Conflict, match="server_csr_missing"):
        s.install(state(FIRST), brought(), ())
    with pytest.raises(Invalid, match="certificate_key_mismatch"):
        s.install(state(FIRST, CSR), brought(spki_sha256="00" * 32), ())
    with pytest.raises(Invalid, match="certificate_names_missing") as refused:
        s.install(state(FIRST, CSR), brought(), ("ID.example.com", "api.example.com"))
    assert refused.value.extra == {"missing": ["api.example.com"]}


@pytest.mark.parametrize(
    ("held", "name", "covered"),
    [
        ("id.example.com", "ID.Example.com", True),
        ("*.example.com", "id.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "a.id.example.com", False),
        ("*.0.0.1", "127.0.0.1", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("*", "localhost", False),
    ],
)
def test_a_wildcard_stands_for_one_label(held: str, name: str, covered: bool) -> None:
    assert (s.missing([held], [name]) == ()) is covered


def test_it_is_activated_once_and_while_it_is_good() -> None:
    waiting = given(s.rebuild, FIRST, CSR, INSTALLED)
    waiting.when(s.activate, **activation()).then(ACTIVATED)
    for past, now, code in (
        ((FIRST, CSR), NOW, "server_certificate_missing"),
        (SHOWING_OWN, NOW, "server_certificate_missing"),
        ((FIRST, CSR, INSTALLED), INSTALLED.not_after, "server_certificate_expired"),
    ):
        with pytest.raises(Conflict, match=code):
            s.activate(state(*past), **activation(now=now))


def test_devices_are_shown_it_only_when_they_can_know_it() -> None:
    """Or when the operator insists, and says so in the log."""
    waiting = state(FIRST, CSR, INSTALLED)
    with pytest.raises(Conflict, match="devices_left_behind"):
        s.activate(waiting, **activation(for_devices=True, holders=3))
    (forced,) = s.activate(waiting, **activation(for_devices=True, holders=3, force=True))
    assert forced == server_certificate_activated(for_devices=True, left_behind=3)
    with pytest.raises(Invalid, match="certificate_names_missing"):
        s.activate(waiting, **activation(for_devices=True, device_names=("dev.example.com",)))
    rootless = state(FIRST, CSR, server_certificate_installed(anchor_pem=None))
    with pytest.raises(Invalid, match="certificate_anchor_missing"):
        s.activate(rootless, **activation(for_devices=True))
    assert waiting.anchors() == state(*SHOWING_OWN).anchors() == (INSTALLED.anchor_pem,)


def test_there_is_one_step_back_while_what_was_shown_is_good() -> None:
    given(s.rebuild, *SHOWING_OWN).when(s.roll_back, None, NOW).then(BACK)
    given(s.rebuild, *SHOWING_OWN).when(s.roll_back, "3c" * 32, NOW).then(BACK)
    with pytest.raises(Conflict, match="server_certificate_missing"):
        s.roll_back(state(*SHOWING_OWN), "5e" * 32, NOW)
    for past in ((FIRST,), (FIRST, ASKED)):
        with pytest.raises(Conflict, match="server_certificate_missing"):
            s.roll_back(state(*past), None, NOW)
    with pytest.raises(Conflict, match="server_certificate_expired"):
        s.roll_back(state(*SHOWING_OWN, BACK), None, INSTALLED.not_after)


def test_its_end_is_told_once_for_each_threshold() -> None:
    past: list[Any] = list(SHOWING_OWN)
    told: list[int] = []
    for days in (31, 30, 29, 8, 7, 2, 1, 0.5, 0, -1):
        now = INSTALLED.not_after - timedelta(days=days)
        found = s.warn(state(*past), "4d" * 32, "own", INSTALLED.not_after, now)
        told += [each.days for each in found if isinstance(each, s.ServerCertificateExpiring)]
        past += found
    assert told == [30, 7, 1, 0]
    assert server_certificate_expiring() in past
