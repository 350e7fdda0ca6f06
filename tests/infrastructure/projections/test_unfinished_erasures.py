"""Workers look for unfinished erasures a part at a time, and every one has its turn."""

from uuid import UUID

from domain.erasure import erasure_id
from domain.ids import UserId
from infrastructure.projections.unfinished_erasures import PostgresUnfinishedErasures
from projections import erasures
from tests.builders import erasure_completed, erasure_requested
from tests.projections.stage import Stage

PEOPLE = [UserId(UUID(int=number)) for number in range(1, 6)]


async def test_erasures_that_wait_keep_no_other_waiting(stage: Stage) -> None:
    """Seen to fail when every look begins with the oldest."""
    for user_id in PEOPLE:
        await stage.record(erasure_id(user_id), erasure_requested(user_id=user_id))
    await stage.record(erasure_id(PEOPLE[1]), erasure_completed())
    async with stage.runner(erasures.READ_MODEL) as runner:
        await stage.caught_up(runner, erasures.READ_MODEL)
    unfinished = PostgresUnfinishedErasures(stage.projector)
    looks = [[user_id for _, user_id in await unfinished.find(3)] for _ in range(3)]
    assert looks == [
        [PEOPLE[0], PEOPLE[2], PEOPLE[3]],
        [PEOPLE[4]],
        [PEOPLE[0], PEOPLE[2], PEOPLE[3]],
    ]
