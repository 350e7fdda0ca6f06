"""Coming into the console by a passkey: alone, or as the second factor after the password.

Alone it is both factors: something the person has, and the PIN or body part that the authenticator
asked for (user verification). Whatever is wrong, and whether or not there is such a person or such
a passkey, the answer is the same and takes as long.
"""

import hashlib
from typing import TypeAlias
from uuid import UUID

from application.console.operators import Operators
from application.console.passkey_ceremonies import Begun, Ceremonies, home_of
from application.console.sessions import Opened, OperatorSessions
from application.console.sign_ins import ConsoleSignIns, Entry
from application.people.sign_in_guard import SignInGuard
from application.ports import Clock
from application.ports.passkeys import (
    Asserted,
    Ceremony,
    CeremonyFailed,
    ConsolePasskeys,
    KeptPasskey,
    Shown,
    WebAuthn,
)
from domain import operator as o
from domain import operator_session as os
from domain.errors import Conflict, NotFound, Unauthenticated
from domain.ids import PLATFORM, OperatorId, TenantId

Whom: TypeAlias = tuple[TenantId, OperatorId]


class PasskeySignIns:
    def __init__(
        self,
        guard: SignInGuard,
        operators: Operators,
        sign_ins: ConsoleSignIns,
        kept: ConsolePasskeys,
        ceremonies: Ceremonies,
        webauthn: WebAuthn,
        sessions: OperatorSessions,
        clock: Clock,
    ) -> None:
        self._guard = guard
        self._operators = operators
        self._sign_ins = sign_ins
        self._kept = kept
        self._ceremonies = ceremonies
        self._webauthn = webauthn
        self._sessions = sessions
        self._clock = clock

    async def begin(self, entry: Entry, origin: str | None) -> Begun:
        """A challenge for whoever it may be: the authenticator says who. Raises TooMany
        (`rate_limited`) and Forbidden (`origin_not_allowed`)."""
        await self._guard.admit_operator(PLATFORM, entry.address, None)
        return await self._ceremonies.begin(PLATFORM, origin, "sign_in")

    async def begin_second(
        self, entry: Entry, origin: str | None, email: str, password: str
    ) -> Begun:
        """A challenge for who knows the password, naming the passkeys that will do.

        Raises what `ConsoleSignIns.by_password` raises, Conflict (`no_passkey_here`) and Forbidden
        (`origin_not_allowed`).
        """
        operator = await self._sign_ins.by_password(entry, email, password)
        kept = await self._kept.of_operator(operator.tenant_id, operator.id)
        begun = await self._ceremonies.begin(
            operator.tenant_id,
            origin,
            "second_factor",
            operator.id,
            passkeys=[each for each in kept.values() if each.id in operator.passkeys],
        )
        if not begun.passkeys:
            raise Conflict("no_passkey_here", "use another second factor")
        return begun

    async def sign_in(self, entry: Entry, token: str, shown: Shown) -> Opened:
        """Raises Unauthenticated (`credentials_invalid`), TooMany (`rate_limited`) and Forbidden
        (`tenant_suspended`)."""
        told = _whose(shown.user_handle)
        tenant_id = told[0] if told is not None else home_of(token)
        target = hashlib.sha256(shown.credential_id).hexdigest()
        await self._guard.admit_operator(tenant_id, entry.address, f"passkey:{target}")
        try:
            return await self._proved(entry, await self._ceremonies.end(token), told, shown)
        except Unauthenticated:
            await self._guard.failed_operator(tenant_id, entry.address)
            raise

    async def _proved(
        self,
        entry: Entry,
        ended: tuple[TenantId, Ceremony] | None,
        told: Whom | None,
        shown: Shown,
    ) -> Opened:
        named = _named(ended, told)
        if ended is None or named is None:
            raise Unauthenticated("credentials_invalid")
        ceremony = ended[1]
        operator = await self._operator(*named)
        passkey = await self._kept.find(*named, shown.credential_id)
        asserted = self._asserted(ceremony, passkey, shown)
        if asserted is None or passkey is None or operator is None:
            raise Unauthenticated("credentials_invalid")
        o.check_passkey_counts(operator, passkey.id)
        if passkey.rp_id != ceremony.party.id:
            raise Unauthenticated("credentials_invalid")
        now = self._clock.now()
        if not await self._kept.spend_count(*named, passkey.id, asserted, now):
            await self._tell_suspicion(entry, named, passkey)
            raise Unauthenticated("credentials_invalid")
        operator = await self._operators.tell(
            entry.proved(*named), *named, lambda state: o.use_passkey(state, passkey.id)
        )
        method: os.Method = "passkey" if ceremony.kind == "sign_in" else "password_passkey"
        return await self._sessions.open(entry.caller(), operator, method)

    async def _operator(self, tenant_id: TenantId, operator_id: OperatorId) -> o.Operator | None:
        try:
            return await self._operators.get(tenant_id, operator_id)
        except NotFound:
            return None

    def _asserted(
        self, ceremony: Ceremony, passkey: KeptPasskey | None, shown: Shown
    ) -> Asserted | None:
        credential = None if passkey is None else passkey.credential
        try:
            return self._webauthn.asserted(ceremony, credential, shown)
        except CeremonyFailed:
            return None

    async def _tell_suspicion(self, entry: Entry, named: Whom, passkey: KeptPasskey) -> None:
        await self._operators.tell(
            entry.caller(), *named, lambda state: o.suspect_passkey(state, passkey.id)
        )


def _whose(handle: bytes | None) -> Whom | None:
    """Whom a user handle of ours names; it proves nothing."""
    if handle is None or len(handle) != 32:
        return None
    return TenantId(UUID(bytes=handle[:16])), OperatorId(UUID(bytes=handle[16:]))


def _named(ended: tuple[TenantId, Ceremony] | None, told: Whom | None) -> Whom | None:
    """Who is signing in, as the ceremony has it, or the authenticator where it names nobody. None
    where the two disagree, or the ceremony is over or for something else."""
    if ended is None or ended[1].kind == "register":
        return None
    tenant_id, ceremony = ended
    if ceremony.operator_id is None:
        return told
    bound = (tenant_id, ceremony.operator_id)
    return bound if told in (None, bound) else None
