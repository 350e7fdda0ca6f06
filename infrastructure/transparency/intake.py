"""Takes events into the trees: a batch of the log, and the position, in one transaction.

Leaves are made and hashed by the database, beside the rows: what comes over is 32 bytes an event,
whatever its payload, and an event that this process does not know is a leaf like any other.
"""

from collections.abc import Mapping
from typing import Final, LiteralString

from domain.ids import TenantId
from infrastructure.database import Connection
from infrastructure.event_log.positions import LogGap
from infrastructure.transparency.trees import Leaf, grow

_POSITION: Final[LiteralString] = """
    SELECT "position" FROM public.transparency_position FOR UPDATE"""

_LEAVES: Final[LiteralString] = r"""
    SELECT position, tenant_id, sha256('\x00'::bytea || event_leaf(
        position, recorded_at, tenant_id, stream_id, stream_version, name, actor,
        correlation_id, command_id, payload))
    FROM public.events WHERE position > %s ORDER BY position LIMIT %s"""

_MOVE: Final[LiteralString] = """
    UPDATE public.transparency_position SET "position" = %s, moved_at = now()"""


async def take_in(connection: Connection, limit: int) -> tuple[int, Mapping[TenantId, int]]:
    """How many events were taken, at most `limit`, and the sizes of the trees that grew.

    Raises LogGap, TreeDamaged, psycopg.Error; then nothing has changed.
    """
    async with connection.transaction():
        found = await (await connection.execute(_POSITION)).fetchone()
        assert found is not None, "the migration put the row there"
        position: int = found[0]
        cursor = await connection.execute(_LEAVES, (position, limit), binary=True)
        leaves: dict[TenantId, list[Leaf]] = {}
        for at, tenant_id, leaf_hash in await cursor.fetchall():
            if at != position + 1:
                raise LogGap(f"position {position + 1} is missing: {at} follows {position}")
            position = at
            leaves.setdefault(tenant_id, []).append((at, leaf_hash))
        if not leaves:
            return 0, {}
        sizes = await grow(connection, leaves)
        await connection.execute(_MOVE, (position,))
    return position - found[0], sizes
