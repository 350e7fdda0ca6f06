"""Key material is made once for all processes, and opens under its own keyring only."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from infrastructure import database as connections
from infrastructure.database import Pool
from infrastructure.keys.key_store import KeyStore
from infrastructure.keys.keyring import Keyring, KeyringUnusable

KEYRING = Keyring(bytes(range(32)))


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    async with connections.pool(database, connections.APP_ROLE) as opened:
        yield opened


class _Maker:
    """Makes different bytes each time, and counts."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> bytes:
        self.made += 1
        return f"PEM {self.made}".encode()


async def test_material_is_made_once_and_kept(pool: Pool) -> None:
    store, make = KeyStore(pool, KEYRING), _Maker()
    assert await store.obtain("ca", make) == b"PEM 1"
    assert await KeyStore(pool, KEYRING).obtain("ca", make) == b"PEM 1"
    assert make.made == 1


async def test_purposes_have_material_of_their_own(pool: Pool) -> None:
    store, make = KeyStore(pool, KEYRING), _Maker()
    assert await store.obtain("ca", make) == b"PEM 1"
    assert await store.obtain("signing", make) == b"PEM 2"


async def test_stores_that_come_at_once_get_the_same_material(pool: Pool, database: str) -> None:
    """Seen to fail without the advisory lock: the losers of the race meet a unique violation."""
    make = _Maker()
    async with connections.pool(database, connections.APP_ROLE) as other:
        stores = [KeyStore(each, KEYRING) for each in (pool, other)]
        obtained = await asyncio.gather(*(stores[n % 2].obtain("ca", make) for n in range(24)))
    assert set(obtained) == {b"PEM 1"}
    assert make.made == 1


async def test_a_maker_that_fails_leaves_nothing_behind(pool: Pool) -> None:
    def fail() -> bytes:
        raise ArithmeticError("no entropy")

    store = KeyStore(pool, KEYRING)
    with pytest.raises(ArithmeticError):
        await store.obtain("ca", fail)
    assert await store.obtain("ca", _Maker()) == b"PEM 1"


async def test_another_keyring_is_told_what_is_wrong(pool: Pool) -> None:
    await KeyStore(pool, KEYRING).obtain("ca", _Maker())
    stranger, make = KeyStore(pool, Keyring(bytes(32))), _Maker()
    expected = "'ca'.*sealed under another key-encryption key: start with the key file"
    with pytest.raises(KeyringUnusable, match=expected):
        await stranger.obtain("ca", make)
    assert make.made == 0


async def test_material_moved_to_another_purpose_does_not_open(pool: Pool, database: str) -> None:
    store = KeyStore(pool, KEYRING)
    await store.obtain("signing", _Maker())
    async with await psycopg.AsyncConnection.connect(database) as admin:
        await admin.execute("UPDATE key_material SET purpose = 'ca'")
    with pytest.raises(KeyringUnusable):
        await store.obtain("ca", _Maker())


async def test_the_newest_version_is_the_current_one(pool: Pool) -> None:
    store = KeyStore(pool, KEYRING)
    await store.obtain("ca", _Maker())
    sealed = KEYRING.seal(b"rotated", "key_material.sealed/ca/2")
    async with pool.connection() as connection:
        await connection.execute("INSERT INTO key_material VALUES ('ca', 2, %s)", (sealed,))
    assert await store.obtain("ca", _Maker()) == b"rotated"


@pytest.mark.parametrize(
    "statement", ["UPDATE key_material SET sealed = ''", "DELETE FROM key_material"]
)
async def test_the_application_can_neither_change_nor_delete_a_key(
    pool: Pool, statement: str
) -> None:
    async with pool.connection() as connection:
        with pytest.raises(InsufficientPrivilege):
            await connection.execute(statement.encode())
