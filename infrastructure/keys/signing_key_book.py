"""Which signing keys there are, read from where they are kept; never a key."""

from collections.abc import Mapping, Sequence
from typing import Final, LiteralString

from domain.signing_key import KeptKey
from infrastructure.database import Pool
from infrastructure.keys.key_store import KeyStore
from infrastructure.keys.signing_key_keeper import FAMILIES
from infrastructure.keys.signing_keys import SigningKey

_KEPT: Final[LiteralString] = """
    SELECT purpose, version, coalesce(signs_from, created_at), retired_at IS NOT NULL
    FROM key_material WHERE purpose = ANY(%s) ORDER BY purpose, version"""


class PostgresSigningKeyBook:
    """`application.ports.signing_keys.SigningKeyBook`; a key is opened once, for its `kid`."""

    def __init__(self, pool: Pool, store: KeyStore) -> None:
        self._pool = pool
        self._store = store
        self._kids: dict[tuple[str, int], str] = {}

    async def kept(self) -> Mapping[str, Sequence[KeptKey]]:
        """Raises KeyringUnusable and SigningKeyUnusable besides."""
        found: dict[str, list[KeptKey]] = {}
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_KEPT, (list(FAMILIES),))).fetchall()
            for family, number, signs_from, distrusted in rows:
                if (family, number) not in self._kids:
                    pem = await self._store.read(connection, family, number)
                    self._kids[family, number] = SigningKey.from_pem(pem).kid
                key = KeptKey(
                    number=number,
                    kid=self._kids[family, number],
                    signs_from=signs_from,
                    distrusted=distrusted,
                )
                found.setdefault(family, []).append(key)
        return found
