"""Which adapters stand behind the use cases of console people."""

from typing import TYPE_CHECKING

from application.console.first_admin import FirstAdmin
from application.console.mailed_invitations import MailedInvitations
from application.console.operators import Operators
from application.console.passkey_ceremonies import Ceremonies
from application.console.passkey_sign_ins import PasskeySignIns
from application.console.passkeys import Passkeys
from application.console.second_factors import SecondFactors
from application.console.sessions import OperatorSessions
from application.console.sign_ins import ConsoleSignIns
from application.people.sign_in_guard import SignInGuard
from application.tenants.approvals import Approvals
from infrastructure.console.passkeys import PostgresConsolePasskeys, PostgresPasskeyCeremonies
from infrastructure.console.sessions import PostgresConsoleSessions
from infrastructure.console.users import PostgresConsoleCredentials, PostgresConsolePeople
from infrastructure.console.webauthn import Fido2WebAuthn
from infrastructure.messages.invitations import InvitationLetters, Letters
from interfaces.http.console.use_cases import ConsoleUseCases

if TYPE_CHECKING:
    from interfaces.composition import Platform


def console(
    of: "Platform", guard: SignInGuard, approvals: Approvals, letters: Letters
) -> ConsoleUseCases:
    """Everything that console people do for themselves and to each other."""
    log, clock, ids, digests = of.streams, of.clock, of.ids, of.keyring
    people = PostgresConsolePeople(of.app_pool, of.keyring)
    credentials = PostgresConsoleCredentials(of.app_pool, of.keyring)
    sessions = OperatorSessions(
        log, of.streams, PostgresConsoleSessions(of.app_pool), digests, clock, ids
    )
    operators = Operators(log, people, credentials, sessions, approvals, digests, clock, ids)
    sign_ins = ConsoleSignIns(guard, operators, credentials, of.passwords, sessions, digests, clock)
    kept, webauthn = PostgresConsolePasskeys(of.app_pool, of.keyring), Fido2WebAuthn()
    ceremonies = Ceremonies(
        of.settings.console.parties, PostgresPasskeyCeremonies(of.app_pool), clock, ids
    )
    return ConsoleUseCases(
        operators=operators,
        mailed_invitations=MailedInvitations(
            operators, InvitationLetters(letters, of.settings.console.invitation_page)
        ),
        sessions=sessions,
        sign_ins=sign_ins,
        second_factors=SecondFactors(operators, credentials, sessions, guard, digests, clock, ids),
        passkeys=Passkeys(
            operators, kept, credentials, ceremonies, webauthn, sessions, guard, clock, ids
        ),
        passkey_sign_ins=PasskeySignIns(
            guard, operators, sign_ins, kept, ceremonies, webauthn, sessions, clock
        ),
        first_admin=FirstAdmin(log, operators, people, credentials, of.passwords, clock, ids),
    )
