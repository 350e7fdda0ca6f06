"""Salted commitments in events, keyed by the tenant (docs/decisions/0020-commitments.md).

The salt of a subject is HMAC-SHA-256 of its id under a key derived from the tenant's, so nothing
needs to be stored for it, and all of them are gone with the tenant's key.
"""

import base64
import hashlib
import hmac
from typing import Final
from uuid import UUID

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from domain.ids import TenantId
from infrastructure.database import Pool, tenant_scope
from infrastructure.keys.keyring import KEY_BYTES
from infrastructure.keys.tenant_keys import TenantKeys

_VERSION: Final = 1
_TENANTS_KEPT: Final = 10_000


class TenantCommitments:
    """`Commitments`. A tenant's derived key is kept in memory from its first use on."""

    def __init__(self, pool: Pool, keys: TenantKeys) -> None:
        self._pool = pool
        self._keys = keys
        self._derived: dict[TenantId, bytes] = {}

    async def commit(self, tenant_id: TenantId, subject: UUID, kind: str, value: bytes) -> str:
        salt = await self.salt(tenant_id, subject)
        content = hashlib.sha256(salt + kind.encode() + b"\0" + value).digest()
        return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

    async def salt(self, tenant_id: TenantId, subject: UUID) -> bytes:
        """What opens the commitments of one subject and no other's."""
        key = self._derived.get(tenant_id) or await self._derive(tenant_id)
        return hmac.digest(key, subject.bytes, "sha256")

    async def _derive(self, tenant_id: TenantId) -> bytes:
        async with tenant_scope(self._pool, tenant_id) as connection:
            await self._keys.current(connection, tenant_id)
            key = await self._keys.version(connection, tenant_id, _VERSION)
        while len(self._derived) >= _TENANTS_KEPT:
            del self._derived[next(iter(self._derived))]
        derived = HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=b"commitments").derive(key)
        self._derived[tenant_id] = derived
        return derived
