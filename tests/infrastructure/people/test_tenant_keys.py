"""Tenants' keys are made once, open under their key-encryption key only, and survive rotations."""

import asyncio
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg.errors import ObjectNotInPrerequisiteState

from domain.ids import PLATFORM, TenantId, UserId
from infrastructure import database as connections
from infrastructure.database import Connection, Pool, tenant_scope
from infrastructure.keys.key_file import KeyFile
from infrastructure.keys.key_rotation import LOCK_KEY, RotationRefused, rotate
from infrastructure.keys.key_store import KeyStore
from infrastructure.keys.keyring import Keyring, KeyringUnusable
from infrastructure.keys.tenant_keys import TenantKeys, platform_keyring
from infrastructure.people.personal_data import PostgresPersonalData

TENANT, OTHER_TENANT = TenantId(uuid4()), TenantId(uuid4())
SARA = UserId(uuid4())


async def current(pool: Pool, keys: TenantKeys, tenant_id: TenantId = TENANT) -> bytes:
    async with tenant_scope(pool, tenant_id) as connection:
        return (await keys.current(connection, tenant_id))[1]


async def keks(admin: Connection) -> list[tuple[str, bool, bool]]:
    """Every key-encryption key the database knows: id, retired, destroyed."""
    rows = await admin.execute(
        "SELECT key_id, retired_at IS NOT NULL, destroyed_at IS NOT NULL"
        " FROM key_encryption_keys ORDER BY current_since, key_id"
    )
    return [(row[0], row[1], row[2]) for row in await rows.fetchall()]


async def test_first_users_that_come_at_once_agree_on_one_key(
    pool: Pool, tenant_keys: TenantKeys, database: str, tmp_path: Path
) -> None:
    """Seen to fail when the maker trusts its own key instead of reading back what was kept."""
    async with connections.pool(database, connections.APP_ROLE) as other:
        processes = [(pool, tenant_keys), (other, TenantKeys(KeyFile(tmp_path / "master.key")))]
        found = await asyncio.gather(*(current(*processes[n % 2]) for n in range(24)))
    assert len(set(found)) == 1
    assert await current(pool, tenant_keys, OTHER_TENANT) not in found


async def test_the_platforms_keyring_stays_the_same_over_processes_and_rotations(
    pool: Pool, key_file: KeyFile, database: str, tmp_path: Path
) -> None:
    before = (await platform_keyring(pool, key_file)).digest("mobile", "x")
    assert (await platform_keyring(pool, key_file)).digest("mobile", "x") == before
    await rotate(database, key_file)
    fresh = KeyFile(tmp_path / "master.key")
    assert (await platform_keyring(pool, fresh)).digest("mobile", "x") == before


async def test_a_database_sealed_before_tenants_had_keys_goes_on_with_its_key(
    pool: Pool, key_file: KeyFile
) -> None:
    old = Keyring(key_file.first())
    made = await KeyStore(pool, old).obtain("ca", lambda: b"PEM")
    adopted = await platform_keyring(pool, key_file, key_file.first())
    assert await KeyStore(pool, adopted).obtain("ca", lambda: b"another") == made
    assert adopted.digest("mobile", "x") == old.digest("mobile", "x")


async def test_a_new_database_does_not_use_the_key_files_key_as_the_platforms(
    pool: Pool, key_file: KeyFile
) -> None:
    made = await platform_keyring(pool, key_file, key_file.first())
    assert made.derive("seal") != Keyring(key_file.first()).derive("seal")


async def test_another_key_file_is_told_which_key_is_missing(
    pool: Pool, tenant_keys: TenantKeys, tmp_path: Path
) -> None:
    await current(pool, tenant_keys)
    stranger = TenantKeys(KeyFile(tmp_path / "other.key"))
    for tenant_id in (TENANT, OTHER_TENANT):
        with pytest.raises(KeyringUnusable, match=r"other\.key does not hold"):
            await current(pool, stranger, tenant_id)


async def test_a_rotation_wraps_every_key_anew_and_destroys_the_old_one(
    pool: Pool, tenant_keys: TenantKeys, key_file: KeyFile, database: str, admin: Connection
) -> None:
    tenants = [PLATFORM, *(TenantId(uuid4()) for _ in range(130))]
    before = [await current(pool, tenant_keys, tenant_id) for tenant_id in tenants]
    (old,) = key_file.ids()
    told: list[int] = []
    rotated = await rotate(database, key_file, progress=told.append)
    (new,) = key_file.ids()
    assert (rotated.key_id, rotated.rewrapped, rotated.destroyed) == (new, 131, (old,))
    assert told == [100, 131]
    assert [await current(pool, tenant_keys, tenant_id) for tenant_id in tenants] == before
    assert await keks(admin) == [(old, True, True), (new, False, False)]
    found = await (await admin.execute("SELECT DISTINCT kek_id FROM tenant_keys")).fetchall()
    assert found == [(new,)]


