"""What a console person holds besides a password: an authenticator app and its recovery codes."""

import base64
import secrets
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote, urlencode

import msgspec

from application.console.freshness import check_fresh
from application.console.operators import Decide, Operators
from application.console.sessions import OperatorSessions
from application.console.sign_ins import recovery_code_digest
from application.people.sign_in_guard import SignInGuard
from application.ports import Clock, Digests, IdSource
from application.ports.console import ConsoleCredentials
from application.principals import OperatorPrincipal
from domain import operator as o
from domain import totp
from domain.errors import Conflict, Invalid

CODE_SYMBOLS: Final = "ABCDEFGHJKMNPQRSTVWXYZ0123456789"
CODE_LENGTH: Final = 16
"""80 bits: nobody guesses one, so a keyed digest is kept and no slow hash."""
ISSUER: Final = "Link Identity"


class Proposed(msgspec.Struct, frozen=True, kw_only=True):
    """A secret for an authenticator app: to be typed (base32), and as what a QR code holds."""

    secret: str
    uri: str


class SecondFactors:
    """Everything here is for who has just signed in: raises Forbidden (`step_up_required`)."""

    def __init__(
        self,
        operators: Operators,
        credentials: ConsoleCredentials,
        sessions: OperatorSessions,
        guard: SignInGuard,
        digests: Digests,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._operators = operators
        self._credentials = credentials
        self._sessions = sessions
        self._guard = guard
        self._digests = digests
        self._clock = clock
        self._ids = ids

    async def propose_totp(self, operator: OperatorPrincipal) -> Proposed:
        """A secret that counts once a code of it was proved."""
        check_fresh(operator, self._clock.now())
        secret = secrets.token_bytes(totp.SECRET_BYTES)
        await self._credentials.propose_totp(operator.home, operator.operator_id, secret)
        person = await self._operators.person(operator.home, operator.operator_id)
        label = quote(f"{ISSUER}:{person.email if person is not None else 'console'}")
        shown = base64.b32encode(secret).decode()
        query = urlencode(
            {"secret": shown, "issuer": ISSUER, "digits": totp.DIGITS, "period": totp.STEP_S},
            quote_via=quote,
        )
        return Proposed(secret=shown, uri=f"otpauth://totp/{label}?{query}")

    async def enroll_totp(
        self, operator: OperatorPrincipal, address: str, code: str
    ) -> Sequence[str]:
        """Have the proposed app count from now on; the recovery codes, which nobody can tell again.

        Ends every other session: they began with less. Raises Invalid (`code_incorrect`), Conflict
        (`totp_not_proposed`) and TooMany (`rate_limited`).
        """
        check_fresh(operator, self._clock.now())
        await self._guard.admit_operator(operator.home, address, str(operator.operator_id))
        secret = await self._credentials.proposed_totp(operator.home, operator.operator_id)
        if secret is None:
            raise Conflict("totp_not_proposed", "ask for a secret first")
        step = totp.matching_step(secret, code, self._clock.now())
        if step is None:
            await self._guard.failed_operator(operator.home, address)
            raise Invalid("code_incorrect")
        codes = self._draw()
        digests = self._digested(operator, codes)
        if not await self._credentials.take_totp(
            operator.home, operator.operator_id, step, digests
        ):
            raise Conflict("totp_not_proposed", "ask for a secret first")
        await self._tell(operator, o.enroll_totp)
        await self._end_others(operator)
        return codes

    async def renew_recovery_codes(self, operator: OperatorPrincipal) -> Sequence[str]:
        """Others in place of those of before. Raises Conflict (`totp_not_enrolled`)."""
        check_fresh(operator, self._clock.now())
        state = await self._operators.get(operator.home, operator.operator_id)
        o.issue_recovery_codes(state)
        codes = self._draw()
        await self._credentials.set_recovery_codes(
            operator.home, operator.operator_id, self._digested(operator, codes)
        )
        await self._tell(operator, o.issue_recovery_codes)
        return codes

    async def remove_totp(self, operator: OperatorPrincipal) -> None:
        """Raises Conflict (`second_factor_needed`)."""
        check_fresh(operator, self._clock.now())
        state = await self._operators.get(operator.home, operator.operator_id)
        required = await self._sessions.second_factor_required(state)
        # The log first: a factor that it knows nothing of opens nothing, whatever is still kept.
        await self._tell(operator, lambda known: o.remove_totp(known, required=required))
        await self._credentials.drop_totp(operator.home, operator.operator_id)
        await self._end_others(operator)

    async def _tell(self, operator: OperatorPrincipal, decide: Decide) -> None:
        await self._operators.tell(operator, operator.home, operator.operator_id, decide)

    async def _end_others(self, operator: OperatorPrincipal) -> None:
        of = (operator.home, operator.operator_id)
        await self._sessions.end_all(operator, of, "second_factor_changed", but=operator.session_id)

    def _draw(self) -> list[str]:
        drawn = (self._ids.code(CODE_SYMBOLS, CODE_LENGTH) for _ in range(o.RECOVERY_CODES))
        return ["-".join(code[at : at + 4] for at in range(0, CODE_LENGTH, 4)) for code in drawn]

    def _digested(self, operator: OperatorPrincipal, codes: Sequence[str]) -> list[str]:
        return [recovery_code_digest(self._digests, operator.operator_id, code) for code in codes]
