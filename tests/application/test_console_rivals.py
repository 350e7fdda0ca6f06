"""Two who do the same in the console at one moment: one has it, and the other leaves nothing."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from application.console.first_admin import INITIAL
from application.console.freshness import FRESH
from application.console.sign_ins import SecondFactor
from application.ports.console import ConsolePerson
from application.principals import operator_actor
from domain.errors import Conflict, Forbidden, Unauthenticated
from tests.application.console import ADDRESS, PASSWORD, Console, cli
from tests.spec import TENANT

EMAIL = "noura@example.com"
OTHER = "another long and winding one"
PERSON = ConsolePerson(email=EMAIL, name="Noura")


def first(of: object, name: str, act: Callable[[], Awaitable[object]]) -> None:
    """Have `act` happen just before the next call of this method, as a rival would."""
    method = getattr(of, name)

    async def with_rival(*args: Any, **named: Any) -> Any:
        setattr(of, name, method)
        await act()
        return await method(*args, **named)

    setattr(of, name, with_rival)


async def test_who_is_told_that_an_invitation_is_theirs_has_set_the_password() -> None:
    """Before, the loser's password counted: it was stored ahead of the event, whoever had it."""
    at = Console()
    invited = await at.operators.invite(cli(TENANT), PERSON, "tenant_admin", None)
    token = invited.invitation or ""

    came: list[object] = []

    async def rival() -> None:
        if not came:
            came.append(True)
            await at.sign_ins.accept(at.entry(), token, PASSWORD)

    first(at.credentials, "set_password", rival)
    first(at.log, "append", rival)
    with pytest.raises(Unauthenticated, match="invitation_invalid"):
        await at.sign_ins.accept(at.entry(), token, OTHER)
    assert (await at.session()).operator_id == invited.operator.id
    with pytest.raises(Unauthenticated, match="invitation_invalid"):
        await at.sign_ins.accept(at.entry(), token, OTHER)


async def test_an_invitation_whose_password_was_not_stored_still_takes_one() -> None:
    """The process ended between the event and the row. Fails where only the event is looked at."""
    at = Console()
    invited = await at.operators.invite(cli(TENANT), PERSON, "tenant_admin", None)
    token = invited.invitation or ""

    async def ends() -> None:
        raise ConnectionResetError

    first(at.credentials, "set_first_password", ends)
    with pytest.raises(ConnectionResetError):
        await at.sign_ins.accept(at.entry(), token, PASSWORD)
    accepted = await at.sign_ins.accept(at.entry(), token, PASSWORD)
    assert accepted.id == (await at.session()).operator_id
    actors = [each.actor for each in await at.log.load(TENANT, accepted.id)]
    assert actors[1:] == [operator_actor(accepted.id)], "not operator:unknown, as it was"


async def test_of_two_invitations_of_one_address_the_lost_one_leaves_no_row() -> None:
    """Before, the second's name and address stayed in `console_users`, of nobody whom one sees."""
    at = Console()

    async def rival() -> None:
        await at.operators.invite(cli(TENANT), PERSON, "tenant_admin", None)

    first(at.log, "append", rival)
    with pytest.raises(Conflict, match="operator_email_taken"):
        await at.operators.invite(cli(TENANT), PERSON, "tenant_operator", None)
    assert len(at.kept.people) == 1


@pytest.mark.parametrize("before", ["put", "set_password"])
async def test_the_second_process_of_a_first_start_goes_on_and_leaves_nothing(before: str) -> None:
    """Before, Conflict (`operator_email_taken`) ended it, and a row with a password stayed."""
    at = Console()

    async def rival() -> None:
        assert await at.first_admin.seed(EMAIL, None) is not None

    first(at.kept if before == "put" else at.credentials, before, rival)
    assert await at.first_admin.seed(EMAIL, None) is None
    assert len(at.kept.people) == len(at.kept.hashes) == 1


@pytest.mark.parametrize("how", ["changed", "recovered"])
async def test_no_session_begins_by_a_password_that_was_changed_meanwhile(how: str) -> None:
    """Before, the session of who proved the old one was opened after all others had ended."""
    at = Console()
    operator = await at.joined()
    session = await at.session()

    async def rival() -> None:
        if how == "changed":
            await at.sign_ins.change_password(session, ADDRESS, PASSWORD, OTHER)
        else:
            hashed = await at.passwords.hashed(OTHER, INITIAL)
            await at.operators.recover(cli(TENANT), operator.id, hashed)

    first(at.sessions, "open", rival)
    with pytest.raises(Unauthenticated, match="credentials_invalid"):
        await at.session()
    left = [session.session_id] if how == "changed" else []
    assert [each.session_id for each in at.kept.sessions.values()] == left


async def test_a_sign_in_by_an_older_hash_keeps_the_password_that_was_set_meanwhile() -> None:
    at = Console()
    await at.joined()
    session = await at.session()
    at.hashes.scheme = "newer"

    async def rival() -> None:
        await at.sign_ins.change_password(session, ADDRESS, PASSWORD, OTHER)

    first(at.credentials, "renew_password", rival)
    with pytest.raises(Unauthenticated, match="credentials_invalid"):
        await at.session()
    assert (await at.session(password=OTHER)).home == TENANT


async def test_an_old_session_changes_no_second_factor() -> None:
    """Before, whoever had a token of it put an app of their own in the person's place."""
    at = Console()
    await at.joined()
    session = await at.session()
    secret, codes = await at.with_app(session)
    await at.second_factors.propose_totp(session)
    at.clock.advance(FRESH.total_seconds() + 1)
    factors = at.second_factors
    code = at.code(at.kept.proposed[session.home, session.operator_id])
    for change in (
        lambda: factors.propose_totp(session),
        lambda: factors.enroll_totp(session, ADDRESS, code),
        lambda: factors.renew_recovery_codes(session),
        lambda: factors.remove_totp(session),
    ):
        with pytest.raises(Forbidden, match="step_up_required"):
            await change()
    assert at.kept.secrets[session.home, session.operator_id] == secret
    spent = SecondFactor(kind="recovery_code", value=codes[0])
    again = await at.session(second=spent)
    await at.second_factors.renew_recovery_codes(again)
    past = await at.log.load(TENANT, again.operator_id)
    used = [each.actor for each in past if each.event.NAME == "operator.recovery_code_used"]
    assert used == [operator_actor(again.operator_id)], "not operator:unknown, as it was"
