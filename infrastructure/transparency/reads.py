"""`TransparencyLogs` on PostgreSQL, each read held to one log by row-level security.

Nothing beyond the last checkpoint is shown: a tile is as wide as the signed tree has it, and the
leaves of an event that is not signed yet are not served.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final, LiteralString
from uuid import UUID

from application.ports.transparency import LogIdentity, SignedCheckpoint
from domain.ids import TenantId
from domain.transparency import tiles
from domain.transparency.checkpoint import read_decimal
from domain.transparency.merkle import (
    HASH_BYTES,
    consistency_spans,
    inclusion_spans,
    prove_consistency,
    prove_inclusion,
)
from domain.transparency.note import VerifierKey, read_note
from domain.transparency.origin import PLATFORM_LOG, origin_of
from domain.transparency.proof import TlogProof
from infrastructure.database import Connection, Pool, tenant_scope
from infrastructure.transparency.trees import read_tiles

_CHECKPOINT: Final[LiteralString] = """
    SELECT size, note, final_size, final_note FROM public.transparency_checkpoints
    WHERE log_id = %s"""

_TILE: Final[LiteralString] = """
    SELECT hashes, first_position FROM public.transparency_tiles
    WHERE log_id = %s AND level = %s AND tile_index = %s"""

_LEAVES: Final[LiteralString] = """
    SELECT event_leaf(position, recorded_at, tenant_id, stream_id, stream_version, name, actor,
        correlation_id, command_id, payload)
    FROM public.events WHERE tenant_id = %s AND position >= %s ORDER BY position LIMIT %s"""

_PLATFORM_LEAVES: Final[LiteralString] = """
    SELECT leaf FROM public.platform_log_entries WHERE leaf_index >= %s
    ORDER BY leaf_index LIMIT %s"""

_OF_STREAM: Final[LiteralString] = """
    SELECT position FROM public.events
    WHERE tenant_id = %s AND stream_id = %s AND stream_version = %s"""

# Counted from the last tile of level 0 that begins at or before the event, or from the first event.
_INDEX: Final[LiteralString] = """
    SELECT coalesce(tile.tile_index, 0) * 256 + (
        SELECT count(*) FROM public.events before
        WHERE before.tenant_id = %(log)s AND before.position < %(position)s
            AND before.position >= coalesce(tile.first_position, 0))
    FROM public.events own
    LEFT JOIN LATERAL (
        SELECT tile_index, first_position FROM public.transparency_tiles
        WHERE log_id = %(log)s AND level = 0 AND first_position <= %(position)s
        ORDER BY first_position DESC LIMIT 1
    ) AS tile ON true
    WHERE own.tenant_id = %(log)s AND own.position = %(position)s"""

_STREAM_EVENT: Final = re.compile(r"(?:[a-z]{1,8}_)?([0-9a-f-]{32,36}):([0-9]{1,19})", re.ASCII)


class PostgresTransparencyLogs:
    def __init__(
        self,
        pool: Pool,
        projector: Pool,
        prefix: str,
        public_key: bytes,
        *,
        witnesses: Sequence[VerifierKey] = (),
        witnesses_required: int = 0,
    ) -> None:
        """`pool` is link_app's; `projector` reads the leaves of the platform's tree, which belong
        to no tenant."""
        self._pool = pool
        self._projector = projector
        self._prefix = prefix
        self._public_key = public_key
        self._witnesses = tuple(witness.vkey() for witness in witnesses)
        self._required = witnesses_required

    def identity(self, log_id: TenantId) -> LogIdentity:
        origin = origin_of(self._prefix, log_id)
        return LogIdentity(
            origin=origin,
            vkey=VerifierKey(origin, self._public_key).vkey(),
            witnesses=self._witnesses,
            witnesses_required=self._required,
        )

    async def checkpoint(self, log_id: TenantId, *, final: bool = False) -> SignedCheckpoint | None:
        async with tenant_scope(self._pool, log_id) as connection:
            return await _checkpoint(connection, log_id, final=final)

    async def tile(self, log_id: TenantId, tile: tiles.Tile) -> bytes | None:
        async with tenant_scope(self._pool, log_id) as connection:
            signed = await _checkpoint(connection, log_id)
            if signed is None or not tiles.in_tree(tile, signed.size):
                return None
            cursor = await connection.execute(_TILE, (log_id, tile.level or 0, tile.index))
            row = await cursor.fetchone()
            if row is None:
                return None
            hashes, first_position = row
            if tile.level is not None:
                return bytes(hashes[: tile.width * HASH_BYTES])
            if log_id != PLATFORM_LOG:
                cursor = await connection.execute(_LEAVES, (log_id, first_position, tile.width))
                return _bundle(await cursor.fetchall(), tile.width)
        async with self._projector.connection() as connection:
            cursor = await connection.execute(_PLATFORM_LEAVES, (first_position, tile.width))
            return _bundle(await cursor.fetchall(), tile.width)

    async def leaf_index(self, log_id: TenantId, event_id: str) -> int | None:
        async with tenant_scope(self._pool, log_id) as connection:
            position = await _position(connection, log_id, event_id)
            if position is None:
                return None
            cursor = await connection.execute(_INDEX, {"log": log_id, "position": position})
            row = await cursor.fetchone()
        return None if row is None else int(row[0])

    async def proof(self, log_id: TenantId, index: int, *, final: bool = False) -> str | None:
        async with tenant_scope(self._pool, log_id) as connection:
            signed = await _checkpoint(connection, log_id, final=final)
            if signed is None or not 0 <= index < signed.size:
                return None
            spans = inclusion_spans(index, signed.size)
            at = await read_tiles(connection, log_id, spans, signed.size)
        path = prove_inclusion(index, signed.size, at)
        return TlogProof(index=index, path=tuple(path), checkpoint=read_note(signed.note)).encode()

    async def consistency(self, log_id: TenantId, old: int, new: int) -> tuple[bytes, ...] | None:
        async with tenant_scope(self._pool, log_id) as connection:
            signed = await _checkpoint(connection, log_id)
            if signed is None or not 0 < old <= new <= signed.size:
                return None
            at = await read_tiles(connection, log_id, consistency_spans(old, new), new)
        return tuple(prove_consistency(old, new, at))


async def _checkpoint(
    connection: Connection, log_id: TenantId, *, final: bool = False
) -> SignedCheckpoint | None:
    row = await (await connection.execute(_CHECKPOINT, (log_id,))).fetchone()
    if row is None:
        return None
    size, note, final_size, final_note = row
    if final or size == final_size:
        # The same checkpoint with its cosignatures.
        size, note = final_size, final_note
    if note is None:
        return None
    return SignedCheckpoint(size=size, note=note, final=size == final_size)


async def _position(connection: Connection, log_id: TenantId, event_id: str) -> int | None:
    """The position that an event id names, if the event is of this log."""
    position = read_decimal(event_id)
    if position is not None:
        return position
    found = _STREAM_EVENT.fullmatch(event_id)
    version = None if found is None else read_decimal(found[2])
    if found is None or version is None:
        return None
    try:
        stream_id = UUID(found[1])
    except ValueError:
        return None
    cursor = await connection.execute(_OF_STREAM, (log_id, stream_id, version))
    row = await cursor.fetchone()
    return None if row is None else int(row[0])


def _bundle(rows: Iterable[tuple[bytes]], width: int) -> bytes | None:
    """None when leaves are missing: then the log is damaged, and a part would not say so."""
    leaves = [leaf for (leaf,) in rows]
    return tiles.bundle(leaves) if len(leaves) == width else None
