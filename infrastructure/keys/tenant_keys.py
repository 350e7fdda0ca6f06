"""Tenants' keys: 32 random bytes each, wrapped by the key-encryption key, made on first use.

They wrap people's keys and key the tenant's commitments. The platform's own key is that of the
tenant PLATFORM, and the keyring is derived from it (`platform_keyring`), so that a rotation of
the key-encryption key changes no digest and no sealed value.
"""

import os
from collections.abc import Sequence
from typing import Final, LiteralString

from psycopg.errors import ObjectNotInPrerequisiteState

from domain.ids import PLATFORM, TenantId
from infrastructure.database import Connection, Pool, tenant_scope
from infrastructure.keys.key_encryption import KeyEncryption
from infrastructure.keys.keyring import KEY_BYTES, Keyring, KeyringUnusable

_FIRST_VERSION: Final = 1
_TRIES: Final = 3

_CURRENT: Final[LiteralString] = """
    SELECT key_version, kek_id, wrapped_key FROM tenant_keys
    WHERE tenant_id = %s ORDER BY key_version DESC LIMIT 1"""

_VERSION: Final[LiteralString] = """
    SELECT key_version, kek_id, wrapped_key FROM tenant_keys
    WHERE tenant_id = %s AND key_version = %s"""

_CURRENT_KEK: Final[LiteralString] = """
    SELECT key_id FROM key_encryption_keys WHERE retired_at IS NULL"""

# Of several first processes one registers its key; the others' are then not the current one.
_REGISTER_KEK: Final[LiteralString] = """
    INSERT INTO key_encryption_keys (key_id)
    SELECT %s WHERE NOT EXISTS (SELECT FROM key_encryption_keys)
    ON CONFLICT DO NOTHING"""

_ADD: Final[LiteralString] = """
    INSERT INTO tenant_keys (tenant_id, key_version, kek_id, wrapped_key)
    VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING"""

_SEALED_BEFORE: Final[LiteralString] = "SELECT EXISTS (SELECT FROM key_material)"


def belongs_to(tenant_id: TenantId, version: int, kek_id: str) -> str:
    """Where a wrapped key stands: table, column, tenant, version, and under which key."""
    return f"tenant_keys.wrapped_key/{tenant_id}/{version}/{kek_id}"


class TenantKeys:
    """Opens tenants' keys over a connection that is in the tenant's scope.

    Everything raises KeyringUnusable when the key-encryption key is not the one that belongs to
    this database, or a wrapped key was moved or altered.
    """

    def __init__(self, keeper: KeyEncryption) -> None:
        self._keeper = keeper

    async def current(self, connection: Connection, tenant_id: TenantId) -> tuple[int, bytes]:
        """The version and bytes of the key that wraps new things; made when there is none."""
        found = await self._open(connection, tenant_id, _CURRENT, (tenant_id,))
        if found is None:
            await self._make(connection, tenant_id, os.urandom(KEY_BYTES))
            found = await self._open(connection, tenant_id, _CURRENT, (tenant_id,))
            assert found is not None, "a tenant's key is never deleted"
        return found

    async def version(self, connection: Connection, tenant_id: TenantId, version: int) -> bytes:
        """The key of one version. Raises KeyringUnusable when there is none."""
        found = await self._open(connection, tenant_id, _VERSION, (tenant_id, version))
        if found is None:
            raise KeyringUnusable(f"tenant {tenant_id} has no key of version {version}")
        return found[1]

    async def _open(
        self,
        connection: Connection,
        tenant_id: TenantId,
        query: LiteralString,
        parameters: Sequence[object],
    ) -> tuple[int, bytes] | None:
        row = await (await connection.execute(query, parameters)).fetchone()
        if row is not None and row[1] not in self._keeper.ids():
            # Rotated since we looked at the keys, or since we read the row.
            self._keeper.refresh()
            row = await (await connection.execute(query, parameters)).fetchone()
        if row is None:
            return None
        version, kek_id, wrapped = row
        key = self._keeper.unwrap(kek_id, wrapped, belongs_to(tenant_id, version, kek_id))
        return version, key

    async def _make(self, connection: Connection, tenant_id: TenantId, key: bytes) -> None:
        """Keep the tenant's first key, unless another process was first."""
        for _ in range(_TRIES):
            kek_id = await self._current_kek(connection)
            wrapped = self._wrap(kek_id, key, belongs_to(tenant_id, _FIRST_VERSION, kek_id))
            try:
                async with connection.transaction():
                    await connection.execute(_ADD, (tenant_id, _FIRST_VERSION, kek_id, wrapped))
            except ObjectNotInPrerequisiteState:
                continue  # retired between the look and the insert
            return
        raise KeyringUnusable("the key-encryption key is being rotated again and again")

    async def _current_kek(self, connection: Connection) -> str:
        row = await (await connection.execute(_CURRENT_KEK)).fetchone()
        if row is None:
            await connection.execute(_REGISTER_KEK, (self._keeper.ids()[0],))
            row = await (await connection.execute(_CURRENT_KEK)).fetchone()
            assert row is not None, "a key-encryption key is retired when the next one is current"
        return str(row[0])

    def _wrap(self, kek_id: str, key: bytes, place: str) -> bytes:
        if kek_id not in self._keeper.ids():
            self._keeper.refresh()
        return self._keeper.wrap(kek_id, key, place)


class _Adopting(TenantKeys):
    """Makes the platform's key out of the key that sealed things before tenants had keys."""

    def __init__(self, keeper: KeyEncryption, sealed_before: bytes) -> None:
        super().__init__(keeper)
        self._sealed_before = sealed_before

    async def _make(self, connection: Connection, tenant_id: TenantId, key: bytes) -> None:
        found = await (await connection.execute(_SEALED_BEFORE)).fetchone()
        adopt = found is not None and bool(found[0])
        await super()._make(connection, tenant_id, self._sealed_before if adopt else key)


async def platform_keyring(
    pool: Pool, keeper: KeyEncryption, sealed_before: bytes | None = None
) -> Keyring:
    """The platform's keyring, over the key of the tenant PLATFORM.

    `sealed_before` is the key of a key file from before tenants had keys: a database that holds
    sealed material already goes on with it.
    """
    keys = TenantKeys(keeper) if sealed_before is None else _Adopting(keeper, sealed_before)
    async with tenant_scope(pool, PLATFORM) as connection:
        _, key = await keys.current(connection, PLATFORM)
    return Keyring(key)
