"""Which signing key of a family is used when: made ahead, published, used, published on, gone.

A new key is published for a while before anything is signed with it, so that whoever keeps our
JWKS has it in time; an old one is published until the last token by it has run out. All processes
read the same rows and come to the same answer by their clocks.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final, LiteralString

import msgspec
import psycopg
import structlog
from psycopg_pool import PoolTimeout

from application.ports import Clock
from infrastructure.background import Background
from infrastructure.database import Connection, Pool
from infrastructure.keys.key_store import LOCK, KeyStore
from infrastructure.keys.signing_keys import SigningKey, SigningKeys

ACCESS_TOKENS: Final = "access_token"
IDENTITY_ASSERTIONS: Final = "identity_assertion"
USER_TOKENS: Final = "user_token"
CONSENT_RECEIPTS: Final = "consent_receipt"
FAMILIES: Final = (ACCESS_TOKENS, IDENTITY_ASSERTIONS, USER_TOKENS, CONSENT_RECEIPTS)

AHEAD: Final = timedelta(minutes=15)
"""Published before it signs: three times as long as our JWKS may be kept (wellknown.py)."""

KEPT: Final = timedelta(hours=24, minutes=10)
"""Published after it has signed: the longest that a token may live, and some."""

EVERY: Final = timedelta(days=30)
LOOK_S: Final = 15.0

_FAMILY: Final[LiteralString] = """
    SELECT version, coalesce(signs_from, created_at), retired_at
    FROM key_material WHERE purpose = %s ORDER BY version"""
_SIGNS_FROM: Final[LiteralString] = """
    UPDATE key_material SET signs_from = %s WHERE purpose = %s AND version = %s"""
_RETIRE: Final[LiteralString] = """
    UPDATE key_material SET retired_at = %s
    WHERE purpose = %s AND version < %s AND retired_at IS NULL"""

_log = structlog.get_logger(__name__)


class KeyTimes(msgspec.Struct, frozen=True, kw_only=True):
    """One key of a family: from when it signs, and since when it is distrusted."""

    version: int
    signs_from: datetime
    retired_at: datetime | None = None


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """The version that signs, and the others that are published and believed."""

    current: int
    others: tuple[int, ...]


def use_at(now: datetime, family: Sequence[KeyTimes]) -> Use:
    """What each key of a family, oldest first, is good for now.

    Before its time the oldest signs: the clock that it was made by may be ahead of ours. Raises
    ValueError for a family of which no key is trusted.
    """
    good = [key for key in family if key.retired_at is None]
    if not good:
        raise ValueError("no key of this family is trusted")
    current = ([key for key in good if key.signs_from <= now] or good[:1])[-1]
    ends = {old.version: new.signs_from + KEPT for old, new in pairwise(good)}
    others = tuple(
        key.version
        for key in good
        if key is not current and (key.signs_from > now or ends[key.version] > now)
    )
    return Use(current=current.version, others=others)


class SigningKeyKeeper(Background):
    """Keeps the families of a process current while it is entered: `async with`.

    Raises KeyringUnusable, SigningKeyUnusable and psycopg.Error where it opens a family. Later,
    while the database is away, what was read last goes on being used.
    """

    def __init__(self, pool: Pool, store: KeyStore, clock: Clock) -> None:
        super().__init__("signing keys")
        self._pool = pool
        self._store = store
        self._clock = clock
        self._families: dict[str, SigningKeys] = {}
        self._known: dict[tuple[str, int], SigningKey] = {}

    async def open(self, family: str) -> SigningKeys:
        """The family's keys, one made if there is none; from then on they are kept current."""
        first = await self._store.obtain(family, _new)
        self._families[family] = SigningKeys(SigningKey.from_pem(first))
        await self._refresh(family)
        return self._families[family]

    async def rotate(self, family: str, *, leaked: bool = False) -> str:
        """Make the family's next key and say its `kid`.

        It signs in a quarter of an hour. `leaked`: it signs at once, and the others are believed
        no more, by any process within seconds. Raises KeyError for a family that is not open.
        """
        if family not in self._families:
            raise KeyError(family)
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(LOCK, (family,))
            version = (await _times(connection, family))[-1].version + 1
            await self._add(connection, family, version, leaked=leaked)
        await self._refresh(family)
        return self._known[family, version].kid

    async def refresh(self) -> None:
        """See what other processes did, and rotate what is due. Raises psycopg.Error."""
        for family in self._families:
            await self._rotate_if_due(family)
            await self._refresh(family)

    def kids(self, family: str) -> list[str]:
        """What is published of a family, the key that signs first. Raises KeyError."""
        return [key["kid"] for key in self._families[family].jwks()["keys"]]

    async def run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.refresh()
            except (psycopg.Error, PoolTimeout) as error:
                _log.error("signing_keys_not_read", error=type(error).__name__)

    async def _rotate_if_due(self, family: str) -> None:
        now = self._clock.now()
        async with self._pool.connection() as connection:
            if not _is_due(now, await _times(connection, family)):
                return
            async with connection.transaction():
                await connection.execute(LOCK, (family,))
                known = await _times(connection, family)
                if _is_due(now, known):
                    await self._add(connection, family, known[-1].version + 1, leaked=False)

    async def _add(
        self, connection: Connection, family: str, version: int, *, leaked: bool
    ) -> None:
        now = self._clock.now()
        key = SigningKey.generate()
        await self._store.add(connection, family, version, key.to_pem())
        signs_from = now if leaked else now + AHEAD
        await connection.execute(_SIGNS_FROM, (signs_from, family, version))
        if leaked:
            await connection.execute(_RETIRE, (now, family, version))
        _log.warning("signing_key_made", kind=family, kid=key.kid)

    async def _refresh(self, family: str) -> None:
        async with self._pool.connection() as connection:
            times = await _times(connection, family)
            use = use_at(self._clock.now(), times)
            wanted = [use.current, *use.others]
            for version in wanted:
                if (family, version) not in self._known:
                    pem = await self._store.read(connection, family, version)
                    self._known[family, version] = SigningKey.from_pem(pem)
        current, *others = (self._known[family, version] for version in wanted)
        self._families[family].use(current, others)


async def _times(connection: Connection, family: str) -> list[KeyTimes]:
    rows = await (await connection.execute(_FAMILY, (family,))).fetchall()
    return [KeyTimes(version=row[0], signs_from=row[1], retired_at=row[2]) for row in rows]


def _is_due(now: datetime, family: Sequence[KeyTimes]) -> bool:
    return family[-1].signs_from + EVERY <= now


def _new() -> bytes:
    return SigningKey.generate().to_pem()
