"""The same events give the same rows, however often and in whatever portions they are told."""

from domain.catalogue import EVENTS
from infrastructure.projections.projector import Pace
from projections.catalogue import READ_MODELS
from tests.projections.stage import Stage
from tests.projections.story import STREAMS, tell


def test_the_story_tells_every_event() -> None:
    told = {type(event) for events in STREAMS.values() for event in events}
    told |= {EVENTS[name] for name in ("device.revoked", "pairing_code.issued")}
    assert told | {EVENTS["pairing_code.redeemed"]} == set(EVENTS.values())


async def test_rows_are_the_same_one_by_one_in_batches_and_after_a_rebuild(stage: Stage) -> None:
    await tell(stage)
    await stage.show(pace=Pace(batch=1, live_interval_s=0.0, poll_s=0.05))
    one_by_one = await stage.rows(*READ_MODELS)
    assert all(one_by_one.values()), "every table has rows"

    async with stage.projector.connection() as connection:
        for model in READ_MODELS:
            for table in model.tables:
                await connection.execute(f"TRUNCATE read_models.{table}".encode())
        await connection.execute("UPDATE projection_positions SET position = 0")
    await stage.show(pace=Pace(batch=7, live_interval_s=0.0, poll_s=0.05))
    assert await stage.rows(*READ_MODELS) == one_by_one

    async with stage.runner() as runner:
        for model in READ_MODELS:
            assert await runner.rebuild(model.name) == stage.last
        assert await stage.rows(*READ_MODELS) == one_by_one
        positions = {status.name: (status.position, status.lag) for status in await runner.status()}
    assert positions == {model.name: (stage.last, 0) for model in READ_MODELS}
