"""Health is told when it turns, and only then."""

import pytest

from domain import health as h
from tests.builders import (
    linked_service_became_healthy,
    linked_service_became_unhealthy,
    palm_vendor_became_healthy,
    palm_vendor_became_unhealthy,
)
from tests.spec import given

DOWN, UP = linked_service_became_unhealthy(), linked_service_became_healthy()
VENDOR_DOWN, VENDOR_UP = palm_vendor_became_unhealthy(), palm_vendor_became_healthy()


@pytest.mark.parametrize(("down", "up"), [(DOWN, UP), (VENDOR_DOWN, VENDOR_UP)])
def test_each_turn_is_told_once(down: h.HealthEvent, up: h.HealthEvent) -> None:
    given(h.rebuild).when(h.tell, down).then(down)
    given(h.rebuild).when(h.tell, up).then_nothing()
    given(h.rebuild, down).when(h.tell, down).then_nothing()
    given(h.rebuild, down).when(h.tell, up).then(up)
    given(h.rebuild, down, up).when(h.tell, up).then_nothing()
    given(h.rebuild, down, up).when(h.tell, down).then(down)


def test_three_failures_in_a_row_are_unhealthy_and_nobody_unasked_is_anything() -> None:
    assert [h.status(failures, ever_healthy=True) for failures in range(5)] == [
        "healthy",
        "healthy",
        "healthy",
        "unhealthy",
        "unhealthy",
    ]
    assert [h.status(failures, ever_healthy=False) for failures in range(4)] == [
        "unknown",
        "unknown",
        "unknown",
        "unhealthy",
    ]
