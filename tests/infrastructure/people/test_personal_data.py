"""Each person's values open under that person's key, in their own place, until it is destroyed."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest
from psycopg.errors import InsufficientPrivilege

from domain.errors import Conflict
from domain.ids import ConsentId, TenantId, UserId
from domain.personal_fields import FIELDS, PASSWORD_HASH, SECRETS, consent_text
from infrastructure.database import Connection, Pool, tenant_scope
from infrastructure.keys.key_file import KeyFile
from infrastructure.keys.keyring import Keyring, KeyringUnusable, seal_under
from infrastructure.keys.tenant_keys import TenantKeys
from infrastructure.people.person_keys import PersonKeys
from infrastructure.people.personal_data import PostgresPersonalData

TENANT = TenantId(uuid4())
OTHER_TENANT = TenantId(uuid4())
SARA = UserId(uuid4())
OMAR = UserId(uuid4())


@pytest.fixture
def people(pool: Pool, tenant_keys: TenantKeys, keyring: Keyring) -> PostgresPersonalData:
    return PostgresPersonalData(pool, tenant_keys, keyring)


async def test_a_value_reads_back_and_a_later_one_replaces_it(
    people: PostgresPersonalData,
) -> None:
    await people.store(TENANT, SARA, "mobile", "+966500000001")
    await people.store(TENANT, SARA, "name", "سارة")
    await people.store(TENANT, SARA, "mobile", "+966500000002")
    assert await people.read(TENANT, SARA, "mobile") == "+966500000002"
    assert await people.read(TENANT, SARA, "name") == "سارة"


async def test_what_was_never_stored_reads_as_none(people: PostgresPersonalData) -> None:
    await people.store(TENANT, SARA, "mobile", "+966500000001")
    assert await people.read(TENANT, SARA, "email") is None
    assert await people.read(TENANT, OMAR, "mobile") is None


async def test_another_tenant_sees_nothing_of_a_person(people: PostgresPersonalData) -> None:
    await people.store(TENANT, SARA, "mobile", "+966500000001")
    assert await people.read(OTHER_TENANT, SARA, "mobile") is None


async def test_row_level_security_hides_a_row_that_the_query_forgot_to_filter(
    people: PostgresPersonalData, pool: Pool
) -> None:
    await people.store(TENANT, SARA, "mobile", "+966500000001")
    counts: list[int] = []
    for tenant_id in (TENANT, OTHER_TENANT):
        async with tenant_scope(pool, tenant_id) as connection:
            row = await (
                await connection.execute(
                    "SELECT (SELECT count(*) FROM personal_keys)"
                    " + (SELECT count(*) FROM personal_data)"
                )
            ).fetchone()
            assert row is not None
            counts.append(row[0])
    assert counts == [2, 0]


async def test_a_row_cannot_be_written_into_another_tenant(pool: Pool) -> None:
    async with tenant_scope(pool, OTHER_TENANT) as connection:
        with pytest.raises(InsufficientPrivilege, match="row-level security"):
            await connection.execute(
                "INSERT INTO personal_keys VALUES (%s, %s, 1, '\\x00')", (TENANT, SARA)
            )


async def test_a_ciphertext_moved_to_another_field_does_not_open(
    people: PostgresPersonalData, admin: Connection
) -> None:
    await people.store(TENANT, SARA, "mobile", "+966500000001")
    await people.store(TENANT, SARA, "email", "sara@example.com")
    await admin.execute(
        "UPDATE personal_data SET ciphertext = (SELECT ciphertext FROM personal_data"
        " WHERE field = 'email') WHERE field = 'mobile'"
    )
    assert await people.read(TENANT, SARA, "email") == "sara@example.com"
    with pytest.raises(KeyringUnusable, match=r"personal_data\.ciphertext/mobile"):
        await people.read(TENANT, SARA, "mobile")


async def test_a_person_given_another_ones_key_and_value_does_not_open(
    people: PostgresPersonalData, admin: Connection
) -> None:
    await people.store(TENANT, SARA, "mobile", "+966500000001")
    await people.store(TENANT, OMAR, "mobile", "+966500000002")
    await admin.execute(
        "UPDATE personal_keys SET wrapped_key = (SELECT wrapped_key FROM personal_keys"
        " WHERE user_id = %(omar)s) WHERE user_id = %(sara)s",
        {"sara": SARA, "omar": OMAR},
    )
    await admin.execute(
        "UPDATE personal_data SET ciphertext = (SELECT ciphertext FROM personal_data"
        " WHERE user_id = %(omar)s) WHERE user_id = %(sara)s",
        {"sara": SARA, "omar": OMAR},
    )
    with pytest.raises(KeyringUnusable, match=rf"personal_keys\.wrapped_key/{TENANT}/{SARA}"):
        await people.read(TENANT, SARA, "mobile")


async def test_another_key_encryption_key_opens_nothing(
    people: PostgresPersonalData, pool: Pool, keyring: Keyring, tmp_path: Path
) -> None:
    await people.store(TENANT, SARA, "mobile", "+966500000001")
    stranger = PostgresPersonalData(pool, TenantKeys(KeyFile(tmp_path / "other.key")), keyring)
    with pytest.raises(KeyringUnusable, match=r"other\.key does not hold"):
        await stranger.read(TENANT, SARA, "mobile")


async def test_first_writers_that_come_at_once_agree_on_one_key(
    people: PostgresPersonalData, admin: Connection
) -> None:
    """Seen to fail with a plain upsert of the key (DO UPDATE SET wrapped_key): the values of
    those who came first then no longer open."""
    fields = [consent_text(ConsentId(uuid4())) for _ in range(40)]
    await asyncio.gather(*(people.store(TENANT, SARA, field, field) for field in fields))
    read = await asyncio.gather(*(people.read(TENANT, SARA, field) for field in fields))
    assert read == fields
    found = await (await admin.execute("SELECT count(*) FROM personal_keys")).fetchone()
    assert found == (1,)


async def test_destroying_the_key_takes_every_value_with_it(
    people: PostgresPersonalData, admin: Connection
) -> None:
    await people.store(TENANT, SARA, "mobile", "+966500000001")
    await people.store(TENANT, SARA, "email", "sara@example.com")
    await people.store(TENANT, OMAR, "mobile", "+966500000002")
    assert await people.destroy(TENANT, SARA) is True
    assert await people.destroy(TENANT, SARA) is False
    assert await people.read(TENANT, SARA, "mobile") is None
    assert await people.read(TENANT, OMAR, "mobile") == "+966500000002"
    left = await admin.execute("SELECT user_id FROM personal_data")
    assert await left.fetchall() == [(OMAR,)]


async def test_another_tenant_cannot_destroy_a_key(people: PostgresPersonalData) -> None:
    await people.store(TENANT, SARA, "mobile", "+966500000001")
    assert await people.destroy(OTHER_TENANT, SARA) is False
    assert await people.read(TENANT, SARA, "mobile") == "+966500000001"


async def test_a_ciphertext_put_back_from_a_backup_stays_shut_after_the_destruction(
    people: PostgresPersonalData, admin: Connection
) -> None:
    await people.store(TENANT, SARA, "mobile", "+966500000001")
    kept = await (await admin.execute("SELECT ciphertext FROM personal_data")).fetchone()
    assert kept is not None
    await people.destroy(TENANT, SARA)
    await people.store(TENANT, SARA, "mobile", "+966500000009")
    await admin.execute("UPDATE personal_data SET ciphertext = %s", kept)
    with pytest.raises(KeyringUnusable):
        await people.read(TENANT, SARA, "mobile")


async def test_a_person_moved_to_another_tenants_key_does_not_open(
    people: PostgresPersonalData, admin: Connection
) -> None:
    await people.store(TENANT, SARA, "mobile", "+966500000001")
    await people.store(OTHER_TENANT, OMAR, "mobile", "+966500000002")
    await admin.execute(
        "UPDATE tenant_keys SET wrapped_key = (SELECT wrapped_key FROM tenant_keys"
        " WHERE tenant_id = %(other)s) WHERE tenant_id = %(tenant)s",
        {"other": OTHER_TENANT, "tenant": TENANT},
    )
    with pytest.raises(KeyringUnusable, match=rf"tenant_keys\.wrapped_key/{TENANT}/1"):
        await people.read(TENANT, SARA, "mobile")
    assert await people.read(OTHER_TENANT, OMAR, "mobile") == "+966500000002"


async def test_a_persons_key_from_before_tenants_had_keys_still_opens(
    people: PostgresPersonalData, keyring: Keyring, admin: Connection
) -> None:
    key = bytes(range(32))
    wrapped = keyring.seal(key, f"personal_keys.wrapped_key/{TENANT}/{SARA}/1")
    place = f"personal_data.ciphertext/mobile/{TENANT}/{SARA}/1"
    await admin.execute(
        "INSERT INTO personal_keys (tenant_id, user_id, key_version, wrapped_key)"
        " VALUES (%s, %s, 1, %s)",
        (TENANT, SARA, wrapped),
    )
    await admin.execute(
        "INSERT INTO personal_data (tenant_id, user_id, field, key_version, ciphertext)"
        " VALUES (%s, %s, 'mobile', 1, %s)",
        (TENANT, SARA, seal_under(key, b"+966500000001", place)),
    )
    await people.store(TENANT, SARA, "email", "sara@example.com")
    assert await people.read(TENANT, SARA, "mobile") == "+966500000001"
    assert await people.read(TENANT, SARA, "email") == "sara@example.com"


async def test_a_value_that_arrives_during_the_erasure_is_not_kept(
    people: PostgresPersonalData, admin: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The person goes at the worst moment: after the key was read, before the value lands."""
    await people.store(TENANT, SARA, "mobile", "+966500000001")
    obtain = PersonKeys.obtain

    async def destroyed_meanwhile(
        keys: PersonKeys, connection: Connection, tenant_id: TenantId, user_id: UserId
    ) -> tuple[int, bytes]:
        key = await obtain(keys, connection, tenant_id, user_id)
        await people.destroy(tenant_id, user_id)
        return key

    monkeypatch.setattr(PersonKeys, "obtain", destroyed_meanwhile)
    with pytest.raises(Conflict) as refused:
        await people.store(TENANT, SARA, "email", "s@example.com")
    assert refused.value.code == "personal_key_destroyed"
    left = await admin.execute("SELECT 1 FROM personal_data UNION SELECT 1 FROM personal_keys")
    assert await left.fetchall() == []


