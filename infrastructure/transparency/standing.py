"""How far the transparency log is behind the event log, for whoever watches the platform."""

from typing import Final, LiteralString

import msgspec

from infrastructure.database import Pool

_STANDING: Final[LiteralString] = """
    SELECT
        coalesce((SELECT position FROM public.events ORDER BY position DESC LIMIT 1), 0)
            - kept."position",
        coalesce((SELECT extract(epoch FROM clock_timestamp() - recorded_at)::float8
            FROM public.events WHERE position = kept."position" + 1), 0),
        (SELECT count(*) FROM public.transparency_trees tree
            LEFT JOIN public.transparency_checkpoints signed ON signed.log_id = tree.log_id
            WHERE tree.size IS DISTINCT FROM signed.size),
        (SELECT count(*) FROM public.transparency_checkpoints WHERE refused IS NOT NULL)
    FROM public.transparency_position kept"""


class LogStanding(msgspec.Struct, frozen=True):
    """`lag` events are no leaves yet, the first for `lag_s` seconds. `unsigned` logs differ from
    their checkpoints, which passes; `refused` ones do not continue them, which does not."""

    lag: int
    lag_s: float
    unsigned: int
    refused: int


async def standing(projector: Pool) -> LogStanding:
    """Raises psycopg.Error."""
    async with projector.connection() as connection:
        row = await (await connection.execute(_STANDING)).fetchone()
    assert row is not None, "the migration put the row there"
    return LogStanding(*row)
