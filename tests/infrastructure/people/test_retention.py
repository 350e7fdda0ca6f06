"""What has run out goes, for every tenant, and nothing else does."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql
from structlog.testing import capture_logs

from application.ports import OtpChallenge
from domain.ids import ChallengeId, DeviceId, TenantId, UserId
from domain.tenant_settings import RetentionPolicy, TenantSettings, retention_policy
from infrastructure.database import Connection, Pool
from infrastructure.event_log.log import PostgresEventLog
from infrastructure.keys.keyring import Keyring
from infrastructure.keys.tenant_keys import TenantKeys
from infrastructure.people import retention as module
from infrastructure.people.enrollment_grants import PostgresEnrollmentGrants
from infrastructure.people.otp_challenges import PostgresOtpChallenges
from infrastructure.people.personal_data import PostgresPersonalData
from infrastructure.people.retention import Retention, Swept
from tests.application.hand_clock import HandClock
from tests.infrastructure.event_log.notes import MAPPER, notes, origin

TENANTS = [TenantId(uuid4()), TenantId(uuid4())]
DEVICE = DeviceId(uuid4())
NOTHING = Swept(signups=0, challenges=0, grants=0)


class Decided:
    """What tenants have decided, as the log would have it."""

    def __init__(self, settings: Mapping[TenantId, TenantSettings] | None = None) -> None:
        self._settings = settings or {}

    async def held(self, after: TenantId, limit: int) -> Sequence[TenantId]:
        return sorted(each for each in self._settings if each > after)[:limit]

    async def of(self, tenant_id: TenantId) -> RetentionPolicy | None:
        return retention_policy(self._settings[tenant_id])


async def left(admin: Connection, table: str, column: str) -> set[UUID]:
    query = sql.SQL("SELECT {} FROM {}").format(sql.Identifier(column), sql.Identifier(table))
    return {row[0] for row in await (await admin.execute(query)).fetchall()}


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


async def test_values_of_sign_ups_that_never_ended_go_after_an_hour(
    pool: Pool,
    tenant_keys: TenantKeys,
    keyring: Keyring,
    clock: HandClock,
    admin: Connection,
    database: str,
) -> None:
    """Seen to fail when the sweep does not ask for the user's events: users then lose theirs."""
    people = PostgresPersonalData(pool, tenant_keys, keyring)
    finished, unfinished, recent = (UserId(uuid4()) for _ in range(3))
    log = await PostgresEventLog.open(database, MAPPER)
    for tenant_id in TENANTS:
        for user_id in (finished, unfinished, recent):
            await people.store(tenant_id, user_id, "mobile", "+966500000001")
    await log.append(origin(), [notes(finished, 0, "signed up", tenant_id=TENANTS[0])])
    await log.close()
    age = clock.now() - timedelta(minutes=61)
    await admin.execute("UPDATE personal_keys SET created_at = %s", (age,))
    young = clock.now() - timedelta(minutes=59)
    await admin.execute(
        "UPDATE personal_keys SET created_at = %s WHERE user_id = %s", (young, recent)
    )
    swept = await Retention(pool, clock, Decided()).sweep()
    assert swept == Swept(signups=2, challenges=0, grants=0)
    assert await left(admin, "personal_data", "user_id") == {finished, recent}
    assert await left(admin, "personal_keys", "user_id") == {finished, recent}
    assert await Retention(pool, clock, Decided()).sweep() == NOTHING


async def test_codes_and_grants_that_ran_out_go_from_quiet_tenants_too(
    pool: Pool, keyring: Keyring, clock: HandClock, admin: Connection
) -> None:
    challenges, grants = PostgresOtpChallenges(pool, keyring), PostgresEnrollmentGrants(pool)
    now, kept = clock.now(), set[UUID]()
    for tenant_id in TENANTS:
        for age, stays in ((-5, True), (59, True), (61, False)):
            expires_at = now - timedelta(minutes=age)
            challenge = OtpChallenge(
                id=ChallengeId(uuid4()),
                tenant_id=tenant_id,
                bound_to=DEVICE,
                destination="+966500000001",
                created_at=expires_at - timedelta(minutes=5),
                expires_at=expires_at,
            )
            # The oldest last, as if nobody signed up since: opening forgets by itself.
            await challenges.open(challenge, "digest")
            kept |= {challenge.id} if stays else set()
        await grants.open(tenant_id, DEVICE, UserId(uuid4()), now - timedelta(seconds=1))
        await grants.open(tenant_id, DEVICE, UserId(UUID(int=7)), now + timedelta(seconds=1))
    swept = await Retention(pool, clock, Decided()).sweep()
    assert (swept.challenges, swept.grants) == (2, 2)
    assert await left(admin, "otp_challenges", "id") == kept
    assert await left(admin, "enrollment_grants", "user_id") == {UUID(int=7)}


