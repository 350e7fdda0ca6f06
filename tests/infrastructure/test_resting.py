"""How long followers of the log rest."""

from infrastructure.resting import BUSY_EVENTS, rest_s


def test_a_busy_log_makes_rests_longer() -> None:
    assert rest_s(0.05, 0) == rest_s(0.05, BUSY_EVENTS - 1) == 0.05
    assert rest_s(0.05, BUSY_EVENTS) == 0.25


def test_who_does_not_rest_does_not_rest_on_a_busy_log() -> None:
    assert rest_s(0.0, 10 * BUSY_EVENTS) == 0.0
