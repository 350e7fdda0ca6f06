"""A context waits, sealed, for the product that must be told of it, and goes with its person."""

from datetime import timedelta
from uuid import uuid4

import pytest

from domain.ids import TenantId, TransactionId, UserId
from infrastructure.database import Connection, Pool
from infrastructure.keys.keyring import Keyring, KeyringUnusable
from infrastructure.keys.tenant_keys import TenantKeys
from infrastructure.people.advice_contexts import PostgresAdviceContexts
from infrastructure.people.personal_data import PostgresPersonalData
from infrastructure.people.retention import ADVICE_AFTER, Retention
from tests.application.hand_clock import HandClock
from tests.infrastructure.people.test_retention import Decided

TENANT, OTHER_TENANT = TenantId(uuid4()), TenantId(uuid4())
SARA = UserId(uuid4())
SALE, OTHER_SALE = TransactionId(uuid4()), TransactionId(uuid4())
CONTEXT = b'{"amount":"5.00","patient":"room 4711"}'


@pytest.fixture
def contexts(pool: Pool, tenant_keys: TenantKeys, keyring: Keyring) -> PostgresAdviceContexts:
    return PostgresAdviceContexts(pool, tenant_keys, keyring)


async def stored(admin: Connection) -> list[bytes]:
    found = await admin.execute("SELECT ciphertext FROM advice_contexts ORDER BY kept_at")
    return [row[0] for row in await found.fetchall()]


async def test_it_reads_back_until_it_is_forgotten_and_lies_there_sealed(
    contexts: PostgresAdviceContexts, admin: Connection
) -> None:
    assert await contexts.keep(TENANT, SARA, SALE, CONTEXT)
    assert await contexts.keep(TENANT, SARA, SALE, b"{}"), "the first one counts"
    assert await contexts.read(TENANT, SARA, SALE) == CONTEXT
    assert await contexts.read(OTHER_TENANT, SARA, SALE) is None
    (sealed,) = await stored(admin)
    assert b"4711" not in sealed
    await contexts.forget(TENANT, SARA, SALE)
    assert await contexts.read(TENANT, SARA, SALE) is None
    assert await stored(admin) == []


async def test_an_erasure_takes_it_along_and_nothing_is_kept_after_it(
    contexts: PostgresAdviceContexts,
    pool: Pool,
    tenant_keys: TenantKeys,
    keyring: Keyring,
    admin: Connection,
) -> None:
    assert await contexts.keep(TENANT, SARA, SALE, CONTEXT)
    await PostgresPersonalData(pool, tenant_keys, keyring).erase(TENANT, SARA)
    assert await stored(admin) == []
    assert not await contexts.keep(TENANT, SARA, OTHER_SALE, CONTEXT)
    assert await contexts.read(TENANT, SARA, SALE) is None


async def test_one_that_was_moved_to_another_transaction_does_not_open(
    contexts: PostgresAdviceContexts, admin: Connection
) -> None:
    await contexts.keep(TENANT, SARA, SALE, CONTEXT)
    await admin.execute("UPDATE advice_contexts SET transaction_id = %s", (OTHER_SALE,))
    with pytest.raises(KeyringUnusable):
        await contexts.read(TENANT, SARA, OTHER_SALE)


async def test_what_nobody_will_be_told_of_any_more_goes(
    contexts: PostgresAdviceContexts, pool: Pool, admin: Connection
) -> None:
    clock = HandClock()
    await contexts.keep(TENANT, SARA, SALE, CONTEXT)
    await contexts.keep(TENANT, SARA, OTHER_SALE, CONTEXT)
    age = clock.now() - ADVICE_AFTER
    for sale, kept_at in ((SALE, age - timedelta(days=1)), (OTHER_SALE, age + timedelta(days=1))):
        await admin.execute(
            "UPDATE advice_contexts SET kept_at = %s WHERE transaction_id = %s", (kept_at, sale)
        )
    await Retention(pool, clock, Decided()).sweep()
    assert await contexts.read(TENANT, SARA, SALE) is None
    assert await contexts.read(TENANT, SARA, OTHER_SALE) == CONTEXT