async def test_a_session_goes_so_long_after_it_could_be_used_no_more_as_its_tenant_says(
    pool: Pool, clock: HandClock, admin: Connection
) -> None:
    """Ended, unused for too long, or at its latest end: whichever was first. Seen to fail when one
    tenant's days are used for the other."""
    now, kept, day = clock.now(), set[UUID](), timedelta(days=1)
    days = {TENANTS[0]: 30, TENANTS[1]: 2}
    for tenant_id, after in ((tenant, timedelta(days=days[tenant])) for tenant in TENANTS):
        for ended_at, idle_until, expires_at, stays in (
            (None, now + day, now + day, True),
            (now - after + day, now + day, now + day, True),
            (now - after - day, now + day, now + day, False),
            (None, now - after - day, now + day, False),
            (None, now - after + day, now - after + day, True),
            (None, now + day, now - after - day, False),
        ):
            session_id = uuid4()
            await admin.execute(
                "INSERT INTO user_sessions VALUES"
                " (%s, %s, %s, 'otp_sms', 'digest', 1, %s, %s, %s, %s, %s, NULL, %s, NULL)",
                (tenant_id, session_id, uuid4(), now, now, now, idle_until, expires_at, ended_at),
            )
            kept |= {session_id} if stays else set()
    decided = {
        tenant_id: TenantSettings(session_record_days=days[tenant_id]) for tenant_id in TENANTS
    }
    await Retention(pool, clock, Decided(decided)).sweep()
    assert await left(admin, "user_sessions", "id") == kept


async def text_of(
    admin: Connection, tenant_id: TenantId, kept_at: datetime, void: str | None = None
) -> UUID:
    """A product's words of that age; the transaction, with a void in that state."""
    user_id, transaction_id = uuid4(), uuid4()
    await admin.execute(
        "INSERT INTO personal_keys (tenant_id, user_id, key_version, wrapped_key, created_at)"
        " VALUES (%s, %s, 1, '', 'infinity')",  # never a sign-up that was not finished
        (tenant_id, user_id),
    )
    await admin.execute(
        "INSERT INTO product_texts (tenant_id, user_id, transaction_id, key_version, ciphertext,"
        " kept_at) SELECT tenant_id, user_id, %s, key_version, '', %s FROM personal_keys"
        " WHERE user_id = %s",
        (transaction_id, kept_at, user_id),
    )
    if void is not None:
        await admin.execute(
            "INSERT INTO deliveries (id, tenant_id, kind, destination, lane, event_id, event,"
            " stream_id, stream_version, position, recorded_at, state, finished_at)"
            " VALUES (%s, %s, 'void', %s, %s, %s, 'x', %s, 1, 1, now(), %s,"
            " CASE WHEN %s = 'pending' THEN NULL ELSE now() END)",
            (uuid4(), tenant_id, uuid4(), transaction_id, uuid4(), transaction_id, void, void),
        )
    return transaction_id


