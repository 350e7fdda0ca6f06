"""Checks the chain of blocks: that what is stored is what was hashed when it was committed.

Block n's hash is SHA-256 over, one after the other: the hash of block n-1 (32 zero bytes for
the first), first and last position and the commit time as 64-bit big-endian integers (the time
in microseconds since 2000-01-01 UTC), and then, for tenant_id, stream_id, stream_version,
command_id, correlation_id, name, actor and payload, the column of the block's events as a
one-dimensional array in PostgreSQL's binary wire form. The chain finds an accident and a
careless hand; whoever can rewrite all of the database can rewrite it too, which is why what
auditors check is the transparency log.
"""

import hashlib
import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from infrastructure.event_log.wire_arrays import BYTEA_OID, INT8_OID, TEXT_OID, UUID_OID, header

GENESIS: Final = bytes(32)

_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_BLOCKS_PER_PAGE: Final = 200

_BLOCKS: Final = (
    "SELECT block_no, first_position, last_position, prev_hash, hash, recorded_at "
    "FROM event_blocks WHERE block_no > %s ORDER BY block_no LIMIT %s"
)
_EVENTS: Final = (
    "SELECT position, recorded_at, tenant_id, stream_id, stream_version, command_id, "
    "correlation_id, name, actor, payload FROM events "
    "WHERE position BETWEEN %s AND %s ORDER BY position"
)
_UNCOVERED: Final = "SELECT max(position) FROM events"


class BadBlock(Exception):
    """The first block, in order, that does not say what is stored."""

    def __init__(self, block_no: int, reason: str) -> None:
        self.block_no = block_no
        self.reason = reason
        super().__init__(f"block {block_no}: {reason}")


async def verify_blocks(connection: AsyncConnection[TupleRow]) -> int:
    """The number of blocks, all good. `connection` acts as link_projector (or an administrator).

    Raises BadBlock for the first bad one: wrong hash, missing or foreign event, broken chain.
    """
    previous = GENESIS
    block_no = position = 0
    while True:
        cursor = await connection.execute(_BLOCKS, (block_no, _BLOCKS_PER_PAGE))
        blocks = await cursor.fetchall()
        if not blocks:
            break
        events = await (
            await connection.execute(_EVENTS, (blocks[0][1], blocks[-1][2]), binary=True)
        ).fetchall()
        by_position = {event[0]: event for event in events}
        for block in blocks:
            _check(block, block_no + 1, position + 1, previous, by_position)
            block_no, position, previous = block[0], block[2], block[4]
    last = await (await connection.execute(_UNCOVERED)).fetchone()
    if last is not None and (last[0] or 0) > position:
        raise BadBlock(block_no + 1, f"is missing, but events reach to position {last[0]}")
    return block_no


def _check(
    block: TupleRow,
    number: int,
    first_position: int,
    previous: bytes,
    by_position: dict[int, TupleRow],
) -> None:
    block_no, first, last, prev_hash, stored_hash, recorded_at = block
    if block_no != number:
        raise BadBlock(number, f"is missing: {block_no} follows {number - 1}")
    if first != first_position or last < first:
        raise BadBlock(number, f"spans {first} to {last}, should begin at {first_position}")
    if prev_hash != previous:
        raise BadBlock(number, "does not continue the block before it")
    missing = next((at for at in range(first, last + 1) if at not in by_position), None)
    if missing is not None:
        raise BadBlock(number, f"the event at position {missing} is missing")
    events = [by_position[at] for at in range(first, last + 1)]
    if any(event[1] != recorded_at for event in events):
        raise BadBlock(number, "an event bears another commit time than its block")
    if block_hash(previous, first, last, recorded_at, [event[2:] for event in events]) != (
        stored_hash
    ):
        raise BadBlock(number, "its events are not those that were hashed")


def block_hash(
    previous: bytes,
    first_position: int,
    last_position: int,
    recorded_at: datetime,
    events: Sequence[Sequence[Any]],
) -> bytes:
    """An event is (tenant, stream, version, command, correlation, name, actor, payload)."""
    digest = hashlib.sha256(previous)
    microseconds = (recorded_at - _EPOCH) // timedelta(microseconds=1)
    digest.update(struct.pack(">qqq", first_position, last_position, microseconds))
    tenants, streams, versions, commands, correlations, names, actors, payloads = zip(
        *events, strict=True
    )
    for oid, cells in (
        (UUID_OID, _uuids(tenants)),
        (UUID_OID, _uuids(streams)),
        (INT8_OID, [struct.pack(">q", version) for version in versions]),
        (UUID_OID, _uuids(commands)),
        (UUID_OID, _uuids(correlations)),
        (TEXT_OID, [name.encode() for name in names]),
        (TEXT_OID, [actor.encode() for actor in actors]),
        (BYTEA_OID, payloads),
    ):
        digest.update(header(oid, len(cells)))
        for cell in cells:
            digest.update(struct.pack(">i", len(cell)))
            digest.update(cell)
    return digest.digest()


def _uuids(values: Sequence[UUID]) -> list[bytes]:
    return [value.bytes for value in values]
