"""An enrolment begins with an intent and ends in one of three ways."""

import pytest

from domain.enrollment import rebuild
from domain.events import DomainEvent
from domain.folding import UnexpectedEvent
from tests.builders import (
    claim_taken,
    enrollment_completed,
    enrollment_failed,
    enrollment_rejected,
    enrollment_started,
)
from tests.spec import STREAM, TENANT, recorded


def test_an_enrolment_is_under_its_reference_at_the_vendor() -> None:
    started = enrollment_started()
    enrollment = rebuild(recorded(started))
    assert enrollment is not None
    assert (enrollment.id, enrollment.tenant_id, enrollment.version) == (STREAM, TENANT, 1)
    assert (enrollment.started, enrollment.status) == (started, "started")


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (enrollment_completed(), "completed"),
        (enrollment_rejected(reason="duplicate_palm", hints=()), "rejected"),
        (enrollment_failed(reason="palm_vendor_timeout", vendor_code=None), "failed"),
    ],
)
def test_an_enrolment_ends_as_the_vendor_answered(end: DomainEvent, status: str) -> None:
    enrollment = rebuild(recorded(enrollment_started(), end))
    assert enrollment is not None
    assert (enrollment.version, enrollment.status) == (2, status)


def test_a_rejection_keeps_its_hints_for_the_next_try() -> None:
    rejected = enrollment_rejected(reason="low_quality", hints=("too_far",))
    enrollment = rebuild(recorded(enrollment_started(), rejected))
    assert enrollment is not None
    assert enrollment.rejected == rejected


@pytest.mark.parametrize("end", [enrollment_rejected(), enrollment_completed()])
def test_an_enrolment_that_has_its_result_never_begins_again(end: DomainEvent) -> None:
    with pytest.raises(UnexpectedEvent):
        rebuild(recorded(enrollment_started(), end, enrollment_started()))


def test_an_enrolment_that_failed_begins_anew() -> None:
    again = enrollment_started(scan_sha256="5d" * 32)
    enrollment = rebuild(recorded(enrollment_started(), enrollment_failed(), again))
    assert enrollment is not None
    assert (enrollment.version, enrollment.status) == (3, "started")
    assert (enrollment.started, enrollment.rejected) == (again, None)


@pytest.mark.parametrize(
    "stray",
    [enrollment_completed(), enrollment_rejected(), enrollment_failed(), claim_taken()],
)
def test_an_enrolment_cannot_end_before_it_began(stray: DomainEvent) -> None:
    with pytest.raises(UnexpectedEvent):
        rebuild(recorded(stray))
