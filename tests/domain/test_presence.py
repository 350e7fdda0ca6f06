"""Heartbeats are counted, and what turns is told once."""

from datetime import timedelta

import msgspec
import pytest

from domain import presence as p
from tests.builders import (
    DEVICE,
    NOW,
    device_came_back,
    device_certificate_forked,
    device_clock_corrected,
    device_clock_skewed,
    device_went_offline,
)
from tests.spec import given


def beat(seq: int, boot_id: str = "boot-a", *, at_s: float = 0, ahead_s: float = 0) -> p.Beat:
    received_at = NOW + timedelta(seconds=at_s)
    return p.Beat(
        fingerprint="ab" * 32,
        boot_id=boot_id,
        seq=seq,
        device_time=received_at + timedelta(seconds=ahead_s),
        received_at=received_at,
        interval_s=60,
    )


def after(*beats: p.Beat) -> p.Heard:
    heard: p.Heard | None = None
    for each in beats:
        heard = p.hear(heard, each) or heard
    assert heard is not None
    return heard


def test_numbers_that_do_not_go_on_are_not_counted() -> None:
    heard = after(beat(5))
    for seq in (5, 4, 0):
        assert p.hear(heard, beat(seq, at_s=60)) is None
    assert p.hear(heard, beat(6, at_s=60)) == after(beat(6, at_s=60))


def test_a_gap_says_how_many_never_came() -> None:
    assert after(beat(1), beat(2), beat(5), beat(6), beat(10)).missed == 5
    assert after(beat(1), beat(9), beat(0, "boot-b")).missed == 0


def test_a_device_that_restarts_counts_anew_and_late_packets_of_before_are_nothing() -> None:
    heard = after(beat(90), beat(0, "boot-b", at_s=60))
    assert (heard.boot_id, heard.seq, heard.forks) == ("boot-b", 0, 0)
    assert p.hear(heard, beat(89, at_s=61)) is None


def test_two_runs_that_both_go_on_are_two_devices() -> None:
    """One beat of the run before may be a packet that was late; the second is no accident."""
    once = after(beat(1), beat(1, "boot-b"), beat(2))
    assert once.forks == 1
    twice = after(beat(1), beat(1, "boot-b"), beat(2), beat(2, "boot-b"))
    assert twice.forks == p.FORKS_TOLD
    renewed = msgspec.structs.replace(beat(3, "boot-b"), fingerprint="cd" * 32)
    assert after(beat(1), beat(1, "boot-b"), beat(2), beat(2, "boot-b"), renewed).forks == 0


@pytest.mark.parametrize(
    ("silent_s", "status"),
    [(0, "online"), (90, "online"), (90.1, "late"), (180, "late"), (180.1, "offline")],
)
def test_silence_is_late_and_then_offline(silent_s: float, status: p.PresenceStatus) -> None:
    assert p.status(after(beat(1)), NOW + timedelta(seconds=silent_s)) == status


def test_a_device_never_heard_of_is_neither() -> None:
    assert p.status(None, NOW) == "never"


def test_the_offset_is_ours_to_compute() -> None:
    assert after(beat(1, ahead_s=-180)).offset_ms == -180_000
    assert after(beat(1, ahead_s=0.0004)).offset_ms == 0


def test_each_turn_is_told_once() -> None:
    heard, skewed = after(beat(1)), after(beat(1, ahead_s=-180))
    forked = msgspec.structs.replace(heard, forks=p.FORKS_TOLD)
    gone, back = device_went_offline(), device_came_back()
    off, right = device_clock_skewed(), device_clock_corrected(offset_ms=0)
    copied = device_certificate_forked()
    given(p.rebuild).when(p.tell, DEVICE, heard, offline=False).then_nothing()
    given(p.rebuild).when(p.tell, DEVICE, heard, offline=True).then(gone)
    given(p.rebuild, gone).when(p.tell, DEVICE, heard, offline=True).then_nothing()
    given(p.rebuild, gone).when(p.tell, DEVICE, heard, offline=False).then(back)
    given(p.rebuild, gone, back).when(p.tell, DEVICE, heard, offline=True).then(gone)
    given(p.rebuild).when(p.tell, DEVICE, skewed, offline=False).then(off)
    given(p.rebuild, off).when(p.tell, DEVICE, skewed, offline=False).then_nothing()
    given(p.rebuild, off).when(p.tell, DEVICE, heard, offline=False).then(right)
    given(p.rebuild).when(p.tell, DEVICE, forked, offline=False).then(copied)
    given(p.rebuild, copied).when(p.tell, DEVICE, forked, offline=False).then_nothing()
    other = msgspec.structs.replace(forked, fingerprint="cd" * 32)
    given(p.rebuild, copied).when(p.tell, DEVICE, other, offline=False).then(
        device_certificate_forked(fingerprint="cd" * 32)
    )
