"""What the console's routes need, as one member of `Services`."""

import msgspec

from application.console.first_admin import FirstAdmin
from application.console.mailed_invitations import MailedInvitations
from application.console.operators import Operators
from application.console.passkey_sign_ins import PasskeySignIns
from application.console.passkeys import Passkeys
from application.console.second_factors import SecondFactors
from application.console.sessions import OperatorSessions
from application.console.sign_ins import ConsoleSignIns


class ConsoleUseCases(msgspec.Struct, frozen=True, kw_only=True):
    operators: Operators
    mailed_invitations: MailedInvitations
    sessions: OperatorSessions
    sign_ins: ConsoleSignIns
    second_factors: SecondFactors
    passkeys: Passkeys
    passkey_sign_ins: PasskeySignIns
    first_admin: FirstAdmin