async def test_a_rotation_that_was_cut_off_is_finished_by_the_next_one(
    pool: Pool, tenant_keys: TenantKeys, key_file: KeyFile, database: str, admin: Connection
) -> None:
    tenants = [TenantId(uuid4()) for _ in range(120)]
    before = [await current(pool, tenant_keys, tenant_id) for tenant_id in tenants]
    (old,) = key_file.ids()

    def die(_: int) -> None:
        raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        await rotate(database, key_file, progress=die)
    new, still = key_file.ids()
    assert still == old
    assert [await current(pool, tenant_keys, tenant_id) for tenant_id in tenants] == before
    rotated = await rotate(database, key_file)
    assert (rotated.key_id, rotated.rewrapped, rotated.destroyed) == (new, 20, (old,))
    assert [await current(pool, tenant_keys, tenant_id) for tenant_id in tenants] == before


async def test_a_prepared_key_is_used_and_the_old_one_kept_until_told(
    pool: Pool, tenant_keys: TenantKeys, key_file: KeyFile, database: str, admin: Connection
) -> None:
    await current(pool, tenant_keys)
    with pytest.raises(RotationRefused, match="current one already"):
        await rotate(database, key_file, prepared=True)
    (old,) = key_file.ids()
    new = key_file.add()
    kept = await rotate(database, key_file, prepared=True, keep_old=True)
    assert (kept.key_id, kept.destroyed, key_file.ids()) == (new, (), (new, old))
    done = await rotate(database, key_file)
    assert (done.key_id, done.rewrapped, done.destroyed) == (new, 0, (old,))
    assert key_file.ids() == (new,)


async def test_a_file_without_the_current_key_cannot_rotate(
    pool: Pool, tenant_keys: TenantKeys, database: str, tmp_path: Path, admin: Connection
) -> None:
    await current(pool, tenant_keys)
    before = await keks(admin)
    with pytest.raises(KeyringUnusable, match="which wraps the tenants' keys of this database"):
        await rotate(database, KeyFile(tmp_path / "other.key"))
    assert await keks(admin) == before


async def test_a_rotation_beside_another_one_is_refused(
    pool: Pool, tenant_keys: TenantKeys, key_file: KeyFile, database: str
) -> None:
    await current(pool, tenant_keys)
    refused: list[str] = []

    async def second() -> None:
        with pytest.raises(RotationRefused) as told:
            await rotate(database, key_file)
        refused.append(str(told.value))

    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as holder:
        await holder.execute("SELECT pg_advisory_lock(%s)", (LOCK_KEY,))
        await second()
    assert refused == ["another rotation of the key-encryption key is on"]
    assert len(key_file.ids()) == 1


async def test_nothing_is_wrapped_by_a_retired_key(
    pool: Pool, tenant_keys: TenantKeys, key_file: KeyFile, database: str, admin: Connection
) -> None:
    """Seen to fail without the trigger of 0035: the row is kept, and when the old key has been
    destroyed it never opens again."""
    await current(pool, tenant_keys)
    (old,) = key_file.ids()
    await rotate(database, key_file)
    with pytest.raises(ObjectNotInPrerequisiteState, match="is not the current one"):
        await admin.execute(
            "INSERT INTO tenant_keys VALUES (%s, 1, %s, '\\x00')", (OTHER_TENANT, old)
        )


async def test_values_are_written_and_read_while_the_key_is_rotated_again_and_again(
    pool: Pool, keyring: Keyring, database: str, tmp_path: Path
) -> None:
    """Two processes, each with its own view of the key file, and new tenants all the time.

    Seen to fail when a process does not look at the key file again before it opens a key or wraps
    one (`refresh` left out of either), and when an insert under a retired key is not tried again.
    """
    path = tmp_path / "master.key"
    async with connections.pool(database, connections.APP_ROLE) as other:
        processes = [
            PostgresPersonalData(each, TenantKeys(KeyFile(path)), keyring) for each in (pool, other)
        ]
        # Sees the file as it is now, and makes no key that would have it look again.
        reader = PostgresPersonalData(pool, TenantKeys(KeyFile(path)), keyring)
        stop = asyncio.Event()
        kept: dict[tuple[TenantId, UserId], str] = {}
        grown = asyncio.Event()

        async def work(number: int) -> None:
            while not stop.is_set():
                tenant_id, user_id, value = TenantId(uuid4()), UserId(uuid4()), uuid4().hex
                await processes[number % 2].store(tenant_id, user_id, "mobile", value)
                kept[tenant_id, user_id] = value
                grown.set()
                assert await processes[(number + 1) % 2].read(tenant_id, user_id, "mobile") == value

        async with asyncio.TaskGroup() as working:
            for number in range(4):
                working.create_task(work(number))
            for turn in range(5):
                while len(kept) < (turn + 1) * 10:
                    await grown.wait()
                    grown.clear()
                await rotate(database, KeyFile(path))
            stop.set()
        for (tenant_id, user_id), value in kept.items():
            assert await reader.read(tenant_id, user_id, "mobile") == value
    assert len(KeyFile(path).ids()) == 1
