"""How people come in: which adapter stands behind which port. A part of the composition root."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from application.identifiers import Identifiers
from application.people.account_links import AccountLinks
from application.people.account_sign_ins import AccountSignIns
from application.people.accounts import Accounts
from application.people.newcomers import Newcomers
from application.people.one_time_codes import OneTimeCodes
from application.people.password_sign_ins import PasswordSignIns
from application.people.reauthentications import Reauthentications
from application.people.sign_in_guard import SignInGuard
from application.people.sign_ins import Channel, SignIns
from application.people.user_sessions import UserSessions
from application.people.users import Users
from application.ports import OtpSender, PersonalData, PhoneNumbers
from infrastructure.people.user_sessions import PostgresSessionLines
from infrastructure.shown_once import ShownOnce
from infrastructure.tokens.id_tokens import SOURCES, ProviderIdTokens, sources_of_test_issuer
from infrastructure.tokens.sign_in_nonces import DigestedNonces
from infrastructure.tokens.user_tokens import JwtUserTokens
from interfaces.counterparts import Counterparts

if TYPE_CHECKING:
    from interfaces.composition import Platform


class WaysIn(msgspec.Struct, frozen=True, kw_only=True):
    guard: SignInGuard
    sessions: UserSessions
    sign_ins: SignIns
    password_sign_ins: PasswordSignIns
    reauthentications: Reauthentications
    account_sign_ins: AccountSignIns
    account_links: AccountLinks


def ways_in(
    of: "Platform",
    outside: Counterparts,
    *,
    codes: OneTimeCodes,
    identifiers: Identifiers,
    newcomers: Newcomers,
    numbers: PhoneNumbers,
    shown: ShownOnce,
    users: Users,
    vault: PersonalData,
) -> WaysIn:
    """One guard in front of all of them."""
    settings, clock, ids, log, keyring = of.settings, of.clock, of.ids, of.streams, of.keyring
    guard = SignInGuard(of.streams, of.limiter)
    lines = PostgresSessionLines(of.app_pool, clock)
    tokens = JwtUserTokens(of.user_token_keys, settings.issuer, clock, ids)
    sessions = UserSessions(log, of.streams, lines, tokens, guard, keyring, clock, ids)
    senders: Mapping[Channel, OtpSender] = {
        "sms": outside.otp_sender,
        "email": outside.email_sender,
    }
    sign_ins = SignIns(guard, codes, senders, newcomers, sessions, identifiers, numbers, keyring)
    origin = settings.test_id_issuer
    sources = SOURCES if origin is None else sources_of_test_issuer(origin)
    accounts = Accounts(
        log,
        ProviderIdTokens(outside.client_keys, clock, sources),
        DigestedNonces(keyring, shown, clock, ids),
        keyring,
    )
    passwords = PasswordSignIns(
        log,
        guard,
        codes,
        outside.email_sender,
        sign_ins,
        sessions,
        identifiers,
        of.passwords,
        vault,
        clock,
        ids,
    )
    return WaysIn(
        guard=guard,
        sessions=sessions,
        sign_ins=sign_ins,
        password_sign_ins=passwords,
        reauthentications=Reauthentications(
            log, guard, accounts, codes, sign_ins, passwords, sessions, vault
        ),
        account_sign_ins=AccountSignIns(log, guard, accounts, identifiers, sessions, ids),
        account_links=AccountLinks(
            log, guard, accounts, identifiers, codes, sign_ins, sessions, users, clock, ids
        ),
    )
