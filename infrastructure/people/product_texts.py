"""What products write to people, sealed under the person's key beside the transaction.

The row is written by the log's appender in the commit of the decision (0075_product_texts.sql);
here it is sealed before, and opened afterwards. A sealed text begins with a random salt, which is
what the commitment in the event is made with, and goes with the text.
"""

import base64
import hashlib
import hmac
import os
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, LiteralString

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from psycopg.errors import ObjectNotInPrerequisiteState

from domain.errors import Conflict
from domain.events import Sealed
from domain.ids import TenantId, TransactionId, UserId
from domain.transaction import ProductText
from infrastructure.database import Connection, Pool, tenant_scope
from infrastructure.keys.keyring import KEY_BYTES, Keyring, KeyringUnusable, open_under, seal_under
from infrastructure.keys.tenant_keys import TenantKeys
from infrastructure.people.person_keys import PersonKeys, open_person_key

KEPT_S: Final = 60.0
"""How long the key of a person's texts stays in memory after it was read."""
KEPT_MAX: Final = 10_000
_SALT_BYTES: Final = 32
_NO_KEY: Final = 0

_WRAPPED_KEY: Final[LiteralString] = "SELECT * FROM wrapped_person_key(%s, %s)"

_TEXTS: Final[LiteralString] = """
    SELECT t.transaction_id, k.key_version, k.tenant_key_version, k.wrapped_key, t.ciphertext
    FROM product_texts AS t JOIN personal_keys AS k USING (tenant_id, user_id, key_version)
    WHERE t.tenant_id = %(tenant_id)s AND t.user_id = %(user_id)s
      AND (%(transaction_id)s::uuid IS NULL OR t.transaction_id = %(transaction_id)s)
    ORDER BY t.transaction_id"""

_JSON: Final = msgspec.json.Encoder()
_TEXT: Final = msgspec.json.Decoder(ProductText)


class PostgresProductTexts:
    """`ProductTexts`. Raises KeyringUnusable when a key or a text does not open.

    What seals and opens texts is derived from the person's key and opens nothing else. A process
    keeps it for a minute, so that a person who comes again costs no question to the database;
    what is sealed under a key that was destroyed meanwhile is not kept by the database.
    """

    def __init__(self, pool: Pool, keys: TenantKeys, keyring: Keyring) -> None:
        self._pool = pool
        self._tenants = keys
        self._people = PersonKeys(keys, keyring)
        self._tenant_keys: dict[tuple[TenantId, int], bytes] = {}
        self._kept: OrderedDict[tuple[TenantId, UserId], tuple[float, int, bytes]] = OrderedDict()

    async def seal(
        self, tenant_id: TenantId, user_id: UserId, transaction_id: TransactionId, text: ProductText
    ) -> Sealed:
        version, key = await self._key(tenant_id, user_id)
        salt, content = os.urandom(_SALT_BYTES), _JSON.encode(text)
        return Sealed(
            user_id=user_id,
            key_version=version,
            ciphertext=seal_under(
                key, salt + content, _belongs_to(tenant_id, user_id, transaction_id, version)
            ),
            commitment=_commitment(salt, content),
        )

    async def open(
        self, tenant_id: TenantId, user_id: UserId, transaction_id: TransactionId, commitment: str
    ) -> ProductText | None:
        for _, content, found in await self._opened(tenant_id, user_id, transaction_id):
            if not hmac.compare_digest(found, commitment):
                raise KeyringUnusable(f"the text of {transaction_id} is not the one committed to")
            return _TEXT.decode(content)
        return None

    async def of_person(
        self, tenant_id: TenantId, user_id: UserId
    ) -> Sequence[tuple[TransactionId, ProductText]]:
        return [
            (transaction_id, _TEXT.decode(content))
            for transaction_id, content, _ in await self._opened(tenant_id, user_id, None)
        ]

    async def _opened(
        self, tenant_id: TenantId, user_id: UserId, transaction_id: TransactionId | None
    ) -> list[tuple[TransactionId, bytes, str]]:
        """Transaction, content and commitment of one text, or of all that a person has."""
        wanted = {"tenant_id": tenant_id, "user_id": user_id, "transaction_id": transaction_id}
        opened: list[tuple[TransactionId, bytes, str]] = []
        key: bytes | None = None
        async with tenant_scope(self._pool, tenant_id) as connection:
            rows = await (await connection.execute(_TEXTS, wanted)).fetchall()
            for found, version, under, wrapped, ciphertext in rows:
                if key is None:
                    key = _derived(
                        await self._people.open(
                            connection, tenant_id, user_id, version, under, wrapped
                        )
                    )
                place = _belongs_to(tenant_id, user_id, found, version)
                salted = open_under(key, ciphertext, place)
                salt, content = salted[:_SALT_BYTES], salted[_SALT_BYTES:]
                opened.append((TransactionId(found), content, _commitment(salt, content)))
        return opened

    async def _key(self, tenant_id: TenantId, user_id: UserId) -> tuple[int, bytes]:
        kept = self._kept.get((tenant_id, user_id))
        now = time.monotonic()
        if kept is not None and kept[0] > now:
            return kept[1], kept[2]
        version, key = await self._read_key(tenant_id, user_id)
        if version != _NO_KEY:
            self._keep(tenant_id, user_id, (now + KEPT_S, version, key))
        return version, key

    def _keep(self, tenant_id: TenantId, user_id: UserId, key: tuple[float, int, bytes]) -> None:
        """The oldest stand first, so those that have run out are let go from the front."""
        kept = self._kept
        kept.pop((tenant_id, user_id), None)
        kept[tenant_id, user_id] = key
        now = time.monotonic()
        while len(kept) > KEPT_MAX or next(iter(kept.values()))[0] <= now:
            kept.popitem(last=False)

    async def _read_key(self, tenant_id: TenantId, user_id: UserId) -> tuple[int, bytes]:
        """The person's key for texts; for somebody erased one that nobody keeps."""
        async with self._pool.connection() as connection:
            found = await connection.execute(_WRAPPED_KEY, (tenant_id, user_id))
            row = await found.fetchone()
        if row is not None:
            version, under, wrapped = row
            tenant_key = self._tenant_keys.get((tenant_id, under))
            if tenant_key is not None:
                key = open_person_key(tenant_key, tenant_id, user_id, version, under, wrapped)
                return version, _derived(key)
        try:
            async with tenant_scope(self._pool, tenant_id) as connection:
                await self._learn_tenant_key(connection, tenant_id)
                version, key = await self._people.obtain(connection, tenant_id, user_id)
        except (ObjectNotInPrerequisiteState, Conflict):
            return _NO_KEY, os.urandom(KEY_BYTES)
        return version, _derived(key)

    async def _learn_tenant_key(self, connection: Connection, tenant_id: TenantId) -> None:
        version, key = await self._tenants.current(connection, tenant_id)
        while len(self._tenant_keys) >= KEPT_MAX:
            del self._tenant_keys[next(iter(self._tenant_keys))]
        self._tenant_keys[tenant_id, version] = key


def _derived(person_key: bytes) -> bytes:
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=b"product_texts").derive(person_key)


def _commitment(salt: bytes, content: bytes) -> str:
    """As the tenants' commitments are made (docs/decisions/0020-commitments.md)."""
    found = hashlib.sha256(salt + b"product_text\0" + content).digest()
    return base64.urlsafe_b64encode(found).rstrip(b"=").decode()


def _belongs_to(
    tenant_id: TenantId, user_id: UserId, transaction_id: TransactionId, version: int
) -> str:
    return f"product_texts.ciphertext/{tenant_id}/{user_id}/{transaction_id}/{version}"
