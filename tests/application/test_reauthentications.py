"""Proving again, in the open session, who one is: by a way in of one's own and nobody else's."""

import asyncio

import jwt
import msgspec
import pytest

from application.people.sign_ins import Channel
from application.principals import UserPrincipal
from domain import user_session as us
from domain.errors import Forbidden, Gone, NotFound, Refusal, Unauthenticated
from tests.application.test_accounts import linked, person_of, shown, world
from tests.application.test_password_sign_ins import PASSWORD, with_password
from tests.application.test_sign_ins import EMAIL, ENTRY, code_for, other, signed_in
from tests.application.world import World
from tests.spec import CORRELATION

STALE = 301


def as_it_is(of: World, person: UserPrincipal) -> UserPrincipal:
    """The person as the session knows them now, whatever became of the access token meanwhile."""
    line = of.lines.kept[person.tenant_id, person.session_id]
    return msgspec.structs.replace(person, authenticated_at=line.authenticated_at)


async def stale(of: World, person: UserPrincipal) -> UserPrincipal:
    """The person, whose proof is too long ago."""
    of.clock.advance(STALE)
    person = as_it_is(of, person)
    with pytest.raises(Unauthenticated, match="insufficient_user_authentication") as refused:
        of.account_links().nonce(person)
    assert refused.value.extra == {"max_age": 300}
    return person


async def by_code(of: World, person: UserPrincipal, channel: Channel) -> us.Line:
    asked = await of.reauthentications().request_code(person, "a", channel, "en")
    code = of.sender.sent[-1][1]
    await of.reauthentications().by_code(person, "a", channel, asked.challenge_id, code)
    return of.lines.kept[person.tenant_id, person.session_id]


async def test_every_way_in_of_ones_own_makes_the_session_fresh_and_the_log_says_by_which() -> None:
    of = world()
    tokens = await with_password(of)
    person = await person_of(of, tokens)
    await linked(of, person)
    again = of.reauthentications()

    person = await stale(of, person)
    assert (await by_code(of, person, "email")).amr == ("otp_email",)
    of.account_links().nonce(as_it_is(of, person))

    person = await stale(of, person)
    told = await again.by_password(person, "a", PASSWORD)
    assert told.authenticated_at == of.clock.now()
    of.account_links().nonce(as_it_is(of, person))

    person = await stale(of, person)
    nonce = again.nonce(person)
    await again.by_account(person, "a", "google", shown(nonce), nonce)
    of.account_links().nonce(as_it_is(of, person))

    assert of.events(tokens.session_id)[1:] == [
        us.UserSessionReauthenticated(user_id=tokens.user_id, method=method)
        for method in ("otp_email", "password", "google")
    ]


async def test_the_access_token_says_when_and_by_what_and_the_refresh_token_stays() -> None:
    of = World()
    tokens = await with_password(of)
    of.clock.advance(60)
    told = await of.reauthentications().by_password(await person_of(of, tokens), "a", PASSWORD)
    said = jwt.decode(told.access_token, options={"verify_signature": False})
    assert (said["amr"], said["acr"]) == (["otp_email", "password"], us.ACR_TWO_KINDS)
    assert said["auth_time"] == int(of.clock.now().timestamp())
    refreshed = await of.user_sessions().refresh(
        tokens.refresh_token, ENTRY.installation, "a", CORRELATION
    )
    of.clock.advance(STALE)
    told = await of.reauthentications().by_password(await person_of(of, refreshed), "a", PASSWORD)
    assert (told.proved_by, told.acr) == (("password",), us.ACR_ONE_KIND)


async def test_nothing_of_somebody_elses_makes_it_fresh() -> None:
    of = world()
    stranger = (await signed_in(of, "omar@example.com", other(installation="j" * 22))).tokens
    await linked(of, await person_of(of, stranger), "43")
    tokens = await with_password(of)
    omar = await person_of(of, stranger)
    person = await stale(of, await person_of(of, tokens))
    again = of.reauthentications()
    theirs = await again.request_code(omar, "b", "email", "en")
    code = of.sender.sent[-1][1]
    nonce, nonce_of_omar = again.nonce(person), again.nonce(omar)
    to_sign_in, code_to_sign_in = await code_for(of, EMAIL)
    refused: list[str] = []
    for attempt in (
        again.by_code(person, "a", "email", theirs.challenge_id, code),
        again.by_code(person, "a", "email", to_sign_in, code_to_sign_in),
        again.by_password(person, "a", "not the password"),
        again.by_account(person, "a", "google", shown(nonce, subject="43"), nonce),
        again.by_account(person, "a", "google", shown(nonce_of_omar), nonce_of_omar),
        again.request_code(person, "a", "sms", "en"),
    ):
        with pytest.raises(Refusal) as said:
            await attempt
        refused.append(said.value.code)
    assert refused == [
        "challenge_not_found",
        "challenge_not_found",
        "credentials_invalid",
        "id_token_invalid",
        "id_token_invalid",
        "way_in_not_found",
    ]
    assert of.names(tokens.session_id) == ["user_session.started"]
    with pytest.raises(Unauthenticated, match="insufficient_user_authentication"):
        of.account_links().nonce(as_it_is(of, person))


async def test_a_code_counts_once_and_not_once_the_address_is_another() -> None:
    of = World()
    tokens = (await signed_in(of, EMAIL)).tokens
    of.clock.advance(60)
    person, again = await person_of(of, tokens), of.reauthentications()
    asked = await again.request_code(person, "a", "email", "en")
    code = of.sender.sent[-1][1]
    prove = again.by_code
    outcomes = await asyncio.gather(
        *(prove(person, "a", "email", asked.challenge_id, code) for _ in range(5)),
        return_exceptions=True,
    )
    assert sum(isinstance(each, Gone) for each in outcomes) == 4
    of.clock.advance(60)
    asked = await again.request_code(person, "a", "email", "en")
    code = of.sender.sent[-1][1]
    await of.users().change(person, person.user_id, None, {"email": "new@example.com"})
    with pytest.raises(NotFound, match="way_in_not_found"):
        await prove(person, "a", "email", asked.challenge_id, code)


async def test_a_session_that_ended_is_not_made_fresh() -> None:
    of = World()
    tokens = await with_password(of)
    person = await person_of(of, tokens)
    await of.user_sessions().end(person, person.user_id, person.session_id, "signed_out")
    with pytest.raises(Unauthenticated, match="token_invalid"):
        await of.reauthentications().by_password(person, "a", PASSWORD)


async def test_a_password_that_has_run_out_proves_nothing() -> None:
    of = World()
    tokens = await with_password(of)
    person = await person_of(of, tokens)
    of.settings(password_age_max_days=10)
    of.clock.advance(10 * 86_400)
    with pytest.raises(Forbidden, match="password_expired"):
        await of.reauthentications().by_password(person, "a", PASSWORD)


async def test_another_session_is_ended_only_just_after_a_proof_and_this_one_always() -> None:
    of = World()
    elsewhere = (await signed_in(of, EMAIL)).tokens
    tokens = await with_password(of)
    person, sessions = await stale(of, await person_of(of, tokens)), of.user_sessions()
    with pytest.raises(Unauthenticated, match="insufficient_user_authentication"):
        await sessions.end_own(person, elsewhere.session_id)
    await of.reauthentications().by_password(person, "a", PASSWORD)
    await sessions.end_own(as_it_is(of, person), elsewhere.session_id)
    of.clock.advance(STALE)
    await sessions.end_own(person, tokens.session_id)
    assert of.names(tokens.session_id)[-1] == "user_session.ended"
