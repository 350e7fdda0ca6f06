"""Rotation of the key-encryption key while everything runs: new key, re-wrap, destroy the old.

Only tenants' keys are wrapped anew; what hangs under them stays as it is. The old key opens
until the last one is done. A rotation that was interrupted is finished by the next one.
"""

from collections.abc import Callable
from typing import Final, LiteralString

import msgspec
from psycopg import AsyncConnection

from domain.ids import TenantId
from infrastructure.database import OWNER_ROLE, Connection, acting_as
from infrastructure.keys.key_encryption import KeyEncryption
from infrastructure.keys.keyring import KeyringUnusable
from infrastructure.keys.tenant_keys import belongs_to

BATCH: Final = 100
LOCK_KEY: Final = 7_301_235

_LOCK: Final[LiteralString] = "SELECT pg_try_advisory_lock(%s)"
_CURRENT: Final[LiteralString] = """
    SELECT key_id FROM key_encryption_keys WHERE retired_at IS NULL"""
_RETIRE: Final[LiteralString] = """
    UPDATE key_encryption_keys SET retired_at = now() WHERE retired_at IS NULL"""
_MAKE_CURRENT: Final[LiteralString] = "INSERT INTO key_encryption_keys (key_id) VALUES (%s)"
_NOT_YET: Final[LiteralString] = """
    SELECT tenant_id, key_version, kek_id, wrapped_key FROM tenant_keys
    WHERE kek_id <> %s ORDER BY tenant_id, key_version LIMIT %s FOR UPDATE"""
_REWRAP: Final[LiteralString] = """
    UPDATE tenant_keys SET kek_id = %s, wrapped_key = %s
    WHERE tenant_id = %s AND key_version = %s"""
_DESTROYED: Final[LiteralString] = """
    UPDATE key_encryption_keys SET destroyed_at = now()
    WHERE retired_at IS NOT NULL AND destroyed_at IS NULL RETURNING key_id"""


class RotationRefused(Exception):
    """A rotation is on already, or the keeper does not hold what it must."""


class Rotated(msgspec.Struct, frozen=True, kw_only=True):
    """The key that wraps now, how many tenants' keys were wrapped anew, and what was destroyed."""

    key_id: str
    rewrapped: int
    destroyed: tuple[str, ...]


async def rotate(
    dsn: str,
    keeper: KeyEncryption,
    *,
    prepared: bool = False,
    keep_old: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> Rotated:
    """Wrap every tenant's key by a new key-encryption key, and destroy the old one.

    `prepared`: the new key is in the keeper already, as the first; else it is made. `keep_old`
    leaves the old one with the keeper, for processes elsewhere whose copy must be changed first.
    `progress` hears how many have been wrapped. Raises RotationRefused, KeyringUnusable.
    """
    connection = await AsyncConnection.connect(acting_as(dsn, OWNER_ROLE), autocommit=True)
    async with connection:
        got = await (await connection.execute(_LOCK, (LOCK_KEY,))).fetchone()
        if got is None or not got[0]:
            raise RotationRefused("another rotation of the key-encryption key is on")
        key_id = await _next(connection, keeper, prepared=prepared)
        rewrapped = 0
        while done := await _rewrap_some(connection, keeper, key_id):
            rewrapped += done
            progress(rewrapped)
        destroyed: tuple[str, ...] = ()
        if not keep_old:
            destroyed = await _destroy_old(connection, keeper, key_id)
        return Rotated(key_id=key_id, rewrapped=rewrapped, destroyed=destroyed)


async def _next(connection: Connection, keeper: KeyEncryption, *, prepared: bool) -> str:
    """The key that is to wrap from now on, made the current one."""
    keeper.refresh()
    row = await (await connection.execute(_CURRENT)).fetchone()
    current = None if row is None else str(row[0])
    if current is not None and current not in keeper.ids():
        raise KeyringUnusable(
            f"the keeper does not hold {current}, which wraps the tenants' keys of this database"
        )
    key_id = keeper.ids()[0]
    if key_id == current:
        if prepared:
            raise RotationRefused("the first key of the keeper is the current one already")
        if len(keeper.ids()) == 1:
            key_id = keeper.add()
    if key_id != current:
        async with connection.transaction():
            await connection.execute(_RETIRE)
            await connection.execute(_MAKE_CURRENT, (key_id,))
    return key_id


async def _rewrap_some(connection: Connection, keeper: KeyEncryption, key_id: str) -> int:
    async with connection.transaction():
        rows = await (await connection.execute(_NOT_YET, (key_id, BATCH))).fetchall()
        for tenant_id, version, old, wrapped in rows:
            tenant = TenantId(tenant_id)
            key = keeper.unwrap(old, wrapped, belongs_to(tenant, version, old))
            again = keeper.wrap(key_id, key, belongs_to(tenant, version, key_id))
            await connection.execute(_REWRAP, (key_id, again, tenant_id, version))
    return len(rows)


async def _destroy_old(
    connection: Connection, keeper: KeyEncryption, key_id: str
) -> tuple[str, ...]:
    """Nothing is wrapped by a retired key any more, and nothing can be (0035): let them go."""
    for old in keeper.ids():
        if old != key_id:
            keeper.destroy(old)
    rows = await (await connection.execute(_DESTROYED)).fetchall()
    return tuple(str(row[0]) for row in rows)
