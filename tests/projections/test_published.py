"""The one table from facts to audit actions and webhook names."""

import re
from collections.abc import Callable

import pytest

from domain.catalogue import EVENTS
from domain.events import DomainEvent
from projections.published import PUBLISHED, published
from tests.builders import (
    BUILDERS,
    enrollment_failed,
    enrollment_rejected,
    linked_service_registered,
    transaction_failed_closed,
    transaction_vendor_failed,
    user_consent_granted,
)


def test_every_event_has_an_entry_and_every_entry_an_event() -> None:
    assert set(PUBLISHED) == set(EVENTS.values())


@pytest.mark.parametrize("kind", EVENTS.values(), ids=EVENTS.keys())
def test_actions_are_snake_case_and_webhooks_dotted(kind: type[DomainEvent]) -> None:
    shown = published(BUILDERS[kind]())
    assert shown.action is None or re.fullmatch(r"[a-z]+(_[a-z]+)*", shown.action)
    assert shown.webhook is None or re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", shown.webhook)
    assert shown.subject == kind.NAME.partition(".")[0]


def test_names_are_those_of_the_seeds() -> None:
    assert published(linked_service_registered()).action == "linked_service_created"
    assert published(user_consent_granted()).webhook == "consent.granted"
    decided = published(transaction_failed_closed())
    assert (decided.action, decided.webhook) == (
        "device_transaction",
        "device.transaction.completed",
    )


@pytest.mark.parametrize("failed", [transaction_vendor_failed, enrollment_failed])
def test_the_vendors_internal_error_is_critical_under_the_seeds_name(
    failed: Callable[..., DomainEvent],
) -> None:
    shown = published(failed(vendor_code=50000))
    assert (shown.action, shown.severity) == ("palm_vendor_unauthorized", "critical")
    other = published(failed(vendor_code=None))
    assert (other.action, other.severity) != ("palm_vendor_unauthorized", "critical")


def test_a_palm_that_is_somebody_elses_is_of_high_severity() -> None:
    duplicate = published(enrollment_rejected(reason="duplicate_palm"))
    assert (duplicate.severity, duplicate.webhook) == ("high", "enrollment.duplicate_detected")
    poor = published(enrollment_rejected(reason="low_quality"))
    assert (poor.severity, poor.webhook) == ("warning", None)
