"""Console people and what they may manage: invited, given another role, suspended, removed.

An e-mail is one person's at most in a tenant, and among the platform's own people; the log knows it
as the stream of a claim, whose id comes from a keyed digest. Whatever takes rights away ends the
person's sessions, and is in force before it is answered.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final
from uuid import UUID

import msgspec

from application.console.admins import counted
from application.console.invitations import Invitations
from application.console.password_policy import console_policy
from application.console.sessions import OperatorSessions
from application.execute import Done, execute, stream_of
from application.identifiers import identifier_claim
from application.ports import Clock, Digests, EventLog, IdSource, StaleStream
from application.ports.console import ConsoleCredentials, ConsolePeople, ConsolePerson
from application.principals import Caller
from application.tenants.approvals import Approvals
from domain import claim as k
from domain import email as e
from domain import operator as o
from domain import operator_session as os
from domain import platform_admins as pa
from domain import tenant as t
from domain.errors import Conflict, Invalid, NotFound, PreconditionFailed, Refusal, Unauthenticated
from domain.events import DomainEvent, Recorded, StreamAppend
from domain.ids import ClaimId, OperatorId, TenantId

NAME_MAX: Final = 80
_tenant: Final = stream_of(t.TenantCreated, t.rebuild)

Decide = Callable[[o.Operator], Sequence[o.OperatorEvent]]
Beside = Callable[[o.Operator], Awaitable[Sequence[StreamAppend]]]


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """A person as they are now, and the token of an invitation that was just made."""

    operator: o.Operator
    done: Done
    invitation: str | None = None


def operator_of(past: Sequence[Recorded]) -> o.Operator | None:
    """The person whose stream this is; one of another kind is nobody's."""
    if past and not isinstance(past[0].event, o.OperatorSeeded | o.OperatorInvited):
        return None
    return o.rebuild(past)


def described(email: str, name: str) -> ConsolePerson:
    """Raises Invalid (`email_invalid`, `operator_name_invalid`)."""
    name = name.strip()
    if not 1 <= len(name) <= NAME_MAX or not name.isprintable():
        raise Invalid("operator_name_invalid", f"a name of 1 to {NAME_MAX} printable characters")
    return ConsolePerson(email=e.normalised(email), name=name)


