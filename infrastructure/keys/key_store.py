"""Key pairs that all processes must share, made once by whoever comes first and kept sealed."""

from collections.abc import Callable
from typing import Final, LiteralString

from infrastructure.database import Connection, Pool
from infrastructure.keys.keyring import Keyring, KeyringUnusable

_ALL: Final[LiteralString] = """
    SELECT version, sealed FROM key_material WHERE purpose = %s ORDER BY version DESC"""

_ONE: Final[LiteralString] = """
    SELECT sealed FROM key_material WHERE purpose = %s AND version = %s"""

_INSERT: Final[LiteralString] = """
    INSERT INTO key_material (purpose, version, sealed) VALUES (%s, %s, %s)"""

_LAST: Final[LiteralString] = "SELECT max(version) FROM key_material WHERE purpose = %s"

LOCK: Final[LiteralString] = """
    SELECT pg_advisory_xact_lock(hashtextextended('key_material/' || %s, 0))"""
"""Held by whoever makes material of a purpose, until the end of the transaction."""


class KeyStore:
    """Sealed key material of the platform: the CA, the signing keys.

    Raises KeyringUnusable, saying what to do, when the keyring is not the one that sealed what
    the database holds.
    """

    def __init__(self, pool: Pool, keyring: Keyring) -> None:
        self._pool = pool
        self._keyring = keyring

    async def obtain(self, purpose: str, make: Callable[[], bytes]) -> bytes:
        """The current material of a purpose; made once, whichever process comes first.

        `make` is called at most once and only under the purpose's advisory lock; when it
        raises, nothing is kept and the next caller makes it.
        """
        async with self._pool.connection() as connection:
            found = await self._load(connection, purpose)
            if found:
                return found[0]
            async with connection.transaction():
                await connection.execute(LOCK, (purpose,))
                found = await self._load(connection, purpose)
                if found:
                    return found[0]
                material = make()
                await self.add(connection, purpose, 1, material)
                return material

    async def next(
        self, purpose: str, make: Callable[[int], bytes], *, above: int = 0
    ) -> tuple[int, bytes]:
        """Make and keep material under the next version of a purpose.

        A version is never given twice, not even where the earlier ones are lost: it is higher
        than `above`, too.
        """
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(LOCK, (purpose,))
            found = await (await connection.execute(_LAST, (purpose,))).fetchone()
            version = max(above, 0 if found is None else found[0] or 0) + 1
            material = make(version)
            await self.add(connection, purpose, version, material)
        return version, material

    async def read_one(self, purpose: str, version: int) -> bytes:
        """As `read`, over a connection of its own. Raises LookupError, psycopg.Error."""
        async with self._pool.connection() as connection:
            return await self.read(connection, purpose, version)

    async def add(
        self, connection: Connection, purpose: str, version: int, material: bytes
    ) -> None:
        """Keep one more version; the caller holds the purpose's `LOCK`."""
        sealed = self._keyring.seal(material, _belongs_to(purpose, version))
        await connection.execute(_INSERT, (purpose, version, sealed))

    async def read(self, connection: Connection, purpose: str, version: int) -> bytes:
        """One version of a purpose. Raises LookupError for one that was never made."""
        row = await (await connection.execute(_ONE, (purpose, version))).fetchone()
        if row is None:
            raise LookupError(f"there is no version {version} of {purpose}")
        return self._open(purpose, version, row[0])

    async def _load(self, connection: Connection, purpose: str) -> list[bytes]:
        rows = await (await connection.execute(_ALL, (purpose,))).fetchall()
        return [self._open(purpose, version, sealed) for version, sealed in rows]

    def _open(self, purpose: str, version: int, sealed: bytes) -> bytes:
        try:
            return self._keyring.open(sealed, _belongs_to(purpose, version))
        except KeyringUnusable as error:
            raise KeyringUnusable(
                f"the key material for {purpose!r} (version {version}) was sealed under another "
                "key-encryption key: start with the key file that belongs to this database"
            ) from error


def _belongs_to(purpose: str, version: int) -> str:
    return f"key_material.sealed/{purpose}/{version}"
