"""Invitations by e-mail: the token goes to the person's address and to nobody else.

Whether the mail server took it is in the log and with the person. An invitation whose mail failed
is as good as any; who invited has another one mailed, or hands one over in another way.
"""

from uuid import UUID

import msgspec

from application.console.operators import Changed, Operators
from application.ports.console import ConsolePerson, InvitationMail
from application.principals import Caller
from domain import operator as o
from domain.errors import Unavailable


class MailedInvitations:
    def __init__(self, operators: Operators, mail: InvitationMail) -> None:
        self._operators = operators
        self._mail = mail

    async def invite(
        self, caller: Caller, person: ConsolePerson, role: o.Role, key: str | None
    ) -> Changed:
        """Raises what `Operators.invite` raises. The same key again mails what was not sent."""
        return await self._mailed(caller, await self._operators.invite(caller, person, role, key))

    async def mail_again(self, caller: Caller, operator_id: UUID) -> Changed:
        """Another invitation, in the place of the one before. Raises what `Operators.invite_again`
        raises."""
        return await self._mailed(caller, await self._operators.invite_again(caller, operator_id))

    async def _mailed(self, caller: Caller, made: Changed) -> Changed:
        operator = made.operator
        if made.invitation is None or operator.invitation_mail == "sent":
            return msgspec.structs.replace(made, invitation=None)
        outcome = await self._outcome(operator, made.invitation)
        told = await self._operators.record(
            caller,
            operator.tenant_id,
            operator.id,
            lambda state: o.note_mailed(state, operator.invitation, outcome),
        )
        done = made.done if told.done.position is None else told.done
        return msgspec.structs.replace(made, operator=told.operator, done=done, invitation=None)

    async def _outcome(self, operator: o.Operator, invitation: str) -> o.MailOutcome:
        person = await self._operators.person(operator.tenant_id, operator.id)
        if person is None or operator.invited_until is None:
            return "failed"
        try:
            await self._mail.send(person.email, invitation, operator.invited_until)
        except Unavailable:
            return "failed"
        return "sent"