async def test_one_value_goes_and_a_late_one_does_not_come_back(
    people: PostgresPersonalData,
) -> None:
    await people.store(TENANT, SARA, PASSWORD_HASH, "the first")
    await people.store(TENANT, SARA, "name", "Sara")
    await people.replace(TENANT, SARA, PASSWORD_HASH, "another", "never")
    assert await people.read(TENANT, SARA, PASSWORD_HASH) == "the first"
    await people.replace(TENANT, SARA, PASSWORD_HASH, "the first", "the second")
    assert await people.read(TENANT, SARA, PASSWORD_HASH) == "the second"
    assert await people.everything(TENANT, SARA) == {"name": "Sara"}
    await people.remove(TENANT, SARA, PASSWORD_HASH)
    await people.replace(TENANT, SARA, PASSWORD_HASH, "the second", "the third")
    assert await people.read(TENANT, SARA, PASSWORD_HASH) is None
    assert await people.read(TENANT, SARA, "name") == "Sara"


@pytest.mark.parametrize(
    "field", ["", "Mobile", "mobile/x", "shoe_size", "consent_text_1", "kyc_", "a" * 64]
)
async def test_only_registered_fields_are_taken(people: PostgresPersonalData, field: str) -> None:
    with pytest.raises(ValueError, match="the vault has no field"):
        await people.store(TENANT, SARA, field, "value")


async def test_every_registered_field_is_taken_and_documented(people: PostgresPersonalData) -> None:
    documented = (Path(__file__).parents[3] / "docs" / "privacy.md").read_text()
    for field in (*FIELDS, *SECRETS):
        await people.store(TENANT, SARA, field, f"a {field}")
        assert f"`{field}`" in documented, field
    held = await people.everything(TENANT, SARA)
    assert held == {field: f"a {field}" for field in FIELDS}
