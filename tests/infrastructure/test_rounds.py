"""Rounds are done by one process at a time, and by another one when that one is gone."""

import asyncio
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
