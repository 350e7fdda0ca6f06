"""Four eyes: what destroys is asked for by one, agreed to by another, and then done, once.

How a destructive command takes its part:

1. Its name stands in `domain.approval.Operation` and its terms in `TERMS` here.
2. Its use case is given `Approvals`, and appends what `used_up` answers in the commit that
   destroys:

       await execute(log, origin, tenant_id, stream_id, rebuild, decide,
                     beside=lambda: approvals.used_up(caller, "tenant.delete", subject))

   so that the approval and the deed stand or fall together, and none is used twice.
3. Its route takes the header `Approval-Id`, which becomes `caller.approval_id`.

`used_up` wants an approval from console people and, with `always`, from everybody: a client of the
platform's own, or who has the command line. The approval is asked for, given and used in one
tenant, the caller's; for what concerns the platform that is `PLATFORM`.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from application.execute import Done, execute, stream_of
from application.permissions import Permission, check_may
from application.ports import Clock, EventLog, IdSource
from application.principals import Caller, OperatorPrincipal, is_operator_actor
from domain import approval as a
from domain.errors import Forbidden, NotFound
from domain.events import StreamAppend
from domain.ids import PLATFORM, ApprovalId, TenantId


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Of one operation: what both must be allowed to do, how long it waits once agreed to, and how
    long after it was asked for it is worth anything. Where nothing is named they must be of the
    platform."""

    permission: Permission | None = None
    wait: timedelta = timedelta(0)
    lives: timedelta = timedelta(days=7)


TERMS: Final[dict[a.Operation, Terms]] = {
    "tenant.delete": Terms(wait=timedelta(hours=24)),
    "ca.regenerate": Terms(lives=timedelta(days=1)),
    "platform_admin.remove": Terms(),
    "user.erase": Terms(permission="dsr.write"),
}

Decide = Callable[[a.Approval | None], Sequence[a.ApprovalEvent]]

_approval: Final = stream_of(a.ApprovalAsked, a.rebuild)


class Approvals:
    def __init__(self, log: EventLog, clock: Clock, ids: IdSource) -> None:
        self._log = log
        self._clock = clock
        self._ids = ids

    async def ask(
        self, caller: Caller, operation: a.Operation, subject: UUID, key: str | None = None
    ) -> a.Approval:
        """Ask for leave to do this to `subject`. Raises Forbidden (`insufficient_scope`) and
        Invalid (`idempotency_key_reused`)."""
        terms = TERMS[operation]
        _check_may(caller, operation)
        command_id = caller.command("askApproval", key, self._ids.uuid())
        approval_id = ApprovalId(command_id)
        await execute(
            self._log,
            caller.origin(command_id),
            caller.tenant_id,
            approval_id,
            a.rebuild,
            lambda state: a.ask(
                state,
                operation,
                subject,
                wait=terms.wait,
                lives=terms.lives,
                now=self._clock.now(),
            ),
        )
        return await self.get(caller.tenant_id, approval_id)

    async def give(self, caller: Caller, approval_id: ApprovalId) -> Done:
        """Agree. Raises what `domain.approval.give` raises, NotFound (`approval_not_found`) and
        Forbidden: `insufficient_scope` for who may not do it either, and
        `approval_needs_another_person` for a program, where a console person asked."""

        def decide(state: a.Approval | None) -> Sequence[a.ApprovalEvent]:
            known = _found(state)
            _check_may(caller, known.operation)
            if is_operator_actor(known.asked_by) and not isinstance(caller, OperatorPrincipal):
                raise Forbidden("approval_needs_another_person", "another console person has to")
            return a.give(known, caller.actor, self._clock.now())

        return await self._execute(caller, approval_id, decide)

    async def refuse(self, caller: Caller, approval_id: ApprovalId) -> Done:
        """Have it not done. Raises as `give` does."""

        def decide(state: a.Approval | None) -> Sequence[a.ApprovalEvent]:
            known = _found(state)
            _check_may(caller, known.operation)
            return a.refuse(known, self._clock.now())

        return await self._execute(caller, approval_id, decide)

    async def get(self, tenant_id: TenantId, approval_id: UUID) -> a.Approval:
        """Raises NotFound (`approval_not_found`)."""
        return _found(_approval(await self._log.load(tenant_id, approval_id)))

    async def used_up(
        self,
        caller: Caller,
        operation: a.Operation,
        subject: UUID,
        *,
        always: bool = False,
        asked_since: datetime | None = None,
    ) -> Sequence[StreamAppend]:
        """What belongs into the commit that does it; nothing for a caller who needs nobody else.
        What was asked for before `asked_since` was asked for in other circumstances.

        Raises Forbidden (`approval_required`), and what `domain.approval.carry_out` raises.
        """
        if not (always or caller.needs_another):
            return ()
        if caller.approval_id is None:
            raise Forbidden("approval_required", f"{operation} takes two people")
        approval = _approval(await self._log.load(caller.tenant_id, caller.approval_id))
        if approval is None:
            raise Forbidden("approval_required", f"{operation} takes two people")
        if asked_since is not None and approval.asked_at < asked_since:
            raise Forbidden("approval_required", "it was asked for before this; ask again")
        events = a.carry_out(approval, operation, subject, self._clock.now())
        append = StreamAppend(
            tenant_id=caller.tenant_id,
            stream_id=approval.id,
            expected_version=approval.version,
            events=events,
        )
        return (append,)

    async def _execute(self, caller: Caller, approval_id: ApprovalId, decide: Decide) -> Done:
        return await execute(
            self._log,
            caller.origin(self._ids.uuid()),
            caller.tenant_id,
            approval_id,
            _approval,
            decide,
        )


def _found(state: a.Approval | None) -> a.Approval:
    if state is None:
        raise NotFound("approval_not_found")
    return state


def _check_may(caller: Caller, operation: a.Operation) -> None:
    permission = TERMS[operation].permission
    if permission is not None:
        check_may(caller, permission)
    elif caller.tenant_id != PLATFORM:
        raise Forbidden("insufficient_scope", "this is the platform's")
