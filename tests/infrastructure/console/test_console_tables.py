"""What is kept of console people: sealed, one tenant's alone, and used up once by one of many."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from application.ports.console import ConsolePerson
from domain.ids import OperatorId, OperatorSessionId, TenantId
from domain.operator_session import LIVES, OpenSession
from infrastructure.console.sessions import PostgresConsoleSessions
from infrastructure.console.users import PostgresConsoleCredentials, PostgresConsolePeople
from infrastructure.database import Pool, tenant_scope
from infrastructure.keys.keyring import Keyring
from tests.builders import NOW

TENANT, OTHER_TENANT = TenantId(uuid4()), TenantId(uuid4())
NOURA = ConsolePerson(email="noura@example.com", name="Noura Al-Otaibi")


class Kept:
    """The three adapters over one database, with somebody in it."""

    def __init__(self, pool: Pool, keyring: Keyring) -> None:
        self.pool = pool
        self.people = PostgresConsolePeople(pool, keyring)
        self.credentials = PostgresConsoleCredentials(pool, keyring)
        self.sessions = PostgresConsoleSessions(pool)
        self.who = OperatorId(uuid4())

    async def put(self) -> OperatorId:
        await self.people.put(TENANT, self.who, NOURA)
        return self.who


@pytest.fixture
def kept(pool: Pool, keyring: Keyring) -> Kept:
    return Kept(pool, keyring)


async def test_a_person_is_kept_sealed_and_shown_to_their_tenant(kept: Kept) -> None:
    who = await kept.put()
    assert await kept.people.find(TENANT, [who, OperatorId(uuid4())]) == {who: NOURA}
    assert await kept.people.find(OTHER_TENANT, [who]) == {}
    async with tenant_scope(kept.pool, TENANT) as connection:
        found = await connection.execute("SELECT * FROM console_users")
        row = str(await found.fetchone())
        assert "noura" not in row.lower()
        await connection.execute("UPDATE console_users SET name = email")
    assert await kept.people.find(TENANT, [who]) == {}, "it was moved, and opens nowhere else"


async def test_who_was_sealed_under_a_lost_key_is_nobody_and_hides_nobody(kept: Kept) -> None:
    """Before, one such row answered `GET /v1/operators` with 500, for ever."""
    who = await kept.put()
    anew, other = PostgresConsolePeople(kept.pool, Keyring(b"n" * 32)), OperatorId(uuid4())
    await anew.put(TENANT, other, NOURA)
    assert await anew.find(TENANT, [who, other]) == {other: NOURA}


async def test_hashes_before_the_present_one_are_kept_as_far_as_is_wanted(kept: Kept) -> None:
    who = await kept.put()
    credentials = kept.credentials
    await credentials.set_password(TENANT, who, "1", remember=2)
    assert list(await credentials.latest_passwords(TENANT, who, 5)) == ["1"]
    for number in ("2", "3", "4"):
        await credentials.set_password(TENANT, who, number, remember=2)
    assert list(await credentials.latest_passwords(TENANT, who, 5)) == ["4", "3", "2"]
    assert list(await credentials.latest_passwords(TENANT, who, 2)) == ["4", "3"]
    assert list(await credentials.latest_passwords(TENANT, who, 0)) == []
    assert list(await credentials.latest_passwords(OTHER_TENANT, who, 5)) == []
    await credentials.renew_password(TENANT, who, "4", "4 made anew")
    await credentials.renew_password(TENANT, who, "3", "3 made anew")
    assert list(await credentials.latest_passwords(TENANT, who, 5)) == ["4 made anew", "3", "2"]
    await credentials.set_password(TENANT, who, "5")
    assert list(await credentials.latest_passwords(TENANT, who, 5)) == ["5"]
    await credentials.set_password(TENANT, who, "6", remember=1)
    await credentials.drop_password(TENANT, who)
    assert list(await credentials.latest_passwords(TENANT, who, 5)) == []


async def test_a_password_is_one_tenants_and_goes_with_the_person(kept: Kept) -> None:
    who = await kept.put()
    assert await kept.credentials.password(TENANT, who) is None
    await kept.credentials.set_password(TENANT, who, "hash")
    assert await kept.credentials.password(TENANT, who) == "hash"
    assert await kept.credentials.password(OTHER_TENANT, who) is None
    await kept.credentials.drop_password(TENANT, who)
    assert await kept.credentials.password(TENANT, who) is None
    await kept.credentials.set_password(TENANT, who, "hash")
    await kept.people.forget(TENANT, who)
    assert await kept.credentials.password(TENANT, who) is None


async def test_a_proposed_secret_counts_once_it_is_taken(kept: Kept) -> None:
    who = await kept.put()
    credentials = kept.credentials
    assert not await credentials.take_totp(TENANT, who, 7, ["a"])
    assert not await credentials.spend_totp(TENANT, who, 7)
    await credentials.propose_totp(TENANT, who, b"one")
    await credentials.propose_totp(TENANT, who, b"two")
    assert await credentials.totp(TENANT, who) is None
    assert await credentials.proposed_totp(TENANT, who) == b"two"
    assert await credentials.take_totp(TENANT, who, 7, ["a", "b"])
    assert await credentials.totp(TENANT, who) == b"two"
    assert await credentials.proposed_totp(TENANT, who) is None
    await credentials.drop_totp(TENANT, who)
    assert await credentials.totp(TENANT, who) is None
    assert not await credentials.spend_recovery_code(TENANT, who, "a")


async def test_of_many_at_once_one_uses_a_code_up(kept: Kept) -> None:
    who = await kept.put()
    credentials = kept.credentials
    await credentials.propose_totp(TENANT, who, b"secret")
    await credentials.take_totp(TENANT, who, 7, ["a", "b"])
    spent = await asyncio.gather(*(credentials.spend_totp(TENANT, who, 8) for _ in range(12)))
    assert sum(spent) == 1
    for step in (6, 7, 8):
        assert not await credentials.spend_totp(TENANT, who, step)
    used = await asyncio.gather(
        *(credentials.spend_recovery_code(TENANT, who, "a") for _ in range(12))
    )
    assert sum(used) == 1
    await credentials.set_recovery_codes(TENANT, who, ["c"])
    assert not await credentials.spend_recovery_code(TENANT, who, "b")
    assert await credentials.spend_recovery_code(TENANT, who, "c")


async def test_a_session_is_found_seen_and_ended(kept: Kept) -> None:
    who = await kept.put()
    first, second = (
        OpenSession(
            session_id=OperatorSessionId(uuid4()),
            operator_id=who,
            method="password_totp",
            started_at=NOW + timedelta(hours=n),
            seen_at=NOW + timedelta(hours=n),
            expires_at=NOW + timedelta(hours=n) + LIVES,
        )
        for n in (0, 1)
    )
    for session in (first, second):
        await kept.sessions.open(TENANT, session)
    assert await kept.sessions.find(TENANT, first.session_id) == first
    assert await kept.sessions.find(OTHER_TENANT, first.session_id) is None
    assert await kept.sessions.of_operator(TENANT, who) == [second, first]
    later = NOW + timedelta(minutes=5)
    for at in (later, NOW):
        await kept.sessions.seen(TENANT, first.session_id, at)
    seen = await kept.sessions.find(TENANT, first.session_id)
    assert seen is not None
    assert seen.seen_at == later
    await kept.sessions.forget_expired(TENANT, who, first.expires_at)
    assert await kept.sessions.of_operator(TENANT, who) == [second]
    await kept.sessions.end(TENANT, second.session_id)
    assert await kept.sessions.find(TENANT, second.session_id) is None
