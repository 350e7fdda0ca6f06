"""A command is queued, delivered, and ends once; a lock is the device's own."""

from datetime import timedelta

import pytest

from domain import device as d
from domain import device_command as dc
from domain.errors import Invalid
from tests.builders import (
    NOW,
    device_command_completed,
    device_command_delivered,
    device_command_expired,
    device_command_queued,
    device_locked,
    device_registered,
    device_unlocked,
)
from tests.spec import given

QUEUED, DELIVERED = device_command_queued(), device_command_delivered()
COMPLETED, EXPIRED = device_command_completed(), device_command_expired()
LATER = QUEUED.expires_at


def test_a_command_is_queued_once() -> None:
    given(dc.rebuild).when(dc.queue, QUEUED).then(QUEUED)
    again = device_command_queued(expires_at=LATER + timedelta(minutes=1))
    given(dc.rebuild, QUEUED).when(dc.queue, again).then_nothing()
    other = device_command_queued(kind="lock", message=None)
    given(dc.rebuild, QUEUED).when(dc.queue, other).then_refused(Invalid, "idempotency_key_reused")


@pytest.mark.parametrize("changes", [{"message": None}, {"kind": "lock"}])
def test_a_message_goes_with_show_message_and_nothing_else(changes: dict[str, object]) -> None:
    asked = device_command_queued(**changes)
    given(dc.rebuild).when(dc.queue, asked).then_refused(Invalid, "message_invalid")


def test_the_first_delivery_is_told_and_none_after_time_is_up() -> None:
    given(dc.rebuild, QUEUED).when(dc.deliver, NOW).then(DELIVERED)
    given(dc.rebuild, QUEUED, DELIVERED).when(dc.deliver, NOW).then_nothing()
    given(dc.rebuild, QUEUED).when(dc.deliver, LATER).then_nothing()


@pytest.mark.parametrize(
    ("past", "due"),
    [
        ((QUEUED,), True),
        ((QUEUED, DELIVERED), True),
        ((QUEUED, DELIVERED, COMPLETED), False),
        ((QUEUED, EXPIRED), False),
    ],
)
def test_what_is_not_answered_is_due_again_and_again(
    past: tuple[dc.DeviceCommandEvent, ...], due: bool
) -> None:
    given(dc.rebuild, *past).when(dc.DeviceCommand.is_due, NOW).then_returns(due)
    given(dc.rebuild, *past).when(dc.DeviceCommand.is_due, LATER).then_returns(False)


def test_the_first_word_of_the_device_counts() -> None:
    done = device_command_completed(result="done", detail=None)
    given(dc.rebuild, QUEUED, DELIVERED).when(dc.complete, "failed", "screen_off").then(COMPLETED)
    given(dc.rebuild, QUEUED, COMPLETED).when(dc.complete, "done", None).then_nothing()
    given(dc.rebuild, QUEUED, EXPIRED).when(dc.complete, "done", None).then(done)


def test_time_is_up_once() -> None:
    given(dc.rebuild, QUEUED, DELIVERED).when(dc.expire, LATER).then(EXPIRED)
    given(dc.rebuild, QUEUED).when(dc.expire, LATER - timedelta(seconds=1)).then_nothing()
    given(dc.rebuild, QUEUED, EXPIRED).when(dc.expire, LATER).then_nothing()
    given(dc.rebuild, QUEUED, COMPLETED).when(dc.expire, LATER).then_nothing()


def test_a_device_is_locked_and_unlocked_once() -> None:
    registered, locked, unlocked = device_registered(), device_locked(), device_unlocked()
    given(d.rebuild, registered).when(d.lock).then(locked)
    given(d.rebuild, registered, locked).when(d.lock).then_nothing()
    given(d.rebuild, registered, locked).when(d.unlock).then(unlocked)
    given(d.rebuild, registered).when(d.unlock).then_nothing()
    given(d.rebuild, registered, locked, unlocked).when(d.lock).then(locked)
