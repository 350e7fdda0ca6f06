"""Secrets of webhook endpoints, sealed, outside the log; at most two of an endpoint are good."""

import base64
import os
from collections.abc import Sequence
from typing import Final, LiteralString
from uuid import UUID

from domain.ids import TenantId, WebhookEndpointId
from infrastructure.database import Pool, tenant_scope
from infrastructure.keys.keyring import Keyring

SECRET_BYTES: Final = 32
PREFIX: Final = "whsec_"

_FIRST: Final[LiteralString] = """
    INSERT INTO webhook_secrets (tenant_id, endpoint_id, version, sealed)
    VALUES (%s, %s, 1, %s) ON CONFLICT DO NOTHING"""
_LOCK: Final[LiteralString] = """
    SELECT pg_advisory_xact_lock(hashtextextended('webhook_secrets/' || %s, 0))"""
_NEWEST: Final[LiteralString] = """
    SELECT coalesce(max(version), 0) FROM webhook_secrets
    WHERE tenant_id = %s AND endpoint_id = %s"""
_RETIRE: Final[LiteralString] = """
    DELETE FROM webhook_secrets WHERE tenant_id = %s AND endpoint_id = %s AND version < %s"""
_LIMIT: Final[LiteralString] = """
    UPDATE webhook_secrets SET good_until = now() + make_interval(secs => %s)
    WHERE tenant_id = %s AND endpoint_id = %s AND version = %s"""
_ADD: Final[LiteralString] = """
    INSERT INTO webhook_secrets (tenant_id, endpoint_id, version, sealed)
    VALUES (%s, %s, %s, %s)"""
_GOOD: Final[LiteralString] = """
    SELECT version, sealed FROM webhook_secrets
    WHERE tenant_id = %s AND endpoint_id = %s AND (good_until IS NULL OR good_until > now())
    ORDER BY version DESC"""


class PostgresWebhookSecrets:
    """`WebhookSecrets` over the table `webhook_secrets`. Raises KeyringUnusable, psycopg.Error."""

    def __init__(self, pool: Pool, keyring: Keyring) -> None:
        self._pool = pool
        self._keyring = keyring

    async def first(self, tenant_id: TenantId, endpoint_id: WebhookEndpointId) -> str | None:
        key = os.urandom(SECRET_BYTES)
        sealed = self._keyring.seal(key, _belongs_to(tenant_id, endpoint_id, 1))
        async with tenant_scope(self._pool, tenant_id) as connection:
            made = await connection.execute(_FIRST, (tenant_id, endpoint_id, sealed))
        return written(key) if made.rowcount == 1 else None

    async def rotate(
        self, tenant_id: TenantId, endpoint_id: WebhookEndpointId, *, overlap_s: int
    ) -> str:
        key = os.urandom(SECRET_BYTES)
        whose = (tenant_id, endpoint_id)
        async with tenant_scope(self._pool, tenant_id) as connection:
            await connection.execute(_LOCK, (str(endpoint_id),))
            row = await (await connection.execute(_NEWEST, whose)).fetchone()
            newest: int = row[0] if row is not None else 0
            sealed = self._keyring.seal(key, _belongs_to(tenant_id, endpoint_id, newest + 1))
            await connection.execute(_RETIRE, (*whose, newest))
            await connection.execute(_LIMIT, (overlap_s, *whose, newest))
            await connection.execute(_ADD, (*whose, newest + 1, sealed))
        return written(key)

    async def good(self, tenant_id: TenantId, endpoint_id: WebhookEndpointId) -> Sequence[bytes]:
        async with tenant_scope(self._pool, tenant_id) as connection:
            cursor = await connection.execute(_GOOD, (tenant_id, endpoint_id))
            return [
                self._keyring.open(sealed, _belongs_to(tenant_id, endpoint_id, version))
                for version, sealed in await cursor.fetchall()
            ]


def written(key: bytes) -> str:
    """A secret as its owner is shown it (Standard Webhooks 1.0)."""
    return PREFIX + base64.b64encode(key).decode()


def _belongs_to(tenant_id: UUID, endpoint_id: UUID, version: int) -> str:
    return f"webhook_secrets.sealed/{tenant_id}/{endpoint_id}/{version}"
