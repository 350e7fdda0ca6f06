"""An enrolment begins with an intent and ends in one of three ways."""

import pytest

from domain.enrollment import (
    EnrollmentTemplateArrivedLate,
    EnrollmentTemplateRemovalDelayed,
    EnrollmentTemplateRemoved,
    Template,
    delay_template_removal,
    rebuild,
    remove_template,
    template_arrived_late,
)
from domain.events import DomainEvent
from domain.folding import UnexpectedEvent
from tests.builders import (
    claim_taken,
    enrollment_completed,
    enrollment_failed,
    enrollment_rejected,
    enrollment_started,
    enrollment_template_arrived_late,
    enrollment_template_removal_delayed,
    enrollment_template_removed,
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


LEFT = enrollment_failed(template_left=True)


@pytest.mark.parametrize(
    ("past", "template"),
    [
        ([], "unknown"),
        ([enrollment_completed()], "kept"),
        ([enrollment_rejected()], "none"),
        ([enrollment_rejected(reason="duplicate_palm", template_left=True)], "removing"),
        ([enrollment_failed()], "none"),
        ([LEFT], "removing"),
        ([LEFT, enrollment_template_removal_delayed()], "removing"),
        ([LEFT, enrollment_template_removed()], "removed"),
        (
            [LEFT, enrollment_template_removed(), enrollment_template_arrived_late()],
            "removing",
        ),
    ],
)
def test_what_the_vendor_has_follows_from_what_happened(
    past: list[DomainEvent], template: Template
) -> None:
    enrollment = rebuild(recorded(enrollment_started(), *past))
    assert enrollment is not None
    assert enrollment.template == template


def test_a_template_that_has_to_go_is_delayed_once_for_each_reason_and_removed_once() -> None:
    left = rebuild(recorded(enrollment_started(), LEFT))
    assert left is not None
    assert template_arrived_late(left) == []
    assert delay_template_removal(left, "not_supported") == [
        EnrollmentTemplateRemovalDelayed(reason="not_supported")
    ]
    delayed = enrollment_template_removal_delayed(reason="not_supported")
    held = rebuild(recorded(enrollment_started(), LEFT, delayed))
    assert held is not None
    assert delay_template_removal(held, "not_supported") == []
    assert delay_template_removal(held, "palm_vendor_error") == [
        EnrollmentTemplateRemovalDelayed(reason="palm_vendor_error")
    ]
    assert remove_template(held, "absent") == [EnrollmentTemplateRemoved(vendor_answer="absent")]
    gone = rebuild(recorded(enrollment_started(), LEFT, delayed, enrollment_template_removed()))
    assert gone is not None
    assert gone.delayed_by is None
    assert remove_template(gone, "absent") == delay_template_removal(gone, "not_supported") == []
    assert template_arrived_late(gone) == [EnrollmentTemplateArrivedLate()]


def test_a_palm_that_works_keeps_its_template() -> None:
    completed = rebuild(recorded(enrollment_started(), enrollment_completed()))
    assert completed is not None
    assert remove_template(completed, "deleted") == []
    assert delay_template_removal(completed, "not_supported") == []
    assert template_arrived_late(completed) == []
