"""Finishing what another request began and did not decide: an intent whose lease has run out.

The person was identified then and is not identified again, since the same picture may yield
somebody else; the product is asked again where it was asked, under the same key. Whatever may no
longer be asked is closed, and the product is owed a void: the one before us may have reached it.
"""

from datetime import timedelta
from typing import Final

import msgspec

from application.ports import Clock, IdSource, Streams
from application.transactions import outcomes
from application.transactions.asked import Asked
from application.transactions.attempt import lease_until
from application.transactions.decisions import Decisions
from domain import linked_service as ls
from domain import transaction as x
from domain import user as u
from domain.errors import Conflict

TAKE_OVER_WITHIN: Final = timedelta(hours=1)
"""Whoever asks again later than this no longer stands where the palm was shown."""


class TakeOvers:
    def __init__(self, streams: Streams, decisions: Decisions, clock: Clock, ids: IdSource) -> None:
        self._streams = streams
        self._decisions = decisions
        self._clock = clock
        self._ids = ids

    async def take_over(
        self, asked: Asked, past: x.Transaction, intent: x.TransactionAuthorizationRequested
    ) -> x.Transaction:
        """Ask again with a fresh jti, or close.

        Raises Conflict (`request_in_progress`) while the lease lasts, and StaleStream when
        somebody else moved the transaction meanwhile.
        """
        if self._clock.now() < intent.lease_until:
            raise Conflict("request_in_progress", retry_after_s=1)
        identified = past.identified
        assert identified is not None, "an intent follows an identification"
        service = await self._streams.state(asked.tenant.id, intent.service_id, ls.rebuild)
        closed = await self._may_not(asked, past, identified, service, intent)
        if closed is not None or service is None:
            assert closed is not None, "without a service there is nobody to ask"
            return await self._decisions.decide(asked, past, [], closed)
        again = self._again(asked, intent)
        if not await self._decisions.intend(asked, past.version, [again], identified.user_id):
            erased = outcomes.refused(
                identified.user_id, "user_erased", self._decisions.moment(asked), asked_before=True
            )
            return await self._decisions.decide(asked, past, [], erased)
        taken = msgspec.structs.replace(past, intent=again, version=past.version + 1)
        return await self._decisions.ask(asked, taken, identified, again, service)

    def _again(
        self, asked: Asked, intent: x.TransactionAuthorizationRequested
    ) -> x.TransactionAuthorizationRequested:
        """The same question at the same place under the same key, by somebody else."""
        return msgspec.structs.replace(
            intent,
            jti=self._ids.uuid().hex,
            epoch=intent.epoch + 1,
            lease_until=lease_until(asked, self._clock),
        )

    async def _may_not(
        self,
        asked: Asked,
        past: x.Transaction,
        identified: x.TransactionIdentified,
        service: ls.LinkedService | None,
        intent: x.TransactionAuthorizationRequested,
    ) -> x.TransactionRefused | x.TransactionFailedClosed | None:
        """How it ends when it may not go on: too late, not this person or palm, not there."""
        moment = self._decisions.moment(asked)
        if self._clock.now() - past.received.received_at > TAKE_OVER_WITHIN:
            return outcomes.abandoned(moment)
        person = await self._streams.state(asked.tenant.id, identified.user_id, u.rebuild)
        assert person is not None, "who was identified exists"
        refusal: x.RefusedReason | None = outcomes.refusal(asked.tenant, person)
        if refusal is None and identified.palm_ref is not None:
            # What was taken away from its person meanwhile speaks for nobody.
            refusal = None if identified.palm_ref in person.palms else "palm_removed"
        if refusal is not None:
            refused = outcomes.refused(person.id, refusal, moment, asked_before=True)
            return msgspec.structs.replace(
                refused, user_version=person.version, tenant_version=asked.tenant.version
            )
        if service is None or service.status != "active":
            return outcomes.not_asked(
                "linked_service_unavailable", service, moment, asked_before=True
            )
        if not ls.allows(service, intent.action):
            return outcomes.not_asked("action_not_allowed", service, moment, asked_before=True)
        return None
