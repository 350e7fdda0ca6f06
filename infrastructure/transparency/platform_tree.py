"""The platform's own tree: its leaves are the checkpoints of the tenants' logs.

A leaf is the text of a checkpoint without its signatures. Whoever holds a checkpoint of a tenant
can so be shown that the platform stands to it before everybody.
"""

from typing import Final, LiteralString

from domain.transparency.merkle import leaf_hash
from domain.transparency.note import read_note
from domain.transparency.origin import PLATFORM_LOG
from infrastructure.database import Connection
from infrastructure.transparency.trees import grow

_NEW: Final[LiteralString] = """
    SELECT signed.log_id, signed.size, signed.note
    FROM public.transparency_checkpoints signed
    LEFT JOIN LATERAL (
        SELECT entry.size FROM public.platform_log_entries entry
        WHERE entry.log_id = signed.log_id ORDER BY entry.size DESC LIMIT 1
    ) AS last ON true
    WHERE signed.log_id <> %s AND signed.size > coalesce(last.size, 0)
    ORDER BY signed.log_id"""

_SIZE: Final[LiteralString] = """
    SELECT coalesce((SELECT size FROM public.transparency_trees WHERE log_id = %s), 0)"""

_ADD: Final[LiteralString] = """
    INSERT INTO public.platform_log_entries (leaf_index, log_id, size, leaf)
    SELECT * FROM unnest(%s::bigint[], %s::uuid[], %s::bigint[], %s::bytea[])"""


async def add_checkpoints(connection: Connection) -> int:
    """Take in every tenant's newest checkpoint that is not there yet; how many there were."""
    async with connection.transaction():
        new = await (await connection.execute(_NEW, (PLATFORM_LOG,))).fetchall()
        if not new:
            return 0
        found = await (await connection.execute(_SIZE, (PLATFORM_LOG,))).fetchone()
        first: int = found[0] if found is not None else 0
        leaves = [read_note(note).text.encode() for _, _, note in new]
        indexes = list(range(first, first + len(new)))
        await connection.execute(
            _ADD, (indexes, [row[0] for row in new], [row[1] for row in new], leaves)
        )
        hashed = [(index, leaf_hash(leaf)) for index, leaf in zip(indexes, leaves, strict=True)]
        await grow(connection, {PLATFORM_LOG: hashed})
    return len(new)
