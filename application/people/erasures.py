"""Erasing a person (000 compliance, PDPL art. 18): one request, then steps until it is done.

The request is one commit: the erasure is on record, every consent is withdrawn, the person is
refused everywhere, and mobile, e-mail and external id are free. Each step's effect comes before
its event and may happen twice, so whoever comes next, a request or a worker, goes on where the log
says. The vendor may take its time over the palms: the erasure is then visibly pending.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Protocol, get_args
from uuid import uuid5

import msgspec

from application.execute import execute, retrying, stream_of
from application.identifiers import Identifiers
from application.palms.hand_claims import hand_of
from application.palms.palm_intake import ABANDONED_AFTER
from application.palms.palm_removals import PalmRemovals
from application.palms.templates import Templates
from application.people.user_sessions import UserSessions
from application.ports import (
    Clock,
    EnrollmentGrants,
    EventLog,
    IdSource,
    OtpChallenges,
    PersonalData,
)
from application.principals import Caller
from application.tenants.approvals import Approvals
from domain import claim as k
from domain import erasure as r
from domain import tenant as t
from domain import user as u
from domain.errors import Conflict, NotFound, Unavailable
from domain.events import Recorded, StreamAppend
from domain.ids import ClaimId, PalmRef, TenantId, UserId
from domain.palm import Hand

AT_ONCE: Final = 100
EVERY_S: Final = 30.0
"""How often a worker looks for erasures to go on with; a vendor that cannot delete is asked so."""
_user: Final = stream_of(u.UserSignedUp, u.rebuild)


class ErasureReport(msgspec.Struct, frozen=True, kw_only=True):
    """How far an erasure is; `steps` are its events, in the order in which they were done."""

    erasure: r.Erasure
    steps: tuple[Recorded, ...]


class Erasures:
    def __init__(
        self,
        log: EventLog,
        personal_data: PersonalData,
        challenges: OtpChallenges,
        grants: EnrollmentGrants,
        palms: PalmRemovals,
        templates: Templates,
        identifiers: Identifiers,
        sessions: UserSessions,
        approvals: Approvals,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._personal_data = personal_data
        self._challenges = challenges
        self._grants = grants
        self._palms = palms
        self._templates = templates
        self._identifiers = identifiers
        self._sessions = sessions
        self._approvals = approvals
        self._clock = clock
        self._ids = ids

    async def request(
        self, caller: Caller, user_id: UserId, reference: str | None = None
    ) -> ErasureReport:
        """Erase the person, as far as that goes at once; asked again, go on.

        Raises NotFound (`user_not_found`), Malformed (`erasure_reference_invalid`), and for a
        console person what `Approvals.used_up` raises.
        """
        await retrying(lambda: self._begin(caller, user_id, reference))
        try:
            return await self.advance(caller, user_id)
        except Unavailable:
            # It is on record, and the workers go on.
            return await self.get(caller.tenant_id, user_id)

    async def _begin(self, caller: Caller, user_id: UserId, reference: str | None) -> None:
        """On the person as read once: a consent that is given meanwhile is withdrawn as well."""
        tenant_id = caller.tenant_id
        user = _user(await self._log.load(tenant_id, user_id))
        if user is None:
            raise NotFound("user_not_found")
        consents = sorted(purpose for purpose, held in user.consents.items() if held.granted)

        async def beside() -> Sequence[StreamAppend]:
            refusals = await self._refuse_from_now_on(user)
            return [*refusals, *await self._approvals.used_up(caller, "user.erase", user_id)]

        await execute(
            self._log,
            caller.origin(self._ids.uuid()),
            tenant_id,
            r.erasure_id(user_id),
            r.rebuild,
            lambda erasure: r.request(erasure, user_id, consents, reference),
            beside,
        )

    async def advance(self, caller: Caller, user_id: UserId) -> ErasureReport:
        """Do what is left to do, up to what the vendor has not done yet.

        Raises NotFound (`erasure_not_found`), and CommitFailed, Unavailable or what the vault
        raises: then the next one goes on.
        """
        tenant_id = caller.tenant_id
        while True:
            report = await self.get(tenant_id, user_id)
            match report.erasure.next_step:
                case "access":
                    await self._end_access(caller, user_id)
                    await self._note(caller, user_id, r.end_access)
                case "keys":
                    await self._personal_data.erase(tenant_id, user_id)
                    await self._note(caller, user_id, r.destroy_keys)
                case "templates":
                    if await self._remove_templates(caller, user_id, report.steps[0].recorded_at):
                        return await self.get(tenant_id, user_id)
                case "completion":
                    await self._complete(caller, user_id)
                case None:
                    return report

    async def get(self, tenant_id: TenantId, user_id: UserId) -> ErasureReport:
        """Raises NotFound (`erasure_not_found`)."""
        past = await self._log.load(tenant_id, r.erasure_id(user_id))
        erasure = r.rebuild(past)
        if erasure is None:
            raise NotFound("erasure_not_found")
        return ErasureReport(erasure=erasure, steps=tuple(past))

    async def completed(self, tenant_id: TenantId, user_id: UserId) -> ErasureReport:
        """Raises NotFound (`erasure_not_found`), Conflict (`erasure_not_completed`)."""
        report = await self.get(tenant_id, user_id)
        if report.erasure.status != "completed":
            raise Conflict("erasure_not_completed", extra={"status": report.erasure.status})
        return report

    async def _refuse_from_now_on(self, user: u.User) -> Sequence[StreamAppend]:
        tenant_id, user_id = user.tenant_id, user.id
        events = u.start_erasure(user)
        appends = [_on(tenant_id, user_id, user.version, events)] if events else []
        appends += await self._take_hands(tenant_id, user_id)
        held = await self._identifiers.held(user)
        return [*appends, *await self._identifiers.settle(tenant_id, user_id, held, {})]

    async def _take_hands(self, tenant_id: TenantId, user_id: UserId) -> Sequence[StreamAppend]:
        """So that no enrolment begins: one that read the person before this meets the claim.

        A hand that is taken is an enrolment's, which is known then and ends.
        """
        appends: list[StreamAppend] = []
        for hand in get_args(Hand):
            stream = hand_of(tenant_id, user_id, hand)
            claim = k.rebuild(await self._log.load(tenant_id, stream))
            if claim is None or claim.owner is None:
                taken = k.ClaimTaken(kind=k.PALM_HAND, owner=r.erasure_id(user_id))
                appends.append(
                    _on(tenant_id, stream, 0 if claim is None else claim.version, [taken])
                )
        return appends

    async def _end_access(self, caller: Caller, user_id: UserId) -> None:
        """While mobile and e-mail can still be read: challenges that led nowhere are found so."""
        tenant_id = caller.tenant_id
        values = await self._personal_data.everything(tenant_id, user_id)
        sent_to = [values[field] for field in ("mobile", "email") if field in values]
        await self._challenges.forget(tenant_id, user_id, sent_to)
        await self._grants.close(tenant_id, user_id)
        await self._sessions.forget(caller, user_id)

    async def _remove_templates(
        self, caller: Caller, user_id: UserId, requested_at: datetime
    ) -> Sequence[PalmRef]:
        """Ask the vendor once for each palm; what it may still have.

        Nothing has begun since the request, but an enrolment that had may be on its way there: it
        ends by itself, or is given up when it must have, so that nothing arrives after the end.
        """
        running = self._clock.now() - requested_at < ABANDONED_AFTER
        tenant = t.rebuild(await self._log.load(caller.tenant_id, caller.tenant_id))
        assert tenant is not None, "a user belongs to a tenant"
        for palm_ref in await self._palms.start_all(
            caller, user_id, "erasure", leave_running=running
        ):
            await self._templates.remove(caller, tenant, palm_ref)
        left = await self._palms.outstanding(caller.tenant_id, user_id)
        await self._note(caller, user_id, lambda held: r.settle_templates(held, left))
        return left

    async def _complete(self, caller: Caller, user_id: UserId) -> None:
        async def beside() -> Sequence[StreamAppend]:
            user = u.rebuild(await self._log.load(caller.tenant_id, user_id))
            assert user is not None, "users are never removed from the log"
            events = u.finish_erasure(user)
            return [_on(caller.tenant_id, user_id, user.version, events)] if events else []

        await execute(
            self._log,
            caller.origin(uuid5(r.erasure_id(user_id), "complete")),
            caller.tenant_id,
            r.erasure_id(user_id),
            r.rebuild,
            lambda erasure: r.complete(_known(erasure)),
            beside,
        )

    async def _note(
        self,
        caller: Caller,
        user_id: UserId,
        decide: Callable[[r.Erasure], Sequence[r.ErasureEvent]],
    ) -> None:
        await execute(
            self._log,
            caller.origin(self._ids.uuid()),
            caller.tenant_id,
            r.erasure_id(user_id),
            r.rebuild,
            lambda erasure: decide(_known(erasure)),
        )


def _known(erasure: r.Erasure | None) -> r.Erasure:
    assert erasure is not None, "a step follows the request"
    return erasure


def _on(
    tenant_id: TenantId,
    stream_id: UserId | ClaimId,
    version: int,
    events: Sequence[u.UserEvent] | Sequence[k.ClaimEvent],
) -> StreamAppend:
    return StreamAppend(
        tenant_id=tenant_id, stream_id=stream_id, expected_version=version, events=events
    )


class UnfinishedErasures(Protocol):
    async def find(self, limit: int) -> Sequence[tuple[TenantId, UserId]]:
        """Where to look next, so that every one has its turn. A hint: what is so is read from
        the log."""
        ...


class ErasureRounds:
    """What the workers do: go on with every erasure that is not completed.

    `interrupted` is told of each person whose turn failed, and of what.
    """

    def __init__(
        self,
        erasures: Erasures,
        unfinished: UnfinishedErasures,
        ids: IdSource,
        interrupted: Callable[[TenantId, UserId, Exception], None],
    ) -> None:
        self._erasures = erasures
        self._unfinished = unfinished
        self._ids = ids
        self._interrupted = interrupted

    async def round(self) -> int:
        """Advance each once; how many are completed now.

        One that fails, in whatever way, keeps nobody else waiting and is tried again in the next
        round. Raises what finding them raises.
        """
        completed = 0
        for tenant_id, user_id in await self._unfinished.find(AT_ONCE):
            worker = Caller(
                tenant_id=tenant_id, actor="system:erasure", correlation_id=self._ids.uuid()
            )
            try:
                report = await self._erasures.advance(worker, user_id)
            except Exception as error:
                self._interrupted(tenant_id, user_id, error)
                continue
            completed += report.erasure.status == "completed"
        return completed
