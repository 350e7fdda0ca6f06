"""Rounds are done by one process at a time, and by another one when that one is gone."""

import asyncio
import threading
import time
from collections.abc import Callable

import psycopg
import pytest

from application.ports import CommitFailed
from infrastructure.rounds import Rounds

EVERY_S = 0.02
PATIENCE_S = 30.0


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - there is nobody to set an event
            await asyncio.sleep(0.01)


class Work:
    """Counts its rounds, and fails in the way that it is told to, once."""

    def __init__(self) -> None:
        self.rounds = 0
        self.fails: Exception | None = None

    async def __call__(self) -> None:
        self.rounds += 1
        fails, self.fails = self.fails, None
        if fails is not None:
            raise fails


async def test_one_of_two_does_the_rounds_and_the_other_follows_it(database: str) -> None:
    first, second = Work(), Work()
    async with Rounds(database, "sweeper", EVERY_S, second) as standing_by:
        await until(lambda: second.rounds > 0)
        async with Rounds(database, "sweeper", EVERY_S, first):
            before = second.rounds
            await until(lambda: second.rounds > before + 5)
            assert first.rounds == 0
            await standing_by.__aexit__(None, None, None)
            await until(lambda: first.rounds > 0)
            done = second.rounds
            await until(lambda: first.rounds > 5)
            assert second.rounds == done


async def test_rounds_of_different_names_do_not_wait_for_each_other(database: str) -> None:
    first, second = Work(), Work()
    async with (
        Rounds(database, "sweeper", EVERY_S, first),
        Rounds(database, "sweep of another kind", EVERY_S, second),
    ):
        await until(lambda: first.rounds > 1 and second.rounds > 1)


@pytest.mark.parametrize("fails", [CommitFailed("away"), psycopg.OperationalError("away")])
async def test_what_passes_by_itself_ends_a_round_and_not_the_rounds(
    database: str, fails: Exception
) -> None:
    work = Work()
    work.fails = fails
    async with Rounds(database, "sweeper", EVERY_S, work):
        await until(lambda: work.rounds > 2)


async def test_a_lost_connection_gives_the_turn_back(database: str) -> None:
    work = Work()
    async with Rounds(database, "sweeper", EVERY_S, work):
        await until(lambda: work.rounds > 0)
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        done = work.rounds
        await until(lambda: work.rounds > done + 2)


async def test_a_process_that_stands_still_gives_its_turn_up(database: str) -> None:
    """Seen to fail when the session has no time-out: then the turn is its own for ever."""
    taken = threading.Event()

    def take_over() -> None:
        with psycopg.connect(database, autocommit=True) as other:
            query = "SELECT pg_try_advisory_lock(7310590, hashtext('sweeper'))"
            for _ in range(300):
                if other.execute(query).fetchone() == (True,):
                    taken.set()
                    return
                time.sleep(0.1)

    thread = threading.Thread(target=take_over)
    found: list[bool] = []

    async def stand_still() -> None:
        thread.start()
        found.append(taken.wait(40.0))  # nothing else of this process goes on meanwhile

    async with Rounds(database, "sweeper", 60.0, stand_still, frozen_s=2.0):
        await until(lambda: bool(found))
    thread.join()
    assert found == [True]


async def test_a_round_may_be_long(database: str) -> None:
    """Seen to fail when nothing is said during a round: then anybody may take the turn."""
    free: list[object] = []

    async def long() -> None:
        await asyncio.sleep(9.0)
        with psycopg.connect(database, autocommit=True) as other:
            query = "SELECT pg_try_advisory_lock(7310590, hashtext('sweeper'))"
            free.append(other.execute(query).fetchone())

    async with Rounds(database, "sweeper", EVERY_S, long, frozen_s=6.0):
        await until(lambda: bool(free))
    assert free[0] == (False,)


async def test_a_bug_ends_the_rounds_and_is_heard(database: str) -> None:
    work = Work()
    work.fails = ZeroDivisionError("a bug")
    rounds = Rounds(database, "sweeper", EVERY_S, work)
    await rounds.__aenter__()
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(ZeroDivisionError):
            await rounds.until_failure()
    with pytest.raises(ZeroDivisionError):
        await rounds.__aexit__(None, None, None)
