"""Tokens that are only text: of what is almost one of them, none is taken (issue 5, bad input).

Each test shows the good token too, after all the bad ones: so none was refused because of the one
before it, and none used anything up.
"""

from datetime import datetime
from typing import cast
from uuid import uuid4

import pytest

from application.ports.console import ConsolePerson
from domain import pairing_code
from domain.errors import NotFound, Unauthenticated
from domain.ids import ChallengeId, TenantId, parse, wire
from infrastructure.ids import RandomIds
from infrastructure.keys.keyring import Keyring
from infrastructure.shown_once import ShownOnce
from infrastructure.tokens.sign_in_nonces import DigestedNonces
from tests.application.console import PASSWORD, Console, cli
from tests.application.hand_clock import HandClock
from tests.application.test_pairing import expected, pair
from tests.application.test_sign_ins import ENTRY, signed_in
from tests.application.world import OTHER_TENANT, World
from tests.opaque_forgeries import opaque_forgeries
from tests.spec import CORRELATION, TENANT

AT_LEAST = 60


async def test_no_forged_refresh_token_is_taken() -> None:
    world = World()
    good = (await signed_in(world)).tokens.refresh_token
    another = (await signed_in(world, "sara@example.com")).tokens.refresh_token
    sessions, forged = world.user_sessions(), opaque_forgeries(good, another)
    assert len(forged) >= AT_LEAST
    for number, token in enumerate(forged.values()):
        with pytest.raises(Unauthenticated, match="refresh_token_invalid"):
            await sessions.refresh(token, ENTRY.installation, f"address {number}", CORRELATION)
    for token in (good, another):
        await sessions.refresh(token, ENTRY.installation, "home", CORRELATION)


async def test_no_forged_token_of_a_console_session_is_taken() -> None:
    at = Console()
    await at.joined()
    good, another = [
        (await at.sign_ins.sign_in(at.entry(), "noura@example.com", PASSWORD, None)).token
        for _ in range(2)
    ]
    forged = opaque_forgeries(good, another)
    assert len(forged) >= AT_LEAST
    for token in forged.values():
        with pytest.raises(Unauthenticated, match="token_invalid"):
            await at.sessions.authenticate(token, CORRELATION)
    for token in (good, another):
        await at.sessions.authenticate(token, CORRELATION)


async def test_no_forged_invitation_is_taken() -> None:
    at = Console()
    good, another = [
        (
            await at.operators.invite(
                cli(TENANT), ConsolePerson(email=email, name="N"), "tenant_admin", None
            )
        ).invitation
        for email in ("noura@example.com", "sara@example.com")
    ]
    assert good is not None
    assert another is not None
    forged = opaque_forgeries(good, another)
    assert len(forged) >= AT_LEAST
    for number, token in enumerate(forged.values()):
        with pytest.raises(Unauthenticated, match="invitation_invalid"):
            await at.sign_ins.accept(at.entry(address=f"address {number}"), token, PASSWORD)
    await at.sign_ins.accept(at.entry(), good, PASSWORD)


async def test_no_forged_pairing_code_is_taken() -> None:
    """But for the spaces, hyphens and small letters that people type."""
    world = World()
    _, one = await expected(world)
    _, two = await expected(world, 2)
    good = [pairing_code.normalise(each.code) for each in (one, two)]
    forged = {
        code
        for code in opaque_forgeries(one.code, two.code).values()
        if pairing_code.normalise(code) not in good
    }
    assert len(forged) >= AT_LEAST
    for number, code in enumerate(forged):
        with pytest.raises(NotFound, match="pairing_code_invalid"):
            await pair(world, code, address=f"address {number}")
    await pair(world, one.code)


class Spent:
    """`ShownOnce`, in memory."""

    def __init__(self) -> None:
        self.seen: set[tuple[TenantId, str, str]] = set()

    async def first_time(
        self, tenant_id: TenantId, key: str, *shown: str, expires_at: datetime
    ) -> bool:
        del expires_at
        one = (tenant_id, key, "".join(shown))
        first = one not in self.seen
        self.seen.add(one)
        return first


async def test_no_forged_nonce_of_an_id_token_is_taken() -> None:
    """Nor one of another tenant, purpose or installation."""
    clock = HandClock()
    spent = cast("ShownOnce", Spent())
    nonces = DigestedNonces(Keyring(b"k" * 32), spent, clock, RandomIds(clock))
    good = nonces.issue(TENANT, "sign_in", ENTRY.installation)
    another = nonces.issue(TENANT, "sign_in", "elsewhere")
    forged = opaque_forgeries(good, another)
    assert len(forged) >= AT_LEAST
    for nonce in (*forged.values(), another):
        assert not await nonces.spend(nonce, TENANT, "sign_in", ENTRY.installation)
    assert not await nonces.spend(good, OTHER_TENANT, "sign_in", ENTRY.installation)
    assert not await nonces.spend(good, TENANT, "link", ENTRY.installation)
    assert await nonces.spend(good, TENANT, "sign_in", ENTRY.installation)
    assert not await nonces.spend(good, TENANT, "sign_in", ENTRY.installation)


def test_no_forged_id_of_a_challenge_names_the_one_that_was_asked() -> None:
    """What a code is bound to besides: `test_a_code_is_good_for_nothing_else`."""
    asked, another = ChallengeId(uuid4()), ChallengeId(uuid4())
    forged = opaque_forgeries(wire("otc", asked), wire("otc", another))
    assert len(forged) >= AT_LEAST
    assert parse("otc", wire("otc", asked)) == asked
    for text in forged.values():
        assert parse("otc", text) != asked, text
    assert parse("pch", wire("otc", asked)) is None
