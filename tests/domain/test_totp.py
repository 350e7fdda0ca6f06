"""One-time codes as RFC 6238 Appendix B has them, and how far a clock may be off."""

from datetime import UTC, datetime

import pytest

from domain import totp

SECRET = b"12345678901234567890"


@pytest.mark.parametrize(
    ("at", "code"),
    [
        (59, "287082"),
        (1111111109, "081804"),
        (1111111111, "050471"),
        (1234567890, "005924"),
        (2000000000, "279037"),
        (20000000000, "353130"),
    ],
)
def test_the_codes_of_the_rfc(at: int, code: str) -> None:
    """The last six digits of the eight in Appendix B."""
    now = datetime.fromtimestamp(at, UTC)
    assert totp.code_at(SECRET, totp.step_of(now)) == code
    assert totp.matching_step(SECRET, code, now) == at // 30


@pytest.mark.parametrize(("off", "known"), [(-2, False), (-1, True), (1, True), (2, False)])
def test_a_clock_may_be_one_step_off(off: int, known: bool) -> None:
    now = datetime.fromtimestamp(1234567890, UTC)
    step = totp.step_of(now) + off
    found = totp.matching_step(SECRET, totp.code_at(SECRET, step), now)
    assert found == (step if known else None)


@pytest.mark.parametrize("code", ["", "00592", "0005924", "٠٠٥٩٢٤", "005924\n"])
def test_what_is_no_code_matches_nothing(code: str) -> None:
    assert totp.matching_step(SECRET, code, datetime.fromtimestamp(1234567890, UTC)) is None
