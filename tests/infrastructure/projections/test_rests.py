"""A read model that takes a busy log in by several commits rests as long as after one."""

import asyncio
from typing import Final

import pytest

from infrastructure.projections import projector
from infrastructure.projections.projector import Pace
from tests.infrastructure.projections.watching import register, tally
from tests.projections.stage import PATIENCE_S, Stage

BATCH: Final = 5
TOLD: Final = 12


async def test_a_rest_is_as_long_as_all_that_came_since_the_last_is_worth(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: asking for the rest of the last commit alone, as it was, asks for two events'."""
    asked: asyncio.Queue[int] = asyncio.Queue()

    def rest_s(quiet_s: float, taken: int) -> float:
        asked.put_nowait(taken)
        return quiet_s

    monkeypatch.setattr(projector, "rest_s", rest_s)
    await register(stage, 0, TOLD)
    pace = Pace(batch=BATCH, live_interval_s=0.0, poll_s=600.0)
    async with stage.runner(tally(), pace=pace), asyncio.timeout(PATIENCE_S):
        assert await asked.get() == TOLD
