"""Each person's key: 32 random bytes, wrapped by the tenant's key, made with the first value."""

import os
from typing import Final, LiteralString

from domain.errors import Conflict
from domain.ids import TenantId, UserId
from infrastructure.database import Connection
from infrastructure.keys.keyring import KEY_BYTES, Keyring, open_under, seal_under
from infrastructure.keys.tenant_keys import TenantKeys

_FIRST_VERSION: Final = 1
_BEFORE_TENANT_KEYS: Final = 0

_KEY: Final[LiteralString] = """
    SELECT key_version, tenant_key_version, wrapped_key FROM personal_keys
    WHERE tenant_id = %s AND user_id = %s"""

# Of several first writers one inserts; the others wait for it here and then read its key.
_ADD_KEY: Final[LiteralString] = """
    INSERT INTO personal_keys (tenant_id, user_id, key_version, tenant_key_version, wrapped_key)
    VALUES (%s, %s, %s, %s, %s)
    ON CONFLICT DO NOTHING"""


class PersonKeys:
    """Opens people's keys over a connection that is in the tenant's scope.

    Raises KeyringUnusable when a key does not open. `keyring` opens people's keys from before
    tenants had keys.
    """

    def __init__(self, keys: TenantKeys, keyring: Keyring) -> None:
        self._keys = keys
        self._keyring = keyring

    async def obtain(
        self, connection: Connection, tenant_id: TenantId, user_id: UserId
    ) -> tuple[int, bytes]:
        """The person's key and its version, made when there is none.

        For somebody who has been erased the database raises ObjectNotInPrerequisiteState.
        Raises Conflict (`personal_key_destroyed`) when the key goes in this moment.
        """
        row = await (await connection.execute(_KEY, (tenant_id, user_id))).fetchone()
        if row is None:
            under, tenant_key = await self._keys.current(connection, tenant_id)
            place = _belongs_to(tenant_id, user_id, _FIRST_VERSION, under)
            wrapped = seal_under(tenant_key, os.urandom(KEY_BYTES), place)
            await connection.execute(_ADD_KEY, (tenant_id, user_id, _FIRST_VERSION, under, wrapped))
            row = await (await connection.execute(_KEY, (tenant_id, user_id))).fetchone()
        if row is None:
            raise Conflict("personal_key_destroyed")
        version, under, wrapped = row
        return version, await self.open(connection, tenant_id, user_id, version, under, wrapped)

    async def open(
        self,
        connection: Connection,
        tenant_id: TenantId,
        user_id: UserId,
        version: int,
        under: int,
        wrapped: bytes,
    ) -> bytes:
        """`under` is the version of the tenant's key."""
        if under == _BEFORE_TENANT_KEYS:
            return self._keyring.open(wrapped, _belongs_to(tenant_id, user_id, version, under))
        tenant_key = await self._keys.version(connection, tenant_id, under)
        return open_person_key(tenant_key, tenant_id, user_id, version, under, wrapped)


def open_person_key(
    tenant_key: bytes,
    tenant_id: TenantId,
    user_id: UserId,
    version: int,
    under: int,
    wrapped: bytes,
) -> bytes:
    """A person's key, where the tenant's is at hand. Raises KeyringUnusable."""
    return open_under(tenant_key, wrapped, _belongs_to(tenant_id, user_id, version, under))


def _belongs_to(tenant_id: TenantId, user_id: UserId, version: int, under: int) -> str:
    place = f"personal_keys.wrapped_key/{tenant_id}/{user_id}/{version}"
    return place if under == _BEFORE_TENANT_KEYS else f"{place}/{under}"
