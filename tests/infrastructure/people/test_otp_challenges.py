"""A one-time code: five tries, one winner, one answer, and nothing told to anybody else."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest

from application.ports import OtpAttempt, OtpChallenge
from domain.ids import ChallengeId, TenantId, UserId
from infrastructure import database as connections
from infrastructure.database import Connection, Pool, tenant_scope
from infrastructure.keys.keyring import Keyring
from infrastructure.people.otp_challenges import PostgresOtpChallenges

TENANT = TenantId(uuid4())
OTHER_TENANT = TenantId(uuid4())
DEVICE = uuid4()
OTHER_DEVICE = uuid4()
SARA = UserId(uuid4())
MOBILE = "+966500000001"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
RIGHT = "digest-of-the-right-code"
WRONG = "digest-of-a-wrong-code"


def challenge(
    *,
    tenant_id: TenantId = TENANT,
    bound_to: UUID = DEVICE,
    destination: str = MOBILE,
    created_at: datetime = NOW,
) -> OtpChallenge:
    return OtpChallenge(
        id=ChallengeId(uuid4()),
        tenant_id=tenant_id,
        bound_to=bound_to,
        destination=destination,
        created_at=created_at,
        expires_at=created_at + timedelta(minutes=5),
    )


async def opened(challenges: PostgresOtpChallenges, one: OtpChallenge) -> OtpChallenge:
    await challenges.open(one, RIGHT)
    return one


async def tried(
    challenges: PostgresOtpChallenges,
    one: OtpChallenge,
    code_digest: str,
    *,
    after_s: float = 1,
) -> OtpAttempt:
    now = one.created_at + timedelta(seconds=after_s)
    return await challenges.attempt(one.tenant_id, one.bound_to, one.id, code_digest, now)


@pytest.fixture
def challenges(pool: Pool, keyring: Keyring) -> PostgresOtpChallenges:
    return PostgresOtpChallenges(pool, keyring)


async def test_the_right_code_is_right_once(
    challenges: PostgresOtpChallenges,
) -> None:
    one = await opened(challenges, challenge())
    assert await tried(challenges, one, RIGHT) == OtpAttempt(
        outcome="right", destination=MOBILE, attempts_left=5
    )
    again = await tried(challenges, one, RIGHT)
    assert again == OtpAttempt(outcome="repeated", destination=MOBILE, attempts_left=5)


async def test_five_wrong_codes_lock_the_challenge_for_the_right_one_too(
    challenges: PostgresOtpChallenges,
) -> None:
    one = await opened(challenges, challenge())
    left = [(await tried(challenges, one, WRONG)) for _ in range(5)]
    assert [(a.outcome, a.attempts_left) for a in left] == [("wrong", n) for n in (4, 3, 2, 1, 0)]
    assert (await tried(challenges, one, RIGHT)).outcome == "locked"
    assert (await tried(challenges, one, WRONG)).outcome == "locked"


async def test_the_right_code_still_counts_on_the_last_try(
    challenges: PostgresOtpChallenges,
) -> None:
    one = await opened(challenges, challenge())
    for _ in range(4):
        await tried(challenges, one, WRONG)
    assert (await tried(challenges, one, RIGHT)).outcome == "right"


async def test_a_code_runs_out_at_its_expiry(challenges: PostgresOtpChallenges) -> None:
    early, late = await opened(challenges, challenge()), await opened(challenges, challenge())
    assert (await tried(challenges, early, RIGHT, after_s=299.9)).outcome == "right"
    assert (await tried(challenges, late, RIGHT, after_s=300)).outcome == "expired"


async def test_a_repeat_within_a_minute_gets_the_same_user(
    challenges: PostgresOtpChallenges,
) -> None:
    one = await opened(challenges, challenge())
    await tried(challenges, one, RIGHT, after_s=1)
    await challenges.conclude(TENANT, one.id, SARA)
    repeat = await tried(challenges, one, RIGHT, after_s=60)
    assert (repeat.outcome, repeat.user_id, repeat.destination) == ("repeated", SARA, MOBILE)
    assert (await tried(challenges, one, RIGHT, after_s=61)).outcome == "consumed"


async def test_a_repeat_with_a_wrong_code_is_consumed_and_counted(
    challenges: PostgresOtpChallenges,
) -> None:
    """Otherwise the minute after a success would be open to guessing: the right guess is told
    the user. Seen to fail when wrong tries are counted before the consumption only."""
    one = await opened(challenges, challenge())
    await tried(challenges, one, RIGHT)
    await challenges.conclude(TENANT, one.id, SARA)
    for _ in range(5):
        assert (await tried(challenges, one, WRONG)).outcome == "consumed"
    assert (await tried(challenges, one, RIGHT)).outcome == "consumed"


async def test_concluding_means_nothing_before_the_consumption(
    challenges: PostgresOtpChallenges,
) -> None:
    one = await opened(challenges, challenge())
    await challenges.conclude(TENANT, one.id, SARA)
    assert (await tried(challenges, one, RIGHT)).user_id is None


async def test_another_device_or_tenant_is_told_that_there_is_no_such_challenge(
    challenges: PostgresOtpChallenges,
) -> None:
    one = await opened(challenges, challenge())
    strangers = [(TENANT, OTHER_DEVICE), (OTHER_TENANT, DEVICE), (OTHER_TENANT, OTHER_DEVICE)]
    for tenant_id, bound_to in strangers:
        attempt = await challenges.attempt(tenant_id, bound_to, one.id, RIGHT, NOW)
        assert attempt == OtpAttempt(outcome="unknown")
    absent = await challenges.attempt(TENANT, DEVICE, ChallengeId(uuid4()), RIGHT, NOW)
    assert absent == OtpAttempt(outcome="unknown")
    assert (await tried(challenges, one, RIGHT)).outcome == "right"


async def test_a_foreign_challenge_costs_no_more_than_an_absent_one(
    challenges: PostgresOtpChallenges, database: str
) -> None:
    """Neither writes anything, and a commit is what would be felt from outside. Seen to fail with
    an attempt that writes a row for a foreign challenge before it says no."""
    one = await opened(challenges, challenge())
    asked = {
        "absent": (TENANT, DEVICE, ChallengeId(uuid4())),
        "other device": (TENANT, OTHER_DEVICE, one.id),
        "other tenant": (OTHER_TENANT, DEVICE, one.id),
    }
    wrote = dict.fromkeys(asked, True)
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as counter:
        # Several tries: the server may have written something of its own beside one of them.
        for _ in range(10):
            for name, (tenant_id, bound_to, challenge_id) in asked.items():
                before = await last_writer(counter)
                attempt = await challenges.attempt(tenant_id, bound_to, challenge_id, RIGHT, NOW)
                wrote[name] &= await last_writer(counter) - before > 1
                assert attempt.outcome == "unknown"
    assert not any(wrote.values()), wrote


async def last_writer(connection: Connection) -> int:
    """A fresh transaction id: those of transactions that write something ascend by one."""
    row = await (await connection.execute("SELECT pg_current_xact_id()::text::bigint")).fetchone()
    assert row is not None
    return int(row[0])


class _CheckThenUpdate(PostgresOtpChallenges):
    """The planted bug: looks first and consumes afterwards, in the same transaction.

    Pairs of attempts meet between the look and the write, as two requests may at any time.
    """

    def __init__(self, pool: Pool, keyring: Keyring) -> None:
        super().__init__(pool, keyring)
        self._both_have_looked = asyncio.Barrier(2)

    async def attempt(
        self,
        tenant_id: TenantId,
        bound_to: UUID,
        challenge_id: ChallengeId,
        code_digest: str,
        now: datetime,
    ) -> OtpAttempt:
        async with tenant_scope(self._pool, tenant_id) as connection:
            row = await (
                await connection.execute(
                    "SELECT 1 FROM otp_challenges WHERE id = %s AND bound_to = %s"
                    " AND code_digest = %s AND consumed_at IS NULL",
                    (challenge_id, bound_to, code_digest),
                )
            ).fetchone()
            await self._both_have_looked.wait()
            if row is None:
                return OtpAttempt(outcome="consumed")
            await connection.execute(
                "UPDATE otp_challenges SET consumed_at = %s WHERE id = %s", (now, challenge_id)
            )
            return OtpAttempt(outcome="right")


async def raced(processes: list[PostgresOtpChallenges], *, code_digest: str) -> Counter[str]:
    """What 50 tries at once come to, spread over pools as they would be over processes."""
    one = await opened(processes[0], challenge())
    attempts = await asyncio.gather(
        *(tried(processes[number % len(processes)], one, code_digest) for number in range(50))
    )
    return Counter(attempt.outcome for attempt in attempts)


async def test_of_fifty_right_codes_at_once_one_wins(
    pool: Pool, database: str, keyring: Keyring
) -> None:
    async with connections.pool(database, connections.APP_ROLE, connections_max=16) as other:
        processes = [PostgresOtpChallenges(each, keyring) for each in (pool, other)]
        assert await raced(processes, code_digest=RIGHT) == {"right": 1, "repeated": 49}


async def test_of_fifty_wrong_codes_at_once_five_are_tries(
    challenges: PostgresOtpChallenges,
) -> None:
    assert await raced([challenges], code_digest=WRONG) == {"wrong": 5, "locked": 45}


async def test_the_race_catches_a_check_that_is_not_the_update(
    pool: Pool, keyring: Keyring
) -> None:
    outcomes = await raced([_CheckThenUpdate(pool, keyring)], code_digest=RIGHT)
    assert outcomes["right"] > 1


async def test_the_latest_challenge_is_this_devices_for_this_destination_since_then(
    challenges: PostgresOtpChallenges,
) -> None:
    first = await opened(challenges, challenge(created_at=NOW))
    second = await opened(challenges, challenge(created_at=NOW + timedelta(seconds=10)))
    for stranger in (
        challenge(bound_to=OTHER_DEVICE, created_at=NOW + timedelta(seconds=20)),
        challenge(tenant_id=OTHER_TENANT, created_at=NOW + timedelta(seconds=20)),
        challenge(destination="+966500000002", created_at=NOW + timedelta(seconds=20)),
    ):
        await opened(challenges, stranger)
    assert await challenges.latest(TENANT, DEVICE, MOBILE, first.created_at) == second
    assert await challenges.latest(TENANT, DEVICE, MOBILE, NOW + timedelta(seconds=11)) is None


async def test_a_discarded_challenge_is_not_there_but_a_consumed_one_stays(
    challenges: PostgresOtpChallenges,
) -> None:
    unsent, used = await opened(challenges, challenge()), await opened(challenges, challenge())
    await tried(challenges, used, RIGHT)
    for one in (unsent, used):
        await challenges.discard(TENANT, one.id)
    assert (await tried(challenges, unsent, RIGHT)).outcome == "unknown"
    assert (await tried(challenges, used, RIGHT)).outcome == "repeated"


async def test_a_consumed_challenge_is_not_offered_again(
    challenges: PostgresOtpChallenges,
) -> None:
    one = await opened(challenges, challenge())
    await tried(challenges, one, RIGHT)
    assert await challenges.latest(TENANT, DEVICE, MOBILE, NOW) is None


async def test_a_challenge_is_forgotten_an_hour_after_it_ran_out(
    challenges: PostgresOtpChallenges, admin: Connection
) -> None:
    old = await opened(challenges, challenge(created_at=NOW - timedelta(minutes=66)))
    recent = await opened(challenges, challenge(created_at=NOW - timedelta(minutes=64)))
    foreign = challenge(tenant_id=OTHER_TENANT, created_at=NOW - timedelta(days=1))
    await opened(challenges, foreign)
    fresh = await opened(challenges, challenge(created_at=NOW))
    left = await (await admin.execute("SELECT id FROM otp_challenges")).fetchall()
    assert {row[0] for row in left} == {recent.id, foreign.id, fresh.id}
    assert (await tried(challenges, old, RIGHT)).outcome == "unknown"