class Operators:
    def __init__(
        self,
        log: EventLog,
        people: ConsolePeople,
        credentials: ConsoleCredentials,
        sessions: OperatorSessions,
        approvals: Approvals,
        digests: Digests,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._people = people
        self._credentials = credentials
        self._sessions = sessions
        self._approvals = approvals
        self._digests = digests
        self._invitations = Invitations(digests)
        self._clock = clock
        self._ids = ids

    async def get(self, tenant_id: TenantId, operator_id: UUID) -> o.Operator:
        """Raises NotFound (`operator_not_found`)."""
        return _found(operator_of(await self._log.load(tenant_id, operator_id)))

    async def by_email(self, tenant_id: TenantId, email: str) -> o.Operator | None:
        """Who has this address, in its normal form."""
        claim = k.rebuild(await self._log.load(tenant_id, self.claim(tenant_id, email)))
        if claim is None or claim.owner is None:
            return None
        return operator_of(await self._log.load(tenant_id, claim.owner))

    def claim(self, tenant_id: TenantId, email: str) -> ClaimId:
        return identifier_claim(self._digests, tenant_id, k.OPERATOR_EMAIL, email)

    async def people(
        self, tenant_id: TenantId, operators: Collection[OperatorId]
    ) -> Mapping[OperatorId, ConsolePerson]:
        return await self._people.find(tenant_id, operators)

    async def person(self, tenant_id: TenantId, operator_id: OperatorId) -> ConsolePerson | None:
        return (await self._people.find(tenant_id, [operator_id])).get(operator_id)

    async def invite(
        self, caller: Caller, person: ConsolePerson, role: o.Role, key: str | None
    ) -> Changed:
        """Let somebody in who takes up the invitation. Raises Invalid (`role_not_here`,
        `idempotency_key_reused`) and Conflict (`operator_email_taken`, `tenant_deleted`)."""
        o.check_place(caller.tenant_id, role)
        command_id = caller.command("inviteOperator", key, self._ids.uuid())
        operator_id = OperatorId(command_id)
        claim = self.claim(caller.tenant_id, person.email)
        await self.take_claim(caller.tenant_id, claim, operator_id)
        before = await self.person(caller.tenant_id, operator_id)
        if before is not None and before != person:
            raise Invalid("idempotency_key_reused", "this key was used for another request")
        await self._people.put(caller.tenant_id, operator_id, person)
        try:
            done = await execute(
                self._log,
                caller.origin(command_id),
                caller.tenant_id,
                operator_id,
                operator_of,
                lambda state: o.invite(state, caller.tenant_id, role, self._clock.now()),
                beside=lambda: self.take_claim(caller.tenant_id, claim, operator_id),
            )
        except (Refusal, StaleStream):
            # Somebody else was invited by this address meanwhile, and nobody by this id.
            if not await self._log.load(caller.tenant_id, operator_id):
                await self._people.forget(caller.tenant_id, operator_id)
            raise
        return await self._invited(caller.tenant_id, operator_id, done)

    async def invite_again(self, caller: Caller, operator_id: UUID) -> Changed:
        """Raises NotFound (`operator_not_found`) and Conflict (`operator_not_invited`)."""
        done = await self._change(
            caller, operator_id, None, lambda state: o.invite_again(state, self._clock.now())
        )
        return await self._invited(caller.tenant_id, OperatorId(operator_id), done.done)

    async def accept(self, caller: Caller, invitation: str, hashed: str) -> o.Operator:
        """Take up an invitation with the hash of a password.

        Of many at once one sets the password, and is the one who is told so. Where that came no
        further than the event, the invitation still does the rest. Raises Unauthenticated
        (`invitation_invalid`) and Gone (`invitation_expired`).
        """
        tenant_id, operator_id, number = self._invitations.read(invitation)
        operator = operator_of(await self._log.load(tenant_id, operator_id))
        if not o.has_accepted(operator, number):
            await execute(
                self._log,
                caller.origin(self._ids.uuid()),
                tenant_id,
                operator_id,
                operator_of,
                lambda state: o.accept(state, number, self._clock.now()),
                beside=lambda: counted(self._log, tenant_id, operator_id, pa.add),
            )
        if not await self._credentials.set_first_password(tenant_id, operator_id, hashed):
            raise Unauthenticated("invitation_invalid")
        return await self.get(tenant_id, operator_id)

    async def change_role(
        self, caller: Caller, operator_id: UUID, version: int | None, role: o.Role
    ) -> Changed:
        """Raises PreconditionFailed (`version_mismatch`), and what `domain.operator` raises."""
        changed = await self._change(
            caller, operator_id, version, lambda state: o.change_role(state, role)
        )
        return await self._out(caller, changed, "role_changed")

    async def suspend(self, caller: Caller, operator_id: UUID) -> Changed:
        """Raises Conflict (`last_platform_admin`) too."""
        changed = await self._change(caller, operator_id, None, o.suspend, self._left)
        return await self._out(caller, changed, "suspended")

    async def resume(self, caller: Caller, operator_id: UUID) -> Changed:
        return await self._change(caller, operator_id, None, o.resume, self._back)

    async def remove(self, caller: Caller, operator_id: UUID) -> Changed:
        """For good. Of a Platform Admin it takes two; raises Conflict (`last_platform_admin`) and
        what `Approvals.used_up` raises."""
        person = await self.person(caller.tenant_id, OperatorId(operator_id))

        async def beside(operator: o.Operator) -> Sequence[StreamAppend]:
            appends = list(await self._left(operator))
            if operator.role == "platform_admin":
                appends += await self._approvals.used_up(
                    caller, "platform_admin.remove", operator.id
                )
            if person is not None:
                appends += await self._release(operator, person.email)
            return appends

        changed = await self._change(caller, operator_id, None, o.remove, beside)
        await self._credentials.drop_password(caller.tenant_id, changed.operator.id)
        await self._credentials.drop_totp(caller.tenant_id, changed.operator.id)
        await self._credentials.drop_passkeys(caller.tenant_id, changed.operator.id)
        return await self._out(caller, changed, "removed")

    async def recover(self, caller: Caller, operator_id: UUID, hashed: str) -> Changed:
        """A new initial password, and no second factor: for whoever has the machine itself."""
        operator = await self.get(caller.tenant_id, operator_id)
        o.recover(operator, self._clock.now())
        tenant = _tenant(await self._log.load(caller.tenant_id, caller.tenant_id))
        await self._credentials.set_password(
            caller.tenant_id, operator.id, hashed, remember=console_policy(tenant).remember
        )
        await self._credentials.drop_totp(caller.tenant_id, operator.id)
        await self._credentials.drop_passkeys(caller.tenant_id, operator.id)
        changed = await self._change(
            caller,
            operator_id,
            None,
            lambda state: o.recover(state, self._clock.now()),
            self._back,
        )
        return await self._out(caller, changed, "recovered")

    async def tell(
        self, caller: Caller, tenant_id: TenantId, operator_id: OperatorId, decide: Decide
    ) -> o.Operator:
        """Append what a person did to their own means of proof; the person as they are then."""
        return (await self.record(caller, tenant_id, operator_id, decide)).operator

    async def record(
        self, caller: Caller, tenant_id: TenantId, operator_id: OperatorId, decide: Decide
    ) -> Changed:
        """`tell`, with where it stands in the log."""
        done = await execute(
            self._log,
            caller.origin(self._ids.uuid()),
            tenant_id,
            operator_id,
            operator_of,
            lambda state: decide(_found(state)),
        )
        return Changed(operator=await self.get(tenant_id, operator_id), done=done)

    async def take_claim(
        self, tenant_id: TenantId, claim: ClaimId, operator_id: OperatorId
    ) -> Sequence[StreamAppend]:
        """Raises Conflict (`operator_email_taken`)."""
        state = k.rebuild(await self._log.load(tenant_id, claim))
        if state is not None and state.owner is not None:
            if state.owner != operator_id:
                raise Conflict("operator_email_taken", "another console person has this address")
            return ()
        taken = k.ClaimTaken(kind=k.OPERATOR_EMAIL, owner=operator_id)
        return (_append(tenant_id, claim, 0 if state is None else state.version, [taken]),)

    async def _left(self, operator: o.Operator) -> Sequence[StreamAppend]:
        return await counted(self._log, operator.tenant_id, operator.id, pa.take)

    async def _back(self, operator: o.Operator) -> Sequence[StreamAppend]:
        return await counted(self._log, operator.tenant_id, operator.id, pa.add)

    async def _release(self, operator: o.Operator, email: str) -> Sequence[StreamAppend]:
        stream = self.claim(operator.tenant_id, email)
        state = k.rebuild(await self._log.load(operator.tenant_id, stream))
        if state is None or state.owner != operator.id:
            return ()
        released = k.ClaimReleased(kind=k.OPERATOR_EMAIL)
        return (_append(operator.tenant_id, stream, state.version, [released]),)

    async def _change(
        self,
        caller: Caller,
        operator_id: UUID,
        version: int | None,
        decide: Decide,
        beside: Beside | None = None,
    ) -> Changed:
        decided_on: list[o.Operator] = []

        def on(state: o.Operator | None) -> Sequence[o.OperatorEvent]:
            known = _found(state)
            if version is not None and known.version != version:
                raise PreconditionFailed("version_mismatch")
            decided_on.append(known)
            return decide(known)

        async def together() -> Sequence[StreamAppend]:
            return () if beside is None else await beside(decided_on[-1])

        done = await execute(
            self._log,
            caller.origin(self._ids.uuid()),
            caller.tenant_id,
            operator_id,
            operator_of,
            on,
            beside=together,
        )
        return Changed(operator=await self.get(caller.tenant_id, operator_id), done=done)

    async def _out(self, caller: Caller, changed: Changed, reason: os.EndReason) -> Changed:
        """End the person's sessions, also where an earlier try came no further than the event."""
        if changed.done.events or changed.operator.status != "active":
            of = (changed.operator.tenant_id, changed.operator.id)
            await self._sessions.end_all(caller, of, reason)
        return changed

    async def _invited(self, tenant_id: TenantId, operator_id: OperatorId, done: Done) -> Changed:
        operator = await self.get(tenant_id, operator_id)
        token = self._invitations.token(operator) if operator.status == "invited" else None
        return Changed(operator=operator, done=done, invitation=token)


def _found(operator: o.Operator | None) -> o.Operator:
    if operator is None:
        raise NotFound("operator_not_found")
    return operator


def _append(
    tenant_id: TenantId, stream: UUID, version: int, events: Sequence[DomainEvent]
) -> StreamAppend:
    return StreamAppend(
        tenant_id=tenant_id, stream_id=stream, expected_version=version, events=events
    )
