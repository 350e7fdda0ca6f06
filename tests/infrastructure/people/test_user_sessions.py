"""Lines of refresh tokens on PostgreSQL: whatever comes at once, one line is left."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import LiteralString
from uuid import uuid4

import msgspec

from domain.ids import TenantId, UserId, UserSessionId
from domain.user_session import Exchange, Line, Presented, exchange
from infrastructure.database import Connection, Pool
from infrastructure.people.user_sessions import PostgresSessionLines

TENANT, OTHER_TENANT = TenantId(uuid4()), TenantId(uuid4())
SARA = UserId(uuid4())
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
IDLE = timedelta(days=30)


class Standing:
    """A clock that does not go."""

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0


def line(user_id: UserId = SARA) -> Line:
    return Line(
        session_id=UserSessionId(uuid4()),
        user_id=user_id,
        method="otp_sms",
        installation="ours",
        number=1,
        rotated_at=NOW,
        authenticated_at=NOW,
        created_at=NOW,
        idle_until=NOW + IDLE,
        expires_at=NOW + timedelta(days=180),
    )


def lines_of(pool: Pool) -> PostgresSessionLines:
    return PostgresSessionLines(pool, Standing())


async def test_what_is_opened_is_found_again_and_by_nobody_else(pool: Pool) -> None:
    lines, one = lines_of(pool), line()
    await lines.open(TENANT, one, 50)
    assert await lines.find(TENANT, one.session_id) == one
    assert await lines.find(OTHER_TENANT, one.session_id) is None
    assert await lines.exchange(OTHER_TENANT, one.session_id, refused) is None
    assert await lines.end(OTHER_TENANT, one.session_id, "signed_out") is None


def refused(found: Line) -> Exchange:
    return Exchange(outcome="refused", line=found)


class WithoutTheLock(PostgresSessionLines):
    """The planted fault: the row is read without its lock."""

    _locking: LiteralString = PostgresSessionLines._locking.replace(" FOR UPDATE", "")


async def rotated_by(lines: PostgresSessionLines, callers: int) -> tuple[set[int], int]:
    """The numbers that many are served who present one token at once, and how many rotated it."""
    one = line()
    await lines.open(TENANT, one, 50)
    presented = Presented(number=1, installation="ours")
    rotations: list[int] = []

    def decide(found: Line) -> Exchange:
        told = exchange(found, presented, NOW, IDLE)
        rotations.extend([1] * (told.line.number != found.number))
        return told

    told = await asyncio.gather(
        *(lines.exchange(TENANT, one.session_id, decide) for _ in range(callers))
    )
    assert all(each is not None and each.outcome == "served" for each in told)
    return {each.line.number for each in told if each is not None}, len(rotations)


async def test_twenty_parallel_refreshes_leave_one_line(pool: Pool) -> None:
    assert await rotated_by(lines_of(pool), 20) == ({2}, 1)


class Slow(WithoutTheLock):
    """Waits, having read the line, until two have; then both decide on what both have read."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool, Standing())
        self._both_have_looked = asyncio.Barrier(2)

    async def _one(
        self,
        connection: Connection,
        query: LiteralString,
        tenant_id: TenantId,
        session_id: UserSessionId,
    ) -> Line | None:
        found = await super()._one(connection, query, tenant_id, session_id)
        await self._both_have_looked.wait()
        return found


async def test_without_the_lock_two_rotate_one_token(pool: Pool) -> None:
    """The planted fault is found."""
    assert (await rotated_by(Slow(pool), 2))[1] == 2


async def test_what_has_ended_stays_ended(pool: Pool) -> None:
    lines, one = lines_of(pool), line()
    await lines.open(TENANT, one, 50)
    ended = await lines.end(TENANT, one.session_id, "signed_out")
    assert ended is not None
    assert (ended.ended_at, ended.ended_by) == (NOW, "signed_out")
    assert await lines.end(TENANT, one.session_id, "user_erased") == ended
    presented = Presented(number=1, installation="ours")
    told = await lines.exchange(
        TENANT, one.session_id, lambda found: exchange(found, presented, NOW, IDLE)
    )
    assert told == Exchange(outcome="refused", line=ended)


async def test_a_persons_lines_are_listed_while_they_are_alive_and_forgotten_with_them(
    pool: Pool,
) -> None:
    lines, person = lines_of(pool), UserId(uuid4())
    ours = [line(person) for _ in range(3)]
    over = msgspec.structs.replace(line(person), idle_until=NOW)
    for one in (*ours, over, line()):
        await lines.open(TENANT, one, 50)
    await lines.end(TENANT, ours[0].session_id, "signed_out")
    alive = {one.session_id for one in await lines.of_user(TENANT, person)}
    assert alive == {ours[1].session_id, ours[2].session_id}
    assert await lines.of_user(OTHER_TENANT, person) == []
    await lines.forget(TENANT, person)
    assert await lines.find(TENANT, over.session_id) is None
    assert len(await lines.of_user(TENANT, SARA)) == 1


def opened_at(person: UserId, second: int) -> Line:
    at = NOW + timedelta(seconds=second)
    return msgspec.structs.replace(line(person), created_at=at, rotated_at=at)


async def test_one_session_too_many_ends_the_oldest_that_is_alive(pool: Pool) -> None:
    lines, person = lines_of(pool), UserId(uuid4())
    first, signed_out, *others = [opened_at(person, second) for second in range(-5, 0)]
    for each in (first, signed_out, *others):
        assert await lines.open(TENANT, each, 5) == []
    await lines.end(TENANT, signed_out.session_id, "signed_out")
    assert await lines.open(TENANT, line(), 1) == [], "another person's"
    newest = opened_at(person, 0)
    assert await lines.open(TENANT, newest, 4) == [first.session_id]
    ended = await lines.find(TENANT, first.session_id)
    assert ended is not None
    assert ended.ended_by == "session_limit_reached"
    again = opened_at(person, 0)
    gone = await lines.open(TENANT, again, 1)
    assert set(gone) == {each.session_id for each in (*others, newest)}
    assert [each.session_id for each in await lines.of_user(TENANT, person)] == [again.session_id]


class Crowding(PostgresSessionLines):
    """The planted fault: those who sign in at once do not wait for each other; both have kept their
    line before either looks for the oldest."""

    _alone: LiteralString = "SELECT %s::uuid"

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool, Standing())
        self._both_are_in = asyncio.Barrier(2)

    async def _end_oldest(
        self, connection: Connection, values: Mapping[str, object]
    ) -> Sequence[UserSessionId]:
        await self._both_are_in.wait()
        return await super()._end_oldest(connection, values)


async def alive_after(lines: PostgresSessionLines, callers: int, at_most: int) -> tuple[int, int]:
    """How many sessions are alive of as many signed in at once, and how many were said to end."""
    person = UserId(uuid4())
    opened = [opened_at(person, -number) for number in range(callers)]
    ended = await asyncio.gather(*(lines.open(TENANT, each, at_most) for each in opened))
    return len(await lines.of_user(TENANT, person)), sum(map(len, ended))


async def test_however_many_sign_in_at_once_no_more_are_left_than_may_be(pool: Pool) -> None:
    assert await alive_after(lines_of(pool), 10, 3) == (3, 7)


async def test_without_waiting_for_each_other_two_are_left_where_one_may_be(pool: Pool) -> None:
    """The planted fault is found."""
    assert await alive_after(Crowding(pool), 2, 1) == (2, 0)
