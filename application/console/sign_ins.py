"""Coming into the console: e-mail and password, with an authenticator app or a recovery code.

Whatever is wrong, and whether or not there is such a person, the answer is the same and takes as
long. That a second factor is wanted is told to who knows the password.
"""

from typing import Final, Literal
from uuid import UUID

import msgspec

from application.console.invitations import Invitations
from application.console.operators import Operators
from application.console.password_policy import console_policy
from application.console.sessions import Opened, OperatorSessions
from application.passwords import Passwords
from application.people.sign_in_guard import SignInGuard
from application.ports import Clock, Digests
from application.ports.console import ConsoleCredentials
from application.principals import Caller, OperatorPrincipal, operator_actor
from domain import email as e
from domain import operator as o
from domain import operator_session as os
from domain import totp
from domain.errors import Invalid, Unauthenticated
from domain.ids import OperatorId, TenantId

RECOVERY_CODE: Final = "console_recovery_code"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody at the console's door: of a tenant or of `PLATFORM`, from which network."""

    tenant_id: TenantId
    address: str
    correlation_id: UUID

    def caller(self) -> Caller:
        """Whom the log names until we know who it is."""
        return Caller(
            tenant_id=self.tenant_id, actor="operator:unknown", correlation_id=self.correlation_id
        )

    def proved(self, tenant_id: TenantId, operator_id: OperatorId) -> Caller:
        """Somebody who has just shown who they are."""
        return Caller(
            tenant_id=tenant_id,
            actor=operator_actor(operator_id),
            correlation_id=self.correlation_id,
        )


class SecondFactor(msgspec.Struct, frozen=True, kw_only=True):
    kind: Literal["totp", "recovery_code"]
    value: str


def recovery_code_digest(digests: Digests, operator_id: OperatorId, code: str) -> str:
    """However it was typed: hyphens and case do not count."""
    plain = code.replace("-", "").replace(" ", "").upper()
    return digests.digest(RECOVERY_CODE, f"{operator_id}:{plain}")


class ConsoleSignIns:
    def __init__(
        self,
        guard: SignInGuard,
        operators: Operators,
        credentials: ConsoleCredentials,
        passwords: Passwords,
        sessions: OperatorSessions,
        digests: Digests,
        clock: Clock,
    ) -> None:
        self._guard = guard
        self._operators = operators
        self._credentials = credentials
        self._passwords = passwords
        self._sessions = sessions
        self._digests = digests
        self._clock = clock
        self._invitations = Invitations(digests)

    async def sign_in(
        self, entry: Entry, email: str, password: str, second: SecondFactor | None
    ) -> Opened:
        """Raises Unauthenticated (`credentials_invalid`, `second_factor_missing`), Invalid
        (`email_invalid`), TooMany (`rate_limited`) and Unavailable (`sign_in_busy`)."""
        operator = await self.by_password(entry, email, password)
        method: os.Method = "password"
        if operator.has_second_factor:
            if second is None:
                raise Unauthenticated(
                    "second_factor_missing",
                    "a passkey, a code of your authenticator app, or a recovery code",
                )
            method = await self._proved(entry, operator, second)
        return await self._sessions.open(entry.caller(), operator, method)

    async def by_password(self, entry: Entry, email: str, password: str) -> o.Operator:
        """Who has this address and this password, and may come in: the first factor. Raises
        Unauthenticated (`credentials_invalid`), Invalid (`email_invalid`), TooMany
        (`rate_limited`), Forbidden (`tenant_suspended`) and Unavailable (`sign_in_busy`)."""
        address = e.normalised(email)
        await self._guard.admit_operator(
            entry.tenant_id, entry.address, str(self._operators.claim(entry.tenant_id, address))
        )
        operator = await self._operators.by_email(entry.tenant_id, address)
        if not await self._knows(operator, password) or operator is None:
            await self._guard.failed_operator(entry.tenant_id, entry.address)
            raise Unauthenticated("credentials_invalid")
        return operator

    async def change_password(
        self, operator: OperatorPrincipal, address: str, current: str, new: str
    ) -> None:
        """Ends every other session. Raises Unauthenticated (`credentials_invalid`), what
        `Passwords.hashed` raises, and Invalid (`password_unchanged`)."""
        tenant = await self._guard.admit_operator(operator.home, address, str(operator.operator_id))
        state = await self._operators.get(operator.home, operator.operator_id)
        if not await self._knows(state, current):
            await self._guard.failed_operator(operator.home, address)
            raise Unauthenticated("credentials_invalid")
        policy = console_policy(tenant)
        wanted = await self._passwords.check(new, policy)
        if current == new:
            raise Invalid("password_unchanged", "choose another one")
        of = (operator.home, operator.operator_id)
        before = await self._credentials.latest_passwords(*of, policy.history)
        hashed = await self._passwords.taken(wanted, before)
        await self._credentials.set_password(*of, hashed, remember=policy.remember)
        await self._operators.tell(operator, operator.home, operator.operator_id, o.set_password)
        await self._sessions.end_all(
            operator,
            (operator.home, operator.operator_id),
            "password_changed",
            but=operator.session_id,
        )

    async def accept(self, entry: Entry, invitation: str, password: str) -> o.Operator:
        """Take up an invitation by setting a password. Raises what `Operators.accept` and
        `Passwords.hashed` raise, and TooMany (`rate_limited`)."""
        tenant_id, operator_id, _ = self._invitations.read(invitation)
        tenant = await self._guard.admit_operator(tenant_id, entry.address, str(operator_id))
        hashed = await self._passwords.hashed(password, console_policy(tenant))
        caller = entry.proved(tenant_id, operator_id)
        return await self._operators.accept(caller, invitation, hashed)

    async def _knows(self, operator: o.Operator | None, password: str) -> bool:
        """Whether it is the person's password, of one who may come in by it now."""
        hashed = None
        if operator is not None:
            hashed = await self._credentials.password(operator.tenant_id, operator.id)
        proved = await self._passwords.prove(password, hashed)
        if not proved.right or operator is None or operator.status != "active":
            return False
        until = operator.password_until
        if until is not None and self._clock.now() >= until:
            return False
        if proved.renewed is not None and hashed is not None:
            await self._credentials.renew_password(
                operator.tenant_id, operator.id, hashed, proved.renewed
            )
        return True

    async def _proved(self, entry: Entry, operator: o.Operator, second: SecondFactor) -> os.Method:
        """By what the person has come in; of a code that was used before, by nothing."""
        if second.kind == "totp" and await self._has_app(operator, second.value):
            return "password_totp"
        if second.kind == "recovery_code":
            digest = recovery_code_digest(self._digests, operator.id, second.value)
            if await self._credentials.spend_recovery_code(operator.tenant_id, operator.id, digest):
                of = (operator.tenant_id, operator.id)
                await self._operators.tell(entry.proved(*of), *of, o.use_recovery_code)
                return "password_recovery_code"
        await self._guard.failed_operator(entry.tenant_id, entry.address)
        raise Unauthenticated("credentials_invalid")

    async def _has_app(self, operator: o.Operator, code: str) -> bool:
        secret = await self._credentials.totp(operator.tenant_id, operator.id)
        if secret is None or not operator.totp:
            return False
        step = totp.matching_step(secret, code, self._clock.now())
        return step is not None and await self._credentials.spend_totp(
            operator.tenant_id, operator.id, step
        )