async def test_a_products_words_go_when_the_tenant_says_so(
    pool: Pool, clock: HandClock, admin: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one tenant after three days, of another after fifty, of a third never.

    Seen to fail when one tenant's days are used for all, and when a void that is owed is not
    looked for.
    """
    monkeypatch.setattr(module, "TENANTS_AT_ONCE", 1)
    forever = TenantId(uuid4())
    days = {TENANTS[0]: 3, TENANTS[1]: 50, forever: 0}
    now, kept, gone = clock.now(), set[UUID](), set[UUID]()
    for tenant_id, after in days.items():
        for age in (2, 4, 49, 51):
            found = await text_of(admin, tenant_id, now - timedelta(days=age))
            (gone if after and age > after else kept).add(found)
    for void in ("pending", "dead"):
        kept.add(await text_of(admin, TENANTS[0], now - timedelta(days=4), void))
    gone.add(await text_of(admin, TENANTS[0], now - timedelta(days=4), "delivered"))
    decided = {
        tenant_id: TenantSettings(product_text_days=after) for tenant_id, after in days.items()
    }
    sweeps = [Retention(pool, clock, Decided(decided)).sweep() for _ in range(2)]
    await asyncio.gather(*sweeps)
    assert await left(admin, "product_texts", "transaction_id") == kept
    longer = dict.fromkeys(days, TenantSettings(product_text_days=1))
    await Retention(pool, clock, Decided(longer)).sweep()
    assert len(await left(admin, "product_texts", "transaction_id")) == 2, "those with a void"


async def test_no_words_of_today_go_whatever_the_workers_clock_says(
    pool: Pool, clock: HandClock, admin: Connection
) -> None:
    """Seen to fail when the function trusts the time that it is given."""
    clock.advance(timedelta(days=36_500).total_seconds())
    kept = {await text_of(admin, TENANTS[0], datetime.now(UTC) - timedelta(hours=1))}
    decided = {TENANTS[0]: TenantSettings(product_text_days=1)}
    await Retention(pool, clock, Decided(decided)).sweep()
    assert await left(admin, "product_texts", "transaction_id") == kept


async def test_a_tenant_whose_settings_cannot_be_read_keeps_no_other_waiting(
    pool: Pool, clock: HandClock, admin: Connection
) -> None:
    first, second = sorted(TENANTS)
    old = clock.now() - timedelta(days=4)
    kept = {await text_of(admin, first, old)}
    await text_of(admin, second, old)

    class Unreadable(Decided):
        async def of(self, tenant_id: TenantId) -> RetentionPolicy | None:
            if tenant_id == first:
                raise ValueError("not ours")
            return await super().of(tenant_id)

    decided = dict.fromkeys(TENANTS, TenantSettings(product_text_days=3))
    with capture_logs() as logs:
        await Retention(pool, clock, Unreadable(decided)).sweep()
    assert await left(admin, "product_texts", "transaction_id") == kept
    assert [(line["event"], line["tenant"]) for line in logs] == [("sweep_failed", str(first))]


async def test_a_console_session_goes_when_it_can_be_used_no_more(
    pool: Pool, clock: HandClock, admin: Connection
) -> None:
    """Also that of somebody who never comes again. Without the sweep all of them stay."""
    now, kept, operator_id = clock.now(), set[UUID](), uuid4()
    for tenant_id in TENANTS:
        await admin.execute(
            "INSERT INTO console_users (tenant_id, id, email, name) VALUES (%s, %s, '', '')",
            (tenant_id, operator_id),
        )
        for ends_in in (timedelta(seconds=-1), timedelta(seconds=1)):
            session_id = uuid4()
            await admin.execute(
                "INSERT INTO console_sessions VALUES (%s, %s, %s, 'password', %s, %s, %s)",
                (tenant_id, session_id, operator_id, now, now, now + ends_in),
            )
            kept |= {session_id} if ends_in > timedelta(0) else set()
    await Retention(pool, clock, Decided()).sweep()
    assert await left(admin, "console_sessions", "id") == kept


async def test_a_challenge_for_a_passkey_goes_when_it_has_run_out(
    pool: Pool, clock: HandClock, admin: Connection
) -> None:
    """Most are never answered: every visit to the sign-in page asks for one. Without the sweep all
    of them stay."""
    now, kept = clock.now(), set[UUID]()
    for tenant_id in TENANTS:
        for ends_in in (timedelta(seconds=-1), timedelta(seconds=1)):
            ceremony_id = uuid4()
            await admin.execute(
                "INSERT INTO passkey_ceremonies VALUES"
                " (%s, %s, 'sign_in', NULL, NULL, '', 'localhost', 'https://localhost', %s)",
                (tenant_id, ceremony_id, now + ends_in),
            )
            kept |= {ceremony_id} if ends_in > timedelta(0) else set()
    await Retention(pool, clock, Decided()).sweep()
    assert await left(admin, "passkey_ceremonies", "id") == kept


async def test_more_than_a_batch_goes_in_one_sweep(
    pool: Pool, clock: HandClock, admin: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 10)
    await admin.execute(
        "INSERT INTO enrollment_grants SELECT %s, %s, gen_random_uuid(), %s"
        " FROM generate_series(1, 37)",
        (TENANTS[0], DEVICE, clock.now() - timedelta(seconds=1)),
    )
    both = await asyncio.gather(
        Retention(pool, clock, Decided()).sweep(), Retention(pool, clock, Decided()).sweep()
    )
    assert sum(swept.grants for swept in both) == 37
    assert await left(admin, "enrollment_grants", "user_id") == set()


async def test_it_sweeps_again_and_again_and_a_failure_is_told(
    pool: Pool, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EVERY", timedelta(milliseconds=1))
    swept = asyncio.Event()
    rounds: list[int] = []

    class Failing(Retention):
        async def sweep(self) -> Swept:
            rounds.append(len(rounds))
            if len(rounds) == 1:
                raise psycopg.OperationalError("away")
            if len(rounds) == 3:
                swept.set()
            return NOTHING

    with capture_logs() as logs:
        async with Failing(pool, clock, Decided()):
            await swept.wait()
    assert [line["event"] for line in logs] == ["sweep_failed"]


async def test_the_application_deletes_nothing_by_itself(
    pool: Pool, clock: HandClock, admin: Connection
) -> None:
    """The function is the only way over tenants; row-level security holds the role as before."""
    await admin.execute(
        "INSERT INTO enrollment_grants VALUES (%s, %s, %s, %s)",
        (TENANTS[0], DEVICE, uuid4(), clock.now()),
    )
    async with pool.connection() as connection:
        deleted = await connection.execute("DELETE FROM enrollment_grants")
        assert deleted.rowcount == 0
