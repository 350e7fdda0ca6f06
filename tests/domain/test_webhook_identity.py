"""WebhookIdentity: one open request, two certificates at most, and warnings that come once."""

from datetime import timedelta

import msgspec
import pytest

from domain import webhook_identity as w
from domain.errors import Conflict, Invalid
from tests.builders import (
    NOW,
    webhook_certificate_expiring,
    webhook_certificate_installed,
    webhook_csr_made,
)
from tests.spec import given, recorded

MADE = webhook_csr_made()
OTHER = webhook_csr_made(csr_pem="another", spki_sha256="3c" * 32)
BROUGHT = w.Presented(
    chain_pem=webhook_certificate_installed().chain_pem,
    fingerprint_sha256="2b" * 32,
    spki_sha256=MADE.spki_sha256,
    not_before=NOW,
    not_after=NOW + timedelta(days=365),
)
NEWER = msgspec.structs.replace(BROUGHT, fingerprint_sha256="4d" * 32, spki_sha256="3c" * 32)
IN_USE = (MADE, webhook_certificate_installed())


def test_a_request_stays_open_until_it_is_signed_or_replaced() -> None:
    given(w.rebuild).when(w.request, MADE, replace=False).then(MADE)
    given(w.rebuild, MADE).when(w.request, OTHER, replace=False).then_nothing()
    given(w.rebuild, MADE).when(w.request, OTHER, replace=True).then(OTHER)
    given(w.rebuild, *IN_USE).when(w.request, OTHER, replace=False).then(OTHER)


def test_a_certificate_is_shown_from_the_moment_it_is_brought() -> None:
    asked = given(w.rebuild, MADE).when(w.install, BROUGHT, active_from=None, now=NOW)
    asked.then(webhook_certificate_installed())
    identity = w.rebuild(recorded(*IN_USE))
    assert identity is not None
    shown = identity.presented(NOW)
    assert shown is not None
    assert shown.fingerprint_sha256 == BROUGHT.fingerprint_sha256
    assert identity.presented(BROUGHT.not_after) is None, "what has run out is never shown"


def test_the_same_certificate_again_says_nothing() -> None:
    given(w.rebuild, *IN_USE).when(w.install, BROUGHT, active_from=None, now=NOW).then_nothing()


def test_a_certificate_without_a_request_or_for_another_key_is_refused() -> None:
    given(w.rebuild).when(w.install, BROUGHT, active_from=None, now=NOW).then_refused(
        Conflict, "webhook_csr_missing"
    )
    given(w.rebuild, *IN_USE).when(w.install, NEWER, active_from=None, now=NOW).then_refused(
        Conflict, "webhook_csr_missing"
    )
    given(w.rebuild, MADE).when(w.install, NEWER, active_from=None, now=NOW).then_refused(
        Invalid, "certificate_key_mismatch"
    )


def test_the_one_before_is_shown_until_the_new_one_begins() -> None:
    begins = NOW + timedelta(days=3)
    (installed,) = w.install(
        w.rebuild(recorded(*IN_USE, OTHER)), NEWER, active_from=begins, now=NOW
    )
    identity = w.rebuild(recorded(*IN_USE, OTHER, installed))
    assert identity is not None
    shown = [identity.presented(NOW), identity.presented(begins)]
    assert [each.fingerprint_sha256 for each in shown if each] == ["2b" * 32, "4d" * 32]
    assert len(identity.keys()) == len({MADE.key_id, OTHER.key_id})


@pytest.mark.parametrize("days", [366, 400])
def test_a_beginning_that_would_leave_a_gap_is_refused(days: int) -> None:
    begins = NOW + timedelta(days=days)
    later = msgspec.structs.replace(NEWER, not_after=NOW + timedelta(days=900))
    given(w.rebuild, *IN_USE, OTHER).when(
        w.install, later, active_from=begins, now=NOW
    ).then_refused(Invalid, "active_from_invalid")
    given(w.rebuild, OTHER).when(
        w.install, later, active_from=NOW + timedelta(days=1), now=NOW
    ).then_refused(Invalid, "active_from_invalid")


@pytest.mark.parametrize(
    ("left", "told"),
    [
        (timedelta(days=31), None),
        (timedelta(days=30), 30),
        (timedelta(days=7), 7),
        (timedelta(hours=20), 1),
        (timedelta(0), 0),
    ],
)
def test_the_end_is_told_thirty_seven_and_one_day_before(left: timedelta, told: int | None) -> None:
    at = BROUGHT.not_after - left
    asked = given(w.rebuild, *IN_USE).when(w.warn, at)
    if told is None:
        asked.then_nothing()
        return
    event = webhook_certificate_expiring(days=told)
    asked.then(event)
    given(w.rebuild, *IN_USE, event).when(w.warn, at).then_nothing()


def test_nobody_is_warned_of_a_certificate_that_was_replaced() -> None:
    installed = webhook_certificate_installed(
        fingerprint_sha256="4d" * 32, not_after=NOW + timedelta(days=900)
    )
    at = BROUGHT.not_after - timedelta(days=1)
    given(w.rebuild, *IN_USE, OTHER, installed).when(w.warn, at).then_nothing()
