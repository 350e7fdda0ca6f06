"""Time, ids and codes."""

import string
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import RFC_4122, UUID

import pytest

from application.ports import Clock, IdSource
from infrastructure.clock import SystemClock
from infrastructure.ids import RandomIds


class SetClock:
    """A clock that shows what it is told to show."""

    def __init__(self, present: datetime) -> None:
        self.present = present

    def now(self) -> datetime:
        return self.present

    def monotonic(self) -> float:
        return 0.0


NOON = datetime(2026, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC)


def milliseconds_of(value: UUID) -> int:
    return value.int >> 80


def test_the_system_clock_is_in_utc_and_aware() -> None:
    clock: Clock = SystemClock()
    before = datetime.now(UTC)
    present = clock.now()
    assert present.utcoffset() == timedelta(0)
    assert before <= present <= datetime.now(UTC)


def test_the_monotonic_clock_does_not_go_back() -> None:
    clock = SystemClock()
    readings = [clock.monotonic() for _ in range(1000)]
    assert readings == sorted(readings)


def test_an_id_is_a_uuid_of_version_7_with_the_time_in_front() -> None:
    ids: IdSource = RandomIds(SetClock(NOON))
    value = ids.uuid()
    assert (value.version, value.variant) == (7, RFC_4122)
    assert milliseconds_of(value) == int(NOON.timestamp() * 1000)


def test_the_fraction_of_the_millisecond_is_in_the_bits_below_it() -> None:
    ids = RandomIds(SetClock(NOON))
    assert (ids.uuid().int >> 64) & 0xFFF == 456 * 4096 // 1000


@pytest.mark.parametrize("step", [timedelta(0), timedelta(seconds=-5), timedelta(microseconds=1)])
def test_ids_ascend_even_when_the_clock_stands_still_or_goes_back(step: timedelta) -> None:
    clock = SetClock(NOON)
    ids = RandomIds(clock)
    drawn: list[UUID] = []
    for _ in range(5000):
        drawn.append(ids.uuid())
        clock.present += step / 5000
    assert drawn == sorted(set(drawn))


def test_threads_never_share_an_id() -> None:
    # A random source that always says the same leaves only the counter to tell the ids apart.
    class Constant(Random):
        def getrandbits(self, k: int, /) -> int:
            return k - k

    ids = RandomIds(SetClock(NOON), Constant())

    def draw(_: int) -> UUID:
        return ids.uuid()

    with ThreadPoolExecutor(8) as threads:
        drawn = list(threads.map(draw, range(8000)))
    assert len(set(drawn)) == 8000


def test_two_sources_that_see_the_same_time_draw_different_ids() -> None:
    clock = SetClock(NOON)
    assert RandomIds(clock).uuid() != RandomIds(clock).uuid()


def test_a_code_is_drawn_evenly_from_its_alphabet() -> None:
    alphabet = string.ascii_uppercase + string.digits
    counted = Counter(RandomIds(SetClock(NOON)).code(alphabet, 36_000))
    assert set(counted) == set(alphabet)
    # Each of 36 symbols is expected 1000 times with a standard deviation of 31.
    assert all(abs(count - 1000) < 250 for count in counted.values())


def test_codes_have_the_asked_length_and_do_not_repeat() -> None:
    ids = RandomIds(SetClock(NOON))
    codes = {ids.code(string.digits, 12) for _ in range(500)}
    assert len(codes) == 500
    assert {len(code) for code in codes} == {12}
