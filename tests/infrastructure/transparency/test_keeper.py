"""The keeper: what was appended comes under a checkpoint, in one process at a time."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import psycopg
import pytest

from domain.ids import TenantId
from domain.transparency.origin import PLATFORM_LOG
from infrastructure.database import Connection
from infrastructure.endings import end
from infrastructure.event_log.positions import LogGap
from infrastructure.transparency.keeper import LOCK, LogKeeper, Pace
from infrastructure.transparency.signer import CheckpointSigner
from infrastructure.transparency.standing import LogStanding, standing
from tests.infrastructure.event_log.notes import A, B
from tests.infrastructure.transparency.stage import Stage

PATIENCE_S = 60.0
QUICK = Pace(rest_s=0.01, sign_s=0.01, platform_s=0.01, poll_s=0.05, share=1.0)


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():  # noqa: ASYNC110 - what is waited for is in the database
            await asyncio.sleep(0.02)


@asynccontextmanager
async def kept(stage: Stage, pace: Pace = QUICK) -> AsyncGenerator[LogKeeper]:
    keeper = LogKeeper(stage.dsn, stage.signer, pace=pace)
    task = asyncio.create_task(keeper.run())
    try:
        yield keeper
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def signed(stage: Stage, size: int, log_id: object = A) -> Callable[[], Awaitable[bool]]:
    async def reached() -> bool:
        found = stage.admin("SELECT size FROM transparency_checkpoints WHERE log_id = %s", log_id)
        return found == [(size,)]

    return reached


async def test_what_is_appended_is_signed(stage: Stage) -> None:
    await stage.append(300)
    async with kept(stage):
        await eventually(signed(stage, 300))
        await stage.append(20)
        await stage.append(1, tenant_id=B)
        await eventually(signed(stage, 320))
        await eventually(signed(stage, 1, B))
    assert (await stage.opened()).root == stage.root()


class StandsStill(CheckpointSigner):
    """A process that freezes with the turn in its hands."""

    def __init__(self, signer: CheckpointSigner) -> None:
        self.__dict__.update(signer.__dict__)
        self.asked = asyncio.Event()

    async def sign(self, connection: Connection, logs: Sequence[TenantId] | None = None) -> int:
        self.asked.set()
        await asyncio.Event().wait()
        return await super().sign(connection, logs)


async def test_another_process_keeps_the_log_when_one_stands_still(stage: Stage) -> None:
    """Seen to fail without `idle_session_timeout`: the lock stayed with the frozen one."""
    await stage.append(3)
    frozen = StandsStill(stage.signer)
    pace = Pace(rest_s=0.01, sign_s=0.01, platform_s=0.01, poll_s=0.05, frozen_s=2.0)
    stuck = asyncio.create_task(LogKeeper(stage.dsn, frozen, pace=pace).run())
    try:
        async with asyncio.timeout(PATIENCE_S):
            await frozen.asked.wait()
        async with kept(stage):
            await eventually(signed(stage, 3))
    finally:
        await end([stuck])


async def test_it_catches_up_while_it_works_a_share_of_the_time(stage: Stage) -> None:
    await stage.append(500)
    async with kept(stage, Pace(batch=20, rest_s=0.01, sign_s=0.01, share=0.5)):
        await eventually(signed(stage, 500))
    assert (await stage.opened()).root == stage.root()


async def test_news_wake_it(stage: Stage) -> None:
    """With a poll of an hour, only `heard` can have it look."""
    async with kept(stage, Pace(rest_s=0.01, sign_s=0.0, poll_s=3600)) as keeper:
        await eventually(held(stage))
        await stage.append(1)

        async def told() -> bool:
            keeper.heard(await stage.log.read(0, 1))
            return await signed(stage, 1)()

        await eventually(told)


def cut_off(stage: Stage) -> None:
    """End the connection of whoever keeps this log."""
    stage.admin(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND objid = %s"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        LOCK,
    )


def held(stage: Stage) -> Callable[[], Awaitable[bool]]:
    async def is_held() -> bool:
        found = stage.admin(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            LOCK,
        )
        return found == [(1,)]

    return is_held


async def test_a_second_process_stands_by_and_takes_over(stage: Stage) -> None:
    await stage.append(5)
    async with kept(stage):
        await eventually(signed(stage, 5))
        async with kept(stage):
            await stage.append(5)
            await eventually(signed(stage, 10))
            # The one that holds the lock loses its connection: somebody goes on.
            cut_off(stage)
            await stage.append(5)
            await eventually(signed(stage, 15))
    assert (await stage.opened()).root == stage.root()


async def test_keepers_that_are_cut_off_again_and_again_lose_and_double_nothing(
    stage: Stage,
) -> None:
    """Three processes take turns; whoever keeps the log is cut off in the middle of it."""
    small = Pace(batch=7, rest_s=0.0, sign_s=0.0, platform_s=0.0, poll_s=0.01, share=1.0)
    async with kept(stage, small), kept(stage, small), kept(stage, small):
        for _ in range(15):
            await stage.append(40)
            await stage.append(20, tenant_id=B)
            cut_off(stage)
        await eventually(signed(stage, 600))
        await eventually(signed(stage, 300, B))
    for tenant in (A, B):
        assert (await stage.opened(tenant)).root == stage.root(tenant)


async def test_it_does_nothing_while_another_holds_the_lock(stage: Stage) -> None:
    await stage.append(1)
    async with await psycopg.AsyncConnection.connect(stage.dsn, autocommit=True) as other:
        await other.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        async with kept(stage):
            await asyncio.sleep(0.3)
            assert await stage.reads.checkpoint(A) is None
            await other.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))
            await eventually(signed(stage, 1))


async def test_what_a_keeper_left_unsigned_the_next_one_signs(stage: Stage) -> None:
    await stage.append(5)
    await stage.take_in()
    async with kept(stage):
        await eventually(signed(stage, 5))


async def test_the_platform_tree_follows(stage: Stage) -> None:
    await stage.append(5)
    async with kept(stage):
        await eventually(signed(stage, 1, PLATFORM_LOG))
        await stage.append(5)
        await eventually(signed(stage, 2, PLATFORM_LOG))


async def test_a_damaged_log_ends_it(stage: Stage) -> None:
    await stage.append(3)
    stage.admin("ALTER TABLE events DISABLE TRIGGER append_only")
    stage.admin("DELETE FROM events WHERE position = 2")
    keeper = LogKeeper(stage.dsn, stage.signer, pace=QUICK)
    with pytest.raises(ExceptionGroup) as raised:
        await asyncio.wait_for(keeper.run(), PATIENCE_S)
    assert raised.group_contains(LogGap)
    assert await stage.reads.checkpoint(A) is None


async def test_how_far_it_is_behind_can_be_read(stage: Stage) -> None:
    await stage.append(5)
    before = await standing(stage.projector)
    assert (before.lag, before.unsigned, before.refused) == (5, 0, 0)
    assert before.lag_s > 0
    await stage.take_in()
    assert await standing(stage.projector) == LogStanding(0, 0.0, 1, 0)
    await stage.sign()
    assert await standing(stage.projector) == LogStanding(0, 0.0, 0, 0)
    # Another byte, whichever it was.
    stage.admin(
        "UPDATE transparency_tiles SET hashes = set_byte(hashes, 0, get_byte(hashes, 0) # 1)"
    )
    await stage.append(1)
    await stage.sign()
    assert await standing(stage.projector) == LogStanding(0, 0.0, 1, 1)
