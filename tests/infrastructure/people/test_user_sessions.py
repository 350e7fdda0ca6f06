"""Lines of refresh tokens on PostgreSQL: whatever comes at once, one line is left."""

import asyncio
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
    await lines.open(TENANT, one)
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
    await lines.open(TENANT, one)
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
    await lines.open(TENANT, one)
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
        await lines.open(TENANT, one)
    await lines.end(TENANT, ours[0].session_id, "signed_out")
    alive = {one.session_id for one in await lines.of_user(TENANT, person)}
    assert alive == {ours[1].session_id, ours[2].session_id}
    assert await lines.of_user(OTHER_TENANT, person) == []
    await lines.forget(TENANT, person)
    assert await lines.find(TENANT, over.session_id) is None
    assert len(await lines.of_user(TENANT, SARA)) == 1
