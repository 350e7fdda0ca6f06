"""Nonces in PostgreSQL, by their digests: an answer that is overheard in a backup opens nothing."""

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Final, LiteralString

from infrastructure.database import Pool

_ISSUE: Final[LiteralString] = """
    WITH gone AS (
        DELETE FROM device_nonces WHERE digest IN (
            SELECT digest FROM device_nonces WHERE expires_at < %(now)s
            LIMIT 20 FOR UPDATE SKIP LOCKED))
    INSERT INTO device_nonces (digest, expires_at) VALUES (%(digest)s, %(expires_at)s)
"""
_USE: Final[LiteralString] = """
    DELETE FROM device_nonces WHERE digest = %s AND expires_at > %s
"""


class PostgresNonces:
    """`application.ports.recovery.Nonces`. Each that is issued sweeps away some that ran out."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def issue(self, now: datetime, lifetime_s: int) -> str:
        nonce = secrets.token_urlsafe(32)
        expires_at = now + timedelta(seconds=lifetime_s)
        given = {"digest": _digest(nonce), "expires_at": expires_at, "now": now}
        async with self._pool.connection() as connection:
            await connection.execute(_ISSUE, given)
        return nonce

    async def use(self, nonce: str, now: datetime) -> bool:
        async with self._pool.connection() as connection:
            deleted = await connection.execute(_USE, (_digest(nonce), now))
        return deleted.rowcount == 1


def _digest(nonce: str) -> bytes:
    return hashlib.sha256(nonce.encode()).digest()
