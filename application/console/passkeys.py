"""Passkeys of a console person: added from a session that has just begun, named, and removed."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import msgspec

from application.console.freshness import check_fresh
from application.console.operators import Decide, Operators
from application.console.passkey_ceremonies import Begun, Ceremonies
from application.console.sessions import OperatorSessions
from application.people.sign_in_guard import SignInGuard
from application.ports import Clock, IdSource
from application.ports.console import ConsoleCredentials, ConsolePerson
from application.ports.passkeys import (
    CeremonyFailed,
    ConsolePasskeys,
    KeptPasskey,
    Shown,
    WebAuthn,
)
from application.principals import OperatorPrincipal
from domain import operator as o
from domain.errors import Gone, Invalid, NotFound
from domain.ids import PasskeyId

NAME_MAX: Final = 60


class Passkey(msgspec.Struct, frozen=True, kw_only=True):
    kept: KeptPasskey
    suspected: bool


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """A registration that was begun, and for whom."""

    begun: Begun
    user_handle: bytes
    person: ConsolePerson | None


def user_handle(operator: o.Operator) -> bytes:
    """What an authenticator keeps beside the key, and tells at a sign-in: whose it is. It has no
    name and no address in it (WebAuthn §14.6.1)."""
    return operator.tenant_id.bytes + operator.id.bytes


class Passkeys:
    def __init__(
        self,
        operators: Operators,
        kept: ConsolePasskeys,
        credentials: ConsoleCredentials,
        ceremonies: Ceremonies,
        webauthn: WebAuthn,
        sessions: OperatorSessions,
        guard: SignInGuard,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._operators = operators
        self._kept = kept
        self._credentials = credentials
        self._ceremonies = ceremonies
        self._webauthn = webauthn
        self._sessions = sessions
        self._guard = guard
        self._clock = clock
        self._ids = ids

    async def propose(self, operator: OperatorPrincipal, origin: str | None) -> Proposal:
        """A challenge for a new passkey.

        Raises Forbidden (`step_up_required`, `origin_not_allowed`) and what `check_room` raises.
        """
        check_fresh(operator, self._clock.now())
        state = await self._operators.get(operator.home, operator.operator_id)
        o.check_room(state)
        begun = await self._ceremonies.begin(
            operator.home,
            origin,
            "register",
            operator.operator_id,
            operator.session_id,
            [passkey.kept for passkey in await self.of_operator(operator)],
        )
        person = await self._operators.person(operator.home, operator.operator_id)
        return Proposal(begun=begun, user_handle=user_handle(state), person=person)

    async def add(
        self, operator: OperatorPrincipal, address: str, token: str, name: str, shown: Shown
    ) -> Passkey:
        """Have a passkey count that was made for the challenge of this session. Where it is the
        first second factor, every other session ends: they began with less.

        Raises Gone (`passkey_ceremony_over`), Invalid (`passkey_invalid`, `passkey_name_invalid`),
        Conflict (`passkey_known`), TooMany (`rate_limited`) and what `check_room` raises.
        """
        name = _checked(name)
        await self._guard.admit_operator(operator.home, address, str(operator.operator_id))
        ended = await self._ceremonies.end(token)
        if ended is None:
            raise Gone("passkey_ceremony_over", "begin again")
        tenant_id, ceremony = ended
        given_to = (tenant_id, ceremony.kind, ceremony.operator_id, ceremony.session_id)
        if given_to != (operator.home, "register", operator.operator_id, operator.session_id):
            raise Gone("passkey_ceremony_over", "begin again")
        try:
            credential = self._webauthn.registered(ceremony, shown)
        except CeremonyFailed as failed:
            raise Invalid("passkey_invalid", str(failed)) from failed
        before = await self._operators.get(operator.home, operator.operator_id)
        o.check_room(before)
        passkey = KeptPasskey(
            id=PasskeyId(self._ids.uuid()),
            name=name,
            rp_id=ceremony.party.id,
            credential=credential,
            created_at=self._clock.now(),
        )
        await self._kept.add(operator.home, operator.operator_id, passkey)
        # The log last: a row that it knows nothing of opens nothing.
        await self._tell(
            operator,
            lambda state: o.add_passkey(
                state, passkey.id, backup_eligible=credential.backup_eligible
            ),
        )
        if not before.has_second_factor:
            await self._end_others(operator)
        return Passkey(kept=passkey, suspected=False)

    async def of_operator(self, operator: OperatorPrincipal) -> Sequence[Passkey]:
        """Those that count, in the order in which they were added."""
        state = await self._operators.get(operator.home, operator.operator_id)
        kept = await self._kept.of_operator(operator.home, operator.operator_id)
        return [
            Passkey(kept=passkey, suspected=passkey_id in state.suspected)
            for passkey_id, passkey in kept.items()
            if passkey_id in state.passkeys
        ]

    async def rename(self, operator: OperatorPrincipal, passkey_id: UUID, name: str) -> Passkey:
        """Raises NotFound (`passkey_not_found`) and Invalid (`passkey_name_invalid`)."""
        found, name = PasskeyId(passkey_id), _checked(name)
        await self._tell(operator, lambda state: o.rename_passkey(state, found))
        await self._kept.rename(operator.home, operator.operator_id, found, name)
        for passkey in await self.of_operator(operator):
            if passkey.kept.id == found:
                return passkey
        raise NotFound("passkey_not_found")

    async def remove(self, operator: OperatorPrincipal, passkey_id: UUID) -> None:
        """Ends every other session: one of them may have begun with it.

        Raises Forbidden (`step_up_required`), NotFound (`passkey_not_found`) and Conflict
        (`second_factor_needed`).
        """
        check_fresh(operator, self._clock.now())
        found = PasskeyId(passkey_id)
        state = await self._operators.get(operator.home, operator.operator_id)
        required = await self._sessions.second_factor_required(state)
        left = await self._tell(
            operator, lambda known: o.remove_passkey(known, found, required=required)
        )
        await self._kept.remove(operator.home, operator.operator_id, found)
        if not left.has_second_factor:
            await self._credentials.set_recovery_codes(operator.home, operator.operator_id, [])
        await self._end_others(operator)

    async def _tell(self, operator: OperatorPrincipal, decide: Decide) -> o.Operator:
        return await self._operators.tell(operator, operator.home, operator.operator_id, decide)

    async def _end_others(self, operator: OperatorPrincipal) -> None:
        of = (operator.home, operator.operator_id)
        await self._sessions.end_all(operator, of, "second_factor_changed", but=operator.session_id)


def _checked(name: str) -> str:
    name = name.strip()
    if not 1 <= len(name) <= NAME_MAX or not name.isprintable():
        raise Invalid("passkey_name_invalid", f"a name of 1 to {NAME_MAX} printable characters")
    return name
