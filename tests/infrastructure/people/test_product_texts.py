"""What a product wrote stands beside the log, from the commit of the decision on."""

import asyncio
from collections.abc import AsyncGenerator
from uuid import uuid4

import pytest

from application.ports import StaleStream
from domain.events import Sealed, StreamAppend
from domain.ids import TenantId, TransactionId, UserId
from domain.transaction import ProductText
from infrastructure.database import Connection, Pool
from infrastructure.event_log.log import PostgresEventLog
from infrastructure.keys.keyring import Keyring, KeyringUnusable
from infrastructure.keys.tenant_keys import TenantKeys
from infrastructure.people.personal_data import PostgresPersonalData
from infrastructure.people.product_texts import PostgresProductTexts
from tests.infrastructure.event_log.notes import MAPPER, A, Noted, origin

SARA, OMAR = UserId(uuid4()), UserId(uuid4())
TEXT = ProductText(display_message="Thank you, Sara", reference_id="wal_889")


@pytest.fixture
async def log(database: str) -> AsyncGenerator[PostgresEventLog]:
    opened = await PostgresEventLog.open(database, MAPPER)
    yield opened
    await opened.close()


@pytest.fixture
async def people(pool: Pool, tenant_keys: TenantKeys, keyring: Keyring) -> PostgresPersonalData:
    made = PostgresPersonalData(pool, tenant_keys, keyring)
    for person in (SARA, OMAR):
        await made.store(TenantId(A), person, "mobile", f"+9665{person.int % 10**8:08d}")
    return made


@pytest.fixture
def texts(
    pool: Pool, tenant_keys: TenantKeys, keyring: Keyring, people: PostgresPersonalData
) -> PostgresProductTexts:
    del people  # who is asked about has a key
    return PostgresProductTexts(pool, tenant_keys, keyring)


def transaction() -> TransactionId:
    return TransactionId(uuid4())


def decided(stream: TransactionId, sealed: Sealed | None, version: int = 0) -> StreamAppend:
    return StreamAppend(
        tenant_id=TenantId(A),
        stream_id=stream,
        expected_version=version,
        events=[Noted(text="decided")],
        sealed=sealed,
    )


async def kept(admin: Connection) -> int:
    found = await (await admin.execute("SELECT count(*) FROM product_texts")).fetchone()
    assert found is not None
    return int(found[0])


async def test_it_is_kept_with_the_events_and_opens_in_another_process(
    log: PostgresEventLog,
    texts: PostgresProductTexts,
    pool: Pool,
    tenant_keys: TenantKeys,
    keyring: Keyring,
    admin: Connection,
) -> None:
    first, second, command = transaction(), transaction(), origin()
    sealed = await texts.seal(TenantId(A), SARA, first, TEXT)
    assert await kept(admin) == 0, "sealing alone keeps nothing"
    await log.append(command, [decided(first, sealed)])
    await log.append(command, [decided(first, sealed)])  # its answer was lost, so it comes again
    assert await kept(admin) == 1
    again = await texts.seal(TenantId(A), SARA, second, ProductText(reference_id="wal_890"))
    await log.append(origin(), [decided(second, again)])
    elsewhere = PostgresProductTexts(pool, tenant_keys, keyring)
    assert await elsewhere.open(TenantId(A), SARA, first, sealed.commitment) == TEXT
    assert dict(await elsewhere.of_person(TenantId(A), SARA)) == {
        first: TEXT,
        second: ProductText(reference_id="wal_890"),
    }
    assert await elsewhere.open(TenantId(uuid4()), SARA, first, sealed.commitment) is None
    assert await elsewhere.of_person(TenantId(A), OMAR) == []


async def test_the_same_text_has_another_commitment_each_time(texts: PostgresProductTexts) -> None:
    """Or whoever has the log could tell who was told the same, and try what it was."""
    stream = transaction()
    sealed = [await texts.seal(TenantId(A), SARA, stream, TEXT) for _ in range(3)]
    assert len({each.commitment for each in sealed}) == 3


