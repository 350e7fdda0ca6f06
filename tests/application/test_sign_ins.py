"""Signing in with a code: bound to what it was asked for, the same for known and unknown."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from application.people.sign_in_guard import Entry
from application.people.sign_ins import Channel, SignedIn
from application.people.user_sessions import Tokens
from domain import user as u
from domain import user_session as us
from domain.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Refusal,
    TooMany,
    Unauthenticated,
)
from domain.ids import ChallengeId, TenantId
from tests import builders
from tests.application.world import MOBILE, OTHER_TENANT, TILL, World
from tests.spec import CORRELATION, TENANT

ENTRY = Entry(
    tenant_id=TENANT, address="203.0.113.7", installation="i" * 22, correlation_id=CORRELATION
)
EMAIL = "sara@example.com"


async def code_for(world: World, to: str = MOBILE, entry: Entry = ENTRY) -> tuple[ChallengeId, str]:
    told = await world.sign_ins().request_code(entry, channel(to), to, "en")
    return told.challenge_id, world.sender.sent[-1][1]


async def signed_in(world: World, to: str = MOBILE, entry: Entry = ENTRY) -> SignedIn:
    challenge, code = await code_for(world, to, entry)
    return await world.sign_ins().verify_code(entry, channel(to), challenge, code)


def channel(to: str) -> Channel:
    return "email" if "@" in to else "sms"


def other(**changes: Any) -> Entry:
    return msgspec.structs.replace(ENTRY, **changes)


@pytest.mark.parametrize(("to", "method"), [(MOBILE, "otp_sms"), (EMAIL, "otp_email")])
async def test_somebody_new_becomes_a_user_with_a_session(to: str, method: str) -> None:
    world = World()
    told = await signed_in(world, to)
    assert told.is_new_user
    (signed_up,) = world.events(told.tokens.user_id)
    assert isinstance(signed_up, u.UserSignedUp)
    assert signed_up.method == method
    assert world.names(told.tokens.session_id) == ["user_session.started"]
    world.clock.advance(60)
    again = await signed_in(world, to)
    assert (again.is_new_user, again.tokens.user_id) == (False, told.tokens.user_id)
    person = await world.user_sessions().authenticate(told.tokens.access_token, CORRELATION)
    assert (person.user_id, person.session_id) == (told.tokens.user_id, told.tokens.session_id)


async def test_asking_says_nothing_of_who_is_known() -> None:
    world = World()
    await signed_in(world)
    world.clock.advance(60)
    known = await world.sign_ins().request_code(ENTRY, "sms", MOBILE, "en")
    unknown = await world.sign_ins().request_code(ENTRY, "sms", "+966500000009", "en")
    assert msgspec.structs.replace(known, challenge_id=unknown.challenge_id) == unknown


async def test_a_code_is_good_for_nothing_else() -> None:
    """Of another installation, tenant, channel or purpose: as if there were no such challenge."""
    world = World()
    world.given(OTHER_TENANT, builders.tenant_created(), tenant_id=OTHER_TENANT)
    challenge, code = await code_for(world)
    for entry, by in (
        (other(installation="j" * 22), "sms"),
        (other(tenant_id=OTHER_TENANT), "sms"),
        (ENTRY, "email"),
    ):
        with pytest.raises(NotFound, match="challenge_not_found"):
            await world.sign_ins().verify_code(entry, channel_named(by), challenge, code)
    with pytest.raises(NotFound, match="challenge_not_found"):
        await world.sign_ups().verify(TILL, challenge, code)
    at_till = await world.sign_ups().sign_up(TILL, "+966500000008", "en")
    with pytest.raises(NotFound, match="challenge_not_found"):
        await world.sign_ins().verify_code(
            ENTRY, "sms", at_till.challenge_id, world.sender.sent[-1][1]
        )
    assert (await world.sign_ins().verify_code(ENTRY, "sms", challenge, code)).is_new_user


def channel_named(name: str) -> Channel:
    return "email" if name == "email" else "sms"


async def test_a_suspended_person_neither_signs_in_nor_refreshes_until_resumed() -> None:
    world = World()
    told = (await signed_in(world)).tokens
    world.given(told.user_id, builders.user_suspended())
    sessions = world.user_sessions()

    async def refresh() -> object:
        return await sessions.refresh(told.refresh_token, ENTRY.installation, "a", CORRELATION)

    with pytest.raises(Unauthenticated):
        await sessions.authenticate(told.access_token, CORRELATION)
    with pytest.raises(Forbidden, match="user_suspended"):
        await refresh()
    world.clock.advance(120)
    with pytest.raises(Forbidden, match="user_suspended"):
        await signed_in(world)
    world.given(told.user_id, builders.user_resumed())
    assert await refresh()


async def test_a_spent_token_ends_the_session_and_both_presenters_are_told() -> None:
    world = World()
    told = (await signed_in(world)).tokens
    sessions = world.user_sessions()
    next_one = await sessions.refresh(told.refresh_token, ENTRY.installation, "a", CORRELATION)
    same = await sessions.refresh(told.refresh_token, ENTRY.installation, "a", CORRELATION)
    assert same.refresh_token == next_one.refresh_token != told.refresh_token
    world.clock.advance(us.REPEAT_WITHIN.total_seconds())
    for token in (told.refresh_token, next_one.refresh_token):
        with pytest.raises(Unauthenticated, match="refresh_token_invalid"):
            await sessions.refresh(token, ENTRY.installation, "a", CORRELATION)
    assert world.names(told.session_id) == [
        "user_session.started",
        "user_session.reuse_detected",
        "user_session.ended",
    ]
    with pytest.raises(Unauthenticated):
        await sessions.authenticate(next_one.access_token, CORRELATION)


async def test_reuse_that_was_not_told_is_told_by_whoever_asks_next() -> None:
    world = World()
    told = (await signed_in(world)).tokens
    line = world.lines.kept[TENANT, told.session_id]
    world.lines.kept[TENANT, told.session_id] = msgspec.structs.replace(
        line, ended_at=world.clock.now(), ended_by="refresh_token_reused"
    )
    with pytest.raises(Unauthenticated):
        await world.user_sessions().refresh(
            told.refresh_token, ENTRY.installation, "a", CORRELATION
        )
    assert world.names(told.session_id)[-1] == "user_session.ended"


SPOILT: list[Callable[[str], str]] = [
    lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"),
    lambda token: token.replace("_1_", "_2_"),
    lambda token: token.replace("_1_", "_01_"),
    lambda token: token + "\n",
    lambda token: "urt_" + "0" * 64 + token[68:],
    lambda token: token[:0],
]


@pytest.mark.parametrize("spoil", SPOILT)
async def test_a_forged_token_is_refused_and_ends_nothing(spoil: Callable[[str], str]) -> None:
    world = World()
    told = (await signed_in(world)).tokens
    sessions = world.user_sessions()
    with pytest.raises(Unauthenticated, match="refresh_token_invalid"):
        await sessions.refresh(spoil(told.refresh_token), ENTRY.installation, "a", CORRELATION)
    assert await sessions.refresh(told.refresh_token, ENTRY.installation, "a", CORRELATION)


async def test_sessions_are_listed_and_ended_and_nobody_elses_is() -> None:
    world = World()
    first = (await signed_in(world)).tokens
    world.clock.advance(60)
    second = (await signed_in(world)).tokens
    stranger = (await signed_in(world, EMAIL)).tokens
    sessions = world.user_sessions()
    person = await sessions.authenticate(second.access_token, CORRELATION)
    listed = [line.session_id for line in await sessions.of_user(TENANT, person.user_id)]
    assert listed == [second.session_id, first.session_id]
    for session in (stranger.session_id, uuid4()):
        with pytest.raises(NotFound, match="session_not_found"):
            await sessions.end(person, person.user_id, session, "revoked_by_user")
    await sessions.end_all(person, person.user_id, "password_changed", but=second.session_id)
    assert world.events(first.session_id)[-1] == us.UserSessionEnded(
        user_id=person.user_id, reason="password_changed"
    )
    with pytest.raises(Unauthenticated):
        await sessions.authenticate(first.access_token, CORRELATION)
    assert await sessions.authenticate(second.access_token, CORRELATION)


async def test_one_session_too_many_ends_the_oldest_and_says_so() -> None:
    world = World()
    world.settings(sessions_max=2)
    sessions = world.user_sessions()
    opened: list[Tokens] = []
    for _ in range(3):
        world.clock.advance(60)
        opened.append((await signed_in(world, EMAIL)).tokens)
    first, *others = opened
    assert world.events(first.session_id)[1:] == [
        us.UserSessionEnded(user_id=first.user_id, reason="session_limit_reached")
    ]
    with pytest.raises(Unauthenticated, match="token_invalid"):
        await sessions.authenticate(first.access_token, CORRELATION)
    for each in others:
        await sessions.authenticate(each.access_token, CORRELATION)


async def test_the_end_of_the_oldest_that_was_not_told_is_told_when_it_is_used_again() -> None:
    """Whoever signed in elsewhere was cut off between the rows and the log."""
    world = World()
    told = (await signed_in(world)).tokens
    line = world.lines.kept[TENANT, told.session_id]
    world.lines.kept[TENANT, told.session_id] = msgspec.structs.replace(
        line, ended_at=world.clock.now(), ended_by="session_limit_reached"
    )
    for _ in range(2):
        with pytest.raises(Unauthenticated, match="refresh_token_invalid"):
            await world.user_sessions().refresh(
                told.refresh_token, ENTRY.installation, "a", CORRELATION
            )
    assert world.names(told.session_id) == ["user_session.started", "user_session.ended"]


async def test_the_guard_locks_the_place_before_the_person() -> None:
    """Ten tries at one person from one network; from another the person still comes in."""
    world = World()
    world.settings(lockout_attempts=3, lockout_s=600)

    async def attempt(entry: Entry) -> Refusal | None:
        try:
            await world.guard().admit(entry, "password", EMAIL)
        except TooMany as refused:
            return refused
        return None

    assert [await attempt(ENTRY) for _ in range(3)] == [None] * 3
    refused = await attempt(ENTRY)
    assert isinstance(refused, TooMany)
    assert refused.retry_after_s == 600
    assert await attempt(other(address="198.51.100.9")) is None
    world.clock.advance(1200)
    assert await attempt(ENTRY) is None


async def test_a_network_from_which_much_fails_is_shut_out_and_nobody_else() -> None:
    """Seen to fail where failures were counted for the tenant alone: it was shut for everybody."""
    world = World()
    for number in range(10):
        for _ in range(100):
            await world.guard().failed(TENANT, f"198.51.100.{number}")
    with pytest.raises(TooMany):
        await world.guard().admit(other(address="198.51.100.9"), "otp_sms", "anybody")
    await world.guard().admit(other(address="192.0.2.1"), "otp_sms", "anybody")
    await world.guard().admit_operator(TENANT, "198.51.100.9", "an admin")


async def test_guesses_spread_over_many_networks_are_few_from_each() -> None:
    world = World()
    for number in range(120):
        for _ in range(5):
            await world.guard().failed(TENANT, f"198.51.100.{number}")
    with pytest.raises(TooMany):
        await world.guard().admit(other(address="198.51.100.7"), "otp_sms", "anybody")
    for _ in range(4):
        await world.guard().failed(TENANT, "192.0.2.1")
    await world.guard().admit(other(address="192.0.2.1"), "otp_sms", "anybody")


async def test_codes_by_sms_are_so_many_from_a_network_and_for_a_tenant() -> None:
    """Whoever pumps messages to numbers of their own comes to an end; codes by mail go on."""
    world = World()
    world.settings(sms_per_hour=150, lockout_attempts=20)

    async def asked(number: int, address: str) -> bool:
        entry = other(address=address, installation=f"{number:022}")
        try:
            await world.sign_ins().request_code(entry, "sms", f"+96650{number:07}", "en")
        except TooMany:
            return False
        return True

    assert [await asked(n, "198.51.100.1") for n in range(101)].count(True) == 100
    assert [await asked(1000 + n, "198.51.100.2") for n in range(60)].count(True) == 50
    await world.sign_ins().request_code(ENTRY, "email", EMAIL, "en")
    world.clock.advance(7200)
    assert await asked(2000, "198.51.100.1")


async def test_a_method_that_the_tenant_does_not_want_is_refused() -> None:
    world = World()
    world.settings(auth_methods=("otp_email",))
    with pytest.raises(Forbidden, match="auth_method_disabled"):
        await code_for(world)
    assert await signed_in(world, EMAIL)
    with pytest.raises(NotFound, match="tenant_not_found"):
        await code_for(world, entry=other(tenant_id=TenantId(uuid4())))


async def test_wrong_codes_are_few() -> None:
    world = World()
    challenge, code = await code_for(world)
    wrong = "000000" if code != "000000" else "000001"
    for left in range(4, -1, -1):
        with pytest.raises(Invalid) as refused:
            await world.sign_ins().verify_code(ENTRY, "sms", challenge, wrong)
        assert refused.value.extra == {"attempts_left": left}
    with pytest.raises(Conflict, match="challenge_locked"):
        await world.sign_ins().verify_code(ENTRY, "sms", challenge, code)


async def test_an_erased_person_is_signed_out_and_nothing_of_the_sessions_is_kept() -> None:
    world = World()
    told = (await signed_in(world)).tokens
    await world.erasures().request(TILL, told.user_id)
    assert world.lines.kept == {}
    assert world.events(told.session_id)[-1] == us.UserSessionEnded(
        user_id=told.user_id, reason="user_erased"
    )
    with pytest.raises(Unauthenticated):
        await world.user_sessions().authenticate(told.access_token, CORRELATION)
    world.clock.advance(timedelta(minutes=2).total_seconds())
    again = await signed_in(world)
    assert again.is_new_user
