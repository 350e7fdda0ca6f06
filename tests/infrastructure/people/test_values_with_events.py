"""Values of the vault stand from the commit of the event that says so, and from no other moment."""

import asyncio
from collections.abc import AsyncGenerator
from uuid import UUID, uuid4

import pytest

from application.ports import StaleStream
from domain.errors import Conflict
from domain.events import SealedValue, StreamAppend
from domain.ids import TenantId, UserId
from infrastructure.database import Connection, Pool
from infrastructure.event_log.log import PostgresEventLog
from infrastructure.keys.keyring import Keyring
from infrastructure.keys.tenant_keys import TenantKeys
from infrastructure.people.personal_data import PostgresPersonalData
from tests.infrastructure.event_log.notes import MAPPER, A, Noted, origin

TENANT = TenantId(A)


@pytest.fixture
async def log(database: str) -> AsyncGenerator[PostgresEventLog]:
    opened = await PostgresEventLog.open(database, MAPPER)
    yield opened
    await opened.close()


@pytest.fixture
def vault(pool: Pool, tenant_keys: TenantKeys, keyring: Keyring) -> PostgresPersonalData:
    return PostgresPersonalData(pool, tenant_keys, keyring)


def changed(
    stream: UUID, values: list[SealedValue], version: int = 0, unless_begun: UUID | None = None
) -> StreamAppend:
    return StreamAppend(
        tenant_id=TENANT,
        stream_id=stream,
        expected_version=version,
        events=[Noted(text="changed")],
        values=values,
        unless_begun=unless_begun,
    )


async def test_values_are_kept_with_the_events_in_the_place_of_those_before(
    log: PostgresEventLog, vault: PostgresPersonalData
) -> None:
    sara = UserId(uuid4())
    await vault.store(TENANT, sara, "email", "sara@example.com")
    values = [
        await vault.seal(TENANT, sara, "email", "s@example.org"),
        await vault.seal(TENANT, sara, "name", "Sara"),
    ]
    assert await vault.everything(TENANT, sara) == {"email": "sara@example.com"}
    await log.append(origin(), [changed(sara, values)])
    assert await vault.everything(TENANT, sara) == {"email": "s@example.org", "name": "Sara"}
    assert await vault.everything(TenantId(uuid4()), sara) == {}


async def test_what_is_refused_or_kept_out_leaves_no_value(
    log: PostgresEventLog, vault: PostgresPersonalData
) -> None:
    """Seen to fail when the function keeps whatever it was given."""
    taken, sara = uuid4(), UserId(uuid4())
    await log.append(origin(), [changed(taken, [])])
    value = await vault.seal(TENANT, sara, "name", "Sara")
    for refused in (changed(taken, [value]), changed(uuid4(), [value], unless_begun=taken)):
        with pytest.raises(StaleStream):
            await log.append(origin(), [refused])
    assert await vault.everything(TENANT, sara) == {}


async def test_of_many_at_once_each_keeps_its_own(
    log: PostgresEventLog, vault: PostgresPersonalData
) -> None:
    taken = uuid4()
    await log.append(origin(), [changed(taken, [])])
    people = [UserId(uuid4()) for _ in range(12)]
    appends = [
        changed(
            taken if number % 3 == 0 else person,
            [await vault.seal(TENANT, person, "name", f"{number}")],
        )
        for number, person in enumerate(people)
    ]
    await asyncio.gather(
        *(log.append(origin(), [each]) for each in appends), return_exceptions=True
    )
    kept = [await vault.read(TENANT, person, "name") for person in people]
    assert kept == [None if number % 3 == 0 else f"{number}" for number in range(12)]


async def test_a_submission_that_comes_again_does_not_bring_an_old_value_back(
    log: PostgresEventLog, vault: PostgresPersonalData
) -> None:
    """Seen to fail when a repeat's values are kept again."""
    sara, first = UserId(uuid4()), origin()
    old = changed(sara, [await vault.seal(TENANT, sara, "name", "old")])
    await log.append(first, [old])
    await log.append(
        origin(), [changed(sara, [await vault.seal(TENANT, sara, "name", "new")], version=1)]
    )
    assert (await log.append(first, [old])).replayed
    assert await vault.read(TENANT, sara, "name") == "new"


async def test_nothing_is_kept_of_who_was_erased_or_is_being_erased_and_nobody_waits(
    log: PostgresEventLog, vault: PostgresPersonalData, admin: Connection
) -> None:
    """Seen to hang, until the log gives up, without SKIP LOCKED in the function."""
    sara, omar = UserId(uuid4()), UserId(uuid4())
    of_sara = await vault.seal(TENANT, sara, "name", "Sara")
    of_omar = await vault.seal(TENANT, omar, "name", "Omar")
    await vault.erase(TENANT, sara)
    async with admin.transaction():
        await admin.execute("DELETE FROM personal_keys WHERE user_id = %s", (omar,))
        await log.append(origin(), [changed(sara, [of_sara])])
        await log.append(origin(), [changed(omar, [of_omar])])
    assert await vault.everything(TENANT, sara) == await vault.everything(TENANT, omar) == {}
    with pytest.raises(Conflict, match="personal_key_destroyed"):
        await vault.seal(TENANT, sara, "name", "Sara")