async def test_of_a_batch_only_what_was_accepted_is_kept(
    log: PostgresEventLog, texts: PostgresProductTexts, admin: Connection
) -> None:
    """Seen to fail when the function keeps whatever it was given."""
    taken, streams = transaction(), [transaction() for _ in range(20)]
    await log.append(origin(), [decided(taken, None)])
    late = await texts.seal(TenantId(A), SARA, taken, TEXT)
    appends = [
        decided(stream, await texts.seal(TenantId(A), OMAR, stream, TEXT)) for stream in streams
    ]
    outcomes = await asyncio.gather(
        *(log.append(origin(), [append]) for append in (*appends, decided(taken, late))),
        return_exceptions=True,
    )
    assert isinstance(outcomes[-1], StaleStream)
    assert await kept(admin) == len(streams)
    assert await texts.open(TenantId(A), SARA, taken, late.commitment) is None


async def test_nothing_is_kept_of_somebody_who_was_erased_meanwhile(
    log: PostgresEventLog,
    texts: PostgresProductTexts,
    people: PostgresPersonalData,
    pool: Pool,
    tenant_keys: TenantKeys,
    keyring: Keyring,
    admin: Connection,
) -> None:
    """With the key still in this process's memory, and without."""
    early, before, after = transaction(), transaction(), transaction()
    first = await texts.seal(TenantId(A), SARA, early, TEXT)
    await log.append(origin(), [decided(early, first)])
    sealed = await texts.seal(TenantId(A), SARA, before, TEXT)
    await people.erase(TenantId(A), SARA)
    assert await kept(admin) == 0, "what was kept is gone with the key"
    await log.append(origin(), [decided(before, sealed)])
    fresh = PostgresProductTexts(pool, tenant_keys, keyring)
    unkept = await fresh.seal(TenantId(A), SARA, after, TEXT)
    await log.append(origin(), [decided(after, unkept)])
    assert len(await log.load(TenantId(A), after)) == 1
    assert await kept(admin) == 0
    for stream, commitment in ((early, first.commitment), (before, sealed.commitment)):
        assert await texts.open(TenantId(A), SARA, stream, commitment) is None


async def test_who_appends_waits_for_no_erasure(
    log: PostgresEventLog, texts: PostgresProductTexts, admin: Connection
) -> None:
    """An erasure that stands still between its delete and its commit would hold up every tenant.

    Seen to hang, until the log gives up, without SKIP LOCKED in `append_events_sealing`.
    """
    stream = transaction()
    sealed = await texts.seal(TenantId(A), SARA, stream, TEXT)
    async with admin.transaction():
        await admin.execute("DELETE FROM personal_keys WHERE user_id = %s", (SARA,))
        await log.append(origin(), [decided(stream, sealed)])
    assert len(await log.load(TenantId(A), stream)) == 1
    assert await kept(admin) == 0


async def test_a_text_moved_to_another_transaction_does_not_open(
    log: PostgresEventLog, texts: PostgresProductTexts, admin: Connection
) -> None:
    streams = [transaction(), transaction()]
    sealed = [await texts.seal(TenantId(A), SARA, stream, TEXT) for stream in streams]
    for stream, each in zip(streams, sealed, strict=True):
        await log.append(origin(), [decided(stream, each)])
    await admin.execute(
        "UPDATE product_texts SET ciphertext = (SELECT ciphertext FROM product_texts"
        " WHERE transaction_id = %s) WHERE transaction_id = %s",
        (streams[1], streams[0]),
    )
    with pytest.raises(KeyringUnusable, match=r"product_texts\.ciphertext"):
        await texts.open(TenantId(A), SARA, streams[0], sealed[0].commitment)
    assert await texts.open(TenantId(A), SARA, streams[1], sealed[1].commitment) == TEXT


async def test_a_text_that_the_event_does_not_stand_for_is_refused(
    log: PostgresEventLog, texts: PostgresProductTexts, admin: Connection
) -> None:
    """Whoever holds the keys could seal another; the log says what was said."""
    stream = transaction()
    said = await texts.seal(TenantId(A), SARA, stream, TEXT)
    await log.append(origin(), [decided(stream, said)])
    other = await texts.seal(TenantId(A), SARA, stream, ProductText(display_message="No"))
    await admin.execute("UPDATE product_texts SET ciphertext = %s", (other.ciphertext,))
    with pytest.raises(KeyringUnusable, match="not the one committed to"):
        await texts.open(TenantId(A), SARA, stream, said.commitment)
