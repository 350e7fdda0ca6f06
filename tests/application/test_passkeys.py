"""Passkeys of console people: what is believed, what is refused, and what is counted once.

Each case of `REFUSED` was seen to come in at a registration without its check, in
`infrastructure/console/webauthn.py` or in the library that it asks, and at a sign-in too: there the
origin has the same check, and contradicting flags are refused twice. Of the odd keys, so were one
of another algorithm, two RSA keys of another length and four that can check no signature, without
the part of `_check_key` that is about them; the others are refused twice.
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from application.console.freshness import FRESH
from application.console.sign_ins import SecondFactor
from application.principals import OperatorPrincipal
from application.tenants.tenants import Tenants
from domain.errors import Conflict, Forbidden, Gone, Invalid, NotFound, TooMany, Unauthenticated
from domain.ids import PLATFORM
from tests.application.console import ADDRESS, PASSWORD, cli
from tests.application.console_passkeys import OTHER, PasskeyConsole
from tests.authenticator import (
    AT,
    BE,
    BS,
    GOOD,
    UP,
    UV,
    Authenticator,
    Key,
    Page,
    cbor,
    plain,
    text,
)
from tests.spec import CORRELATION, TENANT

EMAIL = "noura@example.com"
replace = msgspec.structs.replace


async def at_work() -> tuple[PasskeyConsole, OperatorPrincipal, Authenticator]:
    """A Tenant Admin with one passkey, in the session that added it."""
    at, authenticator = PasskeyConsole(), Authenticator()
    await at.joined()
    session = await at.session()
    await at.added(session, authenticator)
    return at, session, authenticator


async def test_a_passkey_alone_is_both_factors() -> None:
    at, session, authenticator = await at_work()
    token, options = await at.asked()
    assert options["userVerification"] == "required"
    assert options["allowCredentials"] == []
    coming = await at.shown(token, authenticator.show(options))
    assert (coming.operator_id, coming.pending) == (session.operator_id, ())
    assert await at.names(session.operator_id) == [
        "operator.invited",
        "operator.accepted",
        "operator.passkey_added",
        "operator.passkey_used",
    ]
    (passkey,) = await at.passkeys.of_operator(coming)
    assert passkey.kept.used_at == at.clock.now()
    kept = at.kept.sessions[coming.home, coming.session_id]
    assert kept.method == "passkey"


async def test_after_the_password_it_is_enough_to_touch_one_of_ones_own() -> None:
    at, session, authenticator = await at_work()
    with pytest.raises(Unauthenticated, match="second_factor_missing"):
        await at.session()
    token, options = await at.asked_second(EMAIL, PASSWORD)
    assert [each["id"] for each in options["allowCredentials"]] == [text(authenticator.id)]
    said = authenticator.show(options, Page(flags=UP | BE | BS))
    del said["response"]["userHandle"]  # It may be left out where credentials are named.
    coming = await at.shown(token, said)
    assert at.kept.sessions[coming.home, coming.session_id].method == "password_passkey"
    assert coming.operator_id == session.operator_id
    for email, password in ((EMAIL, "a wrong one, again"), ("nobody@example.com", PASSWORD)):
        before = at.hashes.compared
        with pytest.raises(Unauthenticated, match="credentials_invalid"):
            await at.asked_second(email, password)
        assert at.hashes.compared == before + 1


@pytest.mark.parametrize(
    "key",
    [
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP256R1()),
    ],
    ids=["EdDSA", "RS256", "ES256"],
)
async def test_each_algorithm_that_is_asked_for_is_understood(key: Key) -> None:
    at, authenticator = PasskeyConsole(), Authenticator(key, counts=False)
    await at.joined()
    await at.added(await at.session(), authenticator, Page(attestation="packed", flags=UP | UV))
    for _ in range(2):  # An authenticator without a counter says 0 each time.
        await at.by_passkey(authenticator, Page(flags=UP | UV))


REFUSED = {
    "another origin": replace(GOOD, origin="https://localhost:8444"),
    "an origin that ends like ours": replace(GOOD, origin="https://evil.localhost:8443"),
    "plain HTTP": replace(GOOD, origin="http://localhost:8443"),
    "another relying party": replace(GOOD, rp_id="example.org"),
    "another challenge": replace(GOOD, challenge=text(bytes(32))),
    "the other ceremony": replace(GOOD, kind="payment.get"),
    "nobody there": replace(GOOD, flags=UV | BE | BS),
    "not verified": replace(GOOD, flags=UP | BE | BS),
    "backed up and not eligible": replace(GOOD, flags=UP | UV | BS),
    "a frame of another origin": replace(GOOD, cross_origin=True),
}


@pytest.mark.parametrize("page", REFUSED.values(), ids=REFUSED.keys())
async def test_what_is_not_made_for_this_challenge_and_this_page_is_refused(page: Page) -> None:
    at, session, authenticator = await at_work()
    with pytest.raises(Invalid, match="passkey_invalid"):
        await at.added(session, Authenticator(), page)
    with pytest.raises(Unauthenticated, match="credentials_invalid"):
        await at.by_passkey(authenticator, page)
    await at.by_passkey(authenticator)


async def test_eligibility_for_backup_does_not_change() -> None:
    at, _, authenticator = await at_work()
    with pytest.raises(Unauthenticated, match="credentials_invalid"):
        await at.by_passkey(authenticator, Page(flags=UP | UV))


async def test_what_was_not_eligible_for_backup_is_not_backed_up_later() -> None:
    """Seen to fail without `_check_flags` in `asserted`: its eligibility has not changed."""
    at, authenticator = PasskeyConsole(), Authenticator()
    await at.joined()
    await at.added(await at.session(), authenticator, Page(flags=UP | UV))
    with pytest.raises(Unauthenticated, match="credentials_invalid"):
        await at.by_passkey(authenticator, Page(flags=UP | UV | BS))
    await at.by_passkey(authenticator, Page(flags=UP | UV))


async def test_a_counter_that_does_not_go_up_is_refused_and_told() -> None:
    at, session, authenticator = await at_work()
    await at.by_passkey(authenticator)
    assert authenticator.count is not None
    authenticator.count -= 1
    with pytest.raises(Unauthenticated, match="credentials_invalid"):
        await at.by_passkey(authenticator)
    assert (await at.names(session.operator_id))[-1] == "operator.passkey_suspected"
    (passkey,) = await at.passkeys.of_operator(session)
    assert passkey.suspected
    # Somebody without the key tells nobody anything.
    token, options = await at.asked()
    authenticator.count = 0
    forged = authenticator.show(options)
    forged["response"]["signature"] = text(b"\x30" + plain(forged["response"]["signature"])[1:-1])
    told = len(await at.names(session.operator_id))
    with pytest.raises(Unauthenticated, match="credentials_invalid"):
        await at.shown(token, forged)
    assert len(await at.names(session.operator_id)) == told


async def test_a_challenge_is_used_up_by_the_first_who_answers_it() -> None:
    """Seen to fail with a ceremony that is looked at and not taken."""
    at, session, authenticator = await at_work()
    authenticator.count = None  # The counter shall not be what tells the answers apart.
    for row in at.rows.rows.values():
        credential = replace(row[2].credential, sign_count=0)
        at.rows.rows[row[2].id] = (*row[:2], replace(row[2], credential=credential))
    token, options = await at.asked()
    said = authenticator.show(options)
    outcomes = await asyncio.gather(
        *(at.shown(token, said) for _ in range(5)), return_exceptions=True
    )
    assert sum(isinstance(each, Unauthenticated) for each in outcomes) == 4
    token, options = await at.proposed(session)
    made = Authenticator().make(options)
    await at.finish_adding(session, token, made)
    with pytest.raises(Gone, match="passkey_ceremony_over"):
        await at.finish_adding(session, token, made)
    token, options = await at.asked()
    with pytest.raises(Unauthenticated, match="credentials_invalid"):
        await at.shown(token, authenticator.show(options, Page(origin="https://evil.example")))
    with pytest.raises(Unauthenticated, match="credentials_invalid"):
        await at.shown(token, authenticator.show(options))  # A failure uses it up too.


async def test_a_challenge_counts_for_five_minutes_and_for_what_it_was_given() -> None:
    at, session, authenticator = await at_work()
    token, options = await at.asked()
    at.clock.advance(300)
    with pytest.raises(Unauthenticated, match="credentials_invalid"):
        await at.shown(token, authenticator.show(options))
    adding, made_for = await at.proposed(session)
    with pytest.raises(Unauthenticated, match="credentials_invalid"):
        await at.shown(adding, authenticator.show(made_for))
    asking, options = await at.asked()
    made = Authenticator().make({**made_for, "challenge": options["challenge"]})
    with pytest.raises(Gone, match="passkey_ceremony_over"):
        await at.finish_adding(session, asking, made)
    for token in ("", "lpc_", f"lpc_{'0' * 64}", f"{asking}\n"):
        with pytest.raises(Unauthenticated, match="credentials_invalid"):
            await at.shown(token, authenticator.show(options))


async def test_a_challenge_of_somebody_else_is_nobodys() -> None:
    """Another session of the same person, another person, and a Platform Admin."""
    at, session, authenticator = await at_work()
    await at.joined("root@example.com", "platform_admin")
    root = await at.session("root@example.com", PLATFORM)
    await at.joined("huda@example.com")
    huda = await at.session("huda@example.com")
    again = await at.by_passkey(authenticator)
    for other in (again, huda, root):
        token, options = await at.proposed(session)
        with pytest.raises(Gone, match="passkey_ceremony_over"):
            await at.finish_adding(other, token, Authenticator().make(options))
    hers = Authenticator()
    await at.added(huda, hers)
    token, options = await at.asked_second(EMAIL, PASSWORD)
    with pytest.raises(Unauthenticated, match="credentials_invalid"):
        await at.shown(token, hers.show(options))
    token, options = await at.asked_second(EMAIL, PASSWORD)
    hers.user_handle = authenticator.user_handle
    with pytest.raises(Unauthenticated, match="credentials_invalid"):
        await at.shown(token, hers.show(options))
    token, options = await at.asked_second(EMAIL, PASSWORD)
    authenticator.user_handle = TENANT.bytes + huda.operator_id.bytes
    with pytest.raises(Unauthenticated, match="credentials_invalid"):
        await at.shown(token, authenticator.show(options))


async def test_a_passkey_is_one_persons_and_of_one_host() -> None:
    at, session, authenticator = await at_work()
    await at.joined("root@example.com", "platform_admin")
    root = await at.session("root@example.com", PLATFORM)
    mine = authenticator.user_handle
    for claimed in (
        PLATFORM.bytes + session.operator_id.bytes,
        TENANT.bytes + root.operator_id.bytes,
        PLATFORM.bytes + root.operator_id.bytes,
        mine[:31],
        b"",
        bytes(32),
    ):
        authenticator.user_handle = claimed
        with pytest.raises(Unauthenticated, match="credentials_invalid"):
            await at.by_passkey(authenticator)
    authenticator.user_handle = mine
    token, options = await at.proposed(root)
    with pytest.raises(Conflict, match="passkey_known"):
        await at.finish_adding(root, token, authenticator.make(options))
    authenticator.user_handle, authenticator.rp_id = mine, OTHER.id
    token, options = await at.asked(OTHER.origin)
    assert options["rpId"] == OTHER.id
    with pytest.raises(Unauthenticated, match="credentials_invalid"):
        await at.shown(token, authenticator.show(options, Page(origin=OTHER.origin)))
    with pytest.raises(Forbidden, match="origin_not_allowed"):
        await at.asked("https://evil.example")


async def test_a_signature_of_another_key_is_worth_nothing() -> None:
    at, _, authenticator = await at_work()
    thief = Authenticator()
    thief.id, thief.user_handle, thief.rp_id = (
        authenticator.id,
        authenticator.user_handle,
        "localhost",
    )
    thief.count = 1000
    with pytest.raises(Unauthenticated, match="credentials_invalid"):
        await at.by_passkey(thief)


def junk() -> list[bytes]:
    """What no CBOR reader should trip over."""
    made: dict[str, object] = {"fmt": "none", "attStmt": {}, "authData": b"\x00" * 37}
    head = b"\x00" * 32 + bytes([AT | UP | UV]) + b"\x00" * 4
    return [
        b"\x00\x00",
        b"\xff\xff",
        b"\xa1\x61",
        b"\x81" * 5000,
        b"\x9b" + b"\xff" * 8,
        b"\xbb\x00\x00\x00\x00\x00\x00\xff\xff",
        b"\xa1\xa0\x00",
        b"\x5b" + b"\xff" * 8,
        cbor({}),
        cbor({"fmt": 1, "attStmt": 1, "authData": 1}),
        cbor(made),
        cbor({**made, "authData": head}),
        cbor({**made, "authData": head + b"\xff" * 60}),
        cbor(made) + b"\x00",
        cbor({**made, "authData": head + bytes(16) + b"\x00\x01k" + cbor(7)}),
    ]


@pytest.mark.parametrize("attested", junk())
async def test_what_is_no_attestation_is_refused(attested: bytes) -> None:
    at, session, authenticator = await at_work()
    token, options = await at.proposed(session)
    made = Authenticator().make(options)
    made["response"]["attestationObject"] = text(attested)
    with pytest.raises(Invalid, match="passkey_invalid"):
        await at.finish_adding(session, token, made)
    token, options = await at.asked()
    said = authenticator.show(options)
    said["response"]["authenticatorData"] = text(attested)
    with pytest.raises(Unauthenticated, match="credentials_invalid"):
        await at.shown(token, said)


@pytest.mark.parametrize(
    "told",
    [b"{}", b"[]", b"null", b"\xff\xfe", b'{"type":1,"challenge":1,"origin":1}', b"[" * 5000],
)
async def test_what_is_no_client_data_is_refused(told: bytes) -> None:
    at, session, authenticator = await at_work()
    token, options = await at.proposed(session)
    made = Authenticator().make(options)
    made["response"]["clientDataJSON"] = text(told)
    with pytest.raises(Invalid, match="passkey_invalid"):
        await at.finish_adding(session, token, made)
    token, options = await at.asked()
    said = authenticator.show(options)
    said["response"]["clientDataJSON"] = text(told)
    with pytest.raises(Unauthenticated, match="credentials_invalid"):
        await at.shown(token, said)


class Odd(Authenticator):
    """An authenticator whose public key is not one that was asked for."""

    def __init__(self, key: dict[int, object]) -> None:
        super().__init__()
        self._odd = key

    def cose(self) -> dict[int, object]:
        return {**super().cose(), **self._odd}


@pytest.mark.parametrize(
    "key",
    [
        {3: -65535},
        {1: 3, 3: -65535, -1: b"\xff" * 256, -2: b"\x01\x00\x01"},
        {3: -47},
        {3: -999},
        {3: 0},
        {3: "ES256"},
        {-1: 2},
        {-2: b"\x01" * 32},
        {-2: b""},
        {3: -257, -1: b"\xff" * 128, -2: b"\x01\x00\x01"},
        {3: -257, -1: b"\xff" * 2000, -2: b"\x01\x00\x01"},
        {3: -257, -1: b"\xff" * 256, -2: b"\xff" * 256},
        {3: -8, -1: 6, -2: b"\x00" * 31},
    ],
)
async def test_a_key_that_was_not_asked_for_or_is_none_is_refused(key: dict[int, object]) -> None:
    at, session, _ = await at_work()
    with pytest.raises(Invalid, match="passkey_invalid"):
        await at.added(session, Odd(key))


async def test_the_first_one_ends_sessions_that_began_with_less_and_the_next_does_not() -> None:
    at = PasskeyConsole()
    await at.joined()
    other, session = await at.session(), await at.session()
    await at.added(session, authenticator := Authenticator())
    assert await at.names(other.session_id) == [
        "operator_session.started",
        "operator_session.ended",
    ]
    second = await at.by_passkey(authenticator)
    await at.added(session, Authenticator(), name="  Key in the safe ")
    assert [each.kept.name for each in await at.passkeys.of_operator(session)] == [
        "MacBook",
        "Key in the safe",
    ]
    _, options = await at.proposed(session)
    assert len(options["excludeCredentials"]) == 2
    assert options["excludeCredentials"][0]["id"] == text(authenticator.id)
    assert second.session_id in {each.session_id for each in at.kept.sessions.values()}
    assert options["user"]["name"] == EMAIL


async def test_the_last_second_factor_is_not_taken_away_where_one_is_required() -> None:
    at, session, authenticator = await at_work()
    (first,) = await at.passkeys.of_operator(session)
    with pytest.raises(Conflict, match="second_factor_needed"):
        await at.passkeys.remove(session, first.kept.id)
    await at.with_app(session)
    with_passkey = await at.by_passkey(authenticator)
    await at.passkeys.remove(session, first.kept.id)
    assert with_passkey.session_id not in {each.session_id for each in at.kept.sessions.values()}
    with pytest.raises(Unauthenticated, match="credentials_invalid"):
        await at.by_passkey(authenticator)
    with pytest.raises(Conflict, match="second_factor_needed"):
        await at.second_factors.remove_totp(session)
    await at.added(session, Authenticator())
    await at.second_factors.remove_totp(session)
    with pytest.raises(NotFound, match="passkey_not_found"):
        await at.passkeys.remove(session, first.kept.id)


async def test_recovery_codes_stand_in_for_a_passkey_and_go_with_the_last_factor() -> None:
    at, authenticator = PasskeyConsole(), Authenticator()
    await at.joined(role="tenant_operator")
    await Tenants(at.log, at.ids).change_settings(
        cli(TENANT), {"operator_second_factor_required": False}
    )
    session = await at.session()
    with pytest.raises(Conflict, match="totp_not_enrolled"):
        await at.second_factors.renew_recovery_codes(session)
    passkey = await at.added(session, authenticator)
    codes = await at.second_factors.renew_recovery_codes(session)
    again = await at.session(second=SecondFactor(kind="recovery_code", value=codes[0]))
    await at.passkeys.remove(again, passkey.kept.id)
    state = await at.operators.get(TENANT, session.operator_id)
    assert (state.recovery_codes, state.has_second_factor) == (0, False)
    await at.session()
    await at.added(await at.session(), Authenticator())
    with pytest.raises(Unauthenticated, match="credentials_invalid"):
        await at.session(second=SecondFactor(kind="recovery_code", value=codes[1]))


async def test_who_has_not_signed_in_just_now_adds_and_removes_none() -> None:
    at, session, _ = await at_work()
    (first,) = await at.passkeys.of_operator(session)
    at.clock.advance(FRESH.total_seconds() + 1)
    for attempt in (
        at.passkeys.propose(session, None),
        at.passkeys.remove(session, first.kept.id),
    ):
        with pytest.raises(Forbidden, match="step_up_required"):
            await attempt
    renamed = await at.passkeys.rename(session, first.kept.id, "Laptop")
    assert renamed.kept.name == "Laptop"
    for name in ("", "   ", "x" * 61, "a\u202eb"):
        with pytest.raises(Invalid, match="passkey_name_invalid"):
            await at.passkeys.rename(session, first.kept.id, name)


Out = Callable[[PasskeyConsole, OperatorPrincipal], Awaitable[object]]


async def suspended(at: PasskeyConsole, who: OperatorPrincipal) -> object:
    return await at.operators.suspend(cli(TENANT), who.operator_id)


async def removed(at: PasskeyConsole, who: OperatorPrincipal) -> object:
    return await at.operators.remove(cli(TENANT), who.operator_id)


async def recovered(at: PasskeyConsole, who: OperatorPrincipal) -> object:
    return await at.operators.recover(cli(TENANT), who.operator_id, "new$hash")


@pytest.mark.parametrize("out", [suspended, removed, recovered])
async def test_who_is_out_comes_in_by_no_passkey_even_where_its_row_is_left(out: Out) -> None:
    """The rows in memory stay: it is the log that says what counts."""
    at, session, authenticator = await at_work()
    await out(at, session)
    with pytest.raises(Unauthenticated, match="credentials_invalid"):
        await at.by_passkey(authenticator)


async def test_an_initial_password_is_changed_before_a_passkey_is_added() -> None:
    at = PasskeyConsole()
    await at.first_admin.seed("root@example.com", PASSWORD)
    session = await at.session("root@example.com", PLATFORM)
    with pytest.raises(Conflict, match="password_unchanged_yet"):
        await at.proposed(session)
    await at.sign_ins.change_password(session, ADDRESS, PASSWORD, "another long and winding one")
    authenticator = Authenticator()
    await at.added(session, authenticator)
    coming = await at.by_passkey(authenticator)
    assert (coming.home, coming.pending) == (PLATFORM, ())


async def test_guesses_at_a_passkey_end_here_and_its_person_comes_in_from_elsewhere() -> None:
    at, _, authenticator = await at_work()
    thief = Authenticator()
    thief.id, thief.user_handle, thief.rp_id = authenticator.id, authenticator.user_handle, "x"
    for _ in range(10):
        with pytest.raises(Unauthenticated):
            await at.by_passkey(thief)
    with pytest.raises(TooMany, match="rate_limited"):
        await at.by_passkey(authenticator)
    token, options = await at.asked()
    await at.shown(token, authenticator.show(options), address="198.51.100.9")


async def test_a_session_by_a_passkey_is_ended_as_any_other() -> None:
    at, _, authenticator = await at_work()
    coming = await at.by_passkey(authenticator)
    of = (coming.home, coming.operator_id)
    await at.sessions.end(coming, of, coming.session_id, "signed_out")
    named = f"{coming.home.hex}{coming.session_id.hex}"
    token = f"lcs_{named}_{at.digests.digest('console_session', named)}"
    with pytest.raises(Unauthenticated, match="token_invalid"):
        await at.sessions.authenticate(token, CORRELATION)
