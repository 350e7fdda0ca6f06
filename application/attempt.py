"""One attempt at a transaction: identify, write the intent down, ask, commit the decision.

Every step raises StaleStream when somebody else moved the transaction meanwhile: this attempt
is fenced off then, and nothing it found out may reach the device.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final, NoReturn

import msgspec

from application import outcomes
from application.authorization import Authorization, Question, digest, product_key_of
from application.linked_services import by_product_key
from application.outcomes import Moment
from application.ports import (
    AuthorizeFailed,
    Clock,
    EventLog,
    IdSource,
    PalmQueryForbidden,
    PalmVendorFailed,
    Scan,
    Streams,
)
from application.principals import DevicePrincipal
from application.recognition import DeviceMatch, NotRecognised, Recognised, Recognition
from application.stand_in import StandIns
from domain import device as d
from domain import linked_service as ls
from domain import tenant as t
from domain import transaction as x
from domain.errors import Conflict, Unavailable
from domain.events import DomainEvent, StreamAppend
from domain.ids import TransactionId

VENDOR_LIMIT_S: Final = 2.5
AUTHORIZE_RESERVE_S: Final = 0.4
RELAY_RESERVE_S: Final = 0.1
LEASE_GRACE: Final = timedelta(seconds=2)


class TransactionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a device asks, already bounded and decoded by the edge."""

    idempotency_key: str
    scan: Scan
    context: dict[str, Any]
    deadline_ms: int | None = None
    match: DeviceMatch | None = None


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One request on its way through the house."""

    device: DevicePrincipal
    state: d.Device
    tenant: t.Tenant
    request: TransactionRequest
    id: TransactionId
    fingerprint: str
    context: bytes
    started: float
    deadline_s: float


class Attempts:
    def __init__(
        self,
        log: EventLog,
        streams: Streams,
        recognition: Recognition,
        authorization: Authorization,
        stand_ins: StandIns,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._streams = streams
        self._recognition = recognition
        self._authorization = authorization
        self._stand_ins = stand_ins
        self._clock = clock
        self._ids = ids

    async def begin(self, asked: Asked, past: x.Transaction | None) -> x.Transaction:
        """A first attempt, or another one after the palm vendor failed.

        Raises Unavailable (`palm_vendor_error`, `palm_vendor_timeout`), Forbidden, Conflict.
        """
        received = x.TransactionReceived(
            device_id=asked.device.device_id,
            idempotency_key=asked.request.idempotency_key,
            fingerprint=asked.fingerprint,
            scan_sha256=asked.request.scan.sha256,
            context_hash=digest(asked.context),
            deadline_ms=int(asked.deadline_s * 1000),
            attempt=x.attempt_of(past, self._clock.now()),
            certificate_fingerprint=asked.device.fingerprint,
            received_at=self._clock.now(),
            tells_user_id=asked.tenant.settings.device_receives_user_id,
            device_version=asked.state.version,
            tenant_version=asked.tenant.version,
        )
        transaction = x.Transaction(
            id=asked.id,
            tenant_id=asked.tenant.id,
            version=0 if past is None else past.version,
            received=received,
        )
        try:
            recognised = await self._recognise(asked)
        except PalmQueryForbidden:
            decision = outcomes.forbidden(self._moment(asked))
            return await self._decide(asked, transaction, [received], decision)
        except PalmVendorFailed as error:
            await self._vendor_failed(asked, transaction, error)
        if isinstance(recognised, NotRecognised):
            unknown = outcomes.not_recognized(recognised, self._moment(asked))
            return await self._decide(asked, transaction, [received], unknown)
        return await self._recognised(asked, transaction, recognised)

    async def _recognise(self, asked: Asked) -> Recognised | NotRecognised:
        if asked.request.match is not None:
            return await self._recognition.by_device(
                asked.tenant,
                asked.state,
                asked.request.match,
                asked.request.idempotency_key,
                asked.request.scan.sha256,
            )
        budget = min(VENDOR_LIMIT_S, self._remaining_s(asked) - AUTHORIZE_RESERVE_S)
        return await self._recognition.by_vendor(asked.tenant, asked.request.scan, budget)

    async def _recognised(
        self, asked: Asked, transaction: x.Transaction, recognised: Recognised
    ) -> x.Transaction:
        """Check the person, find the product, write the intent down, ask."""
        transaction = msgspec.structs.replace(transaction, identified=recognised.event)
        before: list[DomainEvent] = [transaction.received, recognised.event]
        refusal = outcomes.refusal(asked.tenant, recognised.user)
        if refusal is not None:
            refused = outcomes.refused(recognised.user.id, refusal, self._moment(asked))
            return await self._decide(asked, transaction, before, refused)
        bound = asked.state.registered
        action = bound.bound_action or ""
        service = await by_product_key(self._streams, asked.tenant.id, bound.bound_product or "")
        if service is None or service.status != "active":
            closed = outcomes.not_asked("linked_service_unavailable", service, self._moment(asked))
            return await self._decide(asked, transaction, before, closed)
        if service.routing.allowed_actions and action not in service.routing.allowed_actions:
            closed = outcomes.not_asked("action_not_allowed", service, self._moment(asked))
            return await self._decide(asked, transaction, before, closed)
        intent = self._intent(asked, service, action, epoch=1)
        await self._append(asked, transaction.version, [*before, intent])
        transaction = msgspec.structs.replace(
            transaction, intent=intent, version=transaction.version + len(before) + 1
        )
        return await self._ask(asked, transaction, recognised.event, intent, service)

    async def take_over(
        self, asked: Asked, past: x.Transaction, intent: x.TransactionAuthorizationRequested
    ) -> x.Transaction:
        """Finish what another process began: the same person, the same product key, a fresh jti."""
        if self._clock.now() < intent.lease_until:
            raise Conflict("request_in_progress", retry_after_s=1)
        assert past.identified is not None, "an intent follows an identification"
        service = await self._streams.state(asked.tenant.id, intent.service_id, ls.rebuild)
        if service is None or service.status != "active":
            closed = outcomes.not_asked(
                "linked_service_unavailable", service, self._moment(asked), asked_before=True
            )
            return await self._decide(asked, past, [], closed)
        again = self._intent(asked, service, intent.action, epoch=intent.epoch + 1)
        await self._append(asked, past.version, [again])
        taken = msgspec.structs.replace(past, intent=again, version=past.version + 1)
        return await self._ask(asked, taken, past.identified, again, service)

    def _intent(
        self, asked: Asked, service: ls.LinkedService, action: str, *, epoch: int
    ) -> x.TransactionAuthorizationRequested:
        routing = service.routing
        lease = timedelta(seconds=self._remaining_s(asked)) + LEASE_GRACE
        return x.TransactionAuthorizationRequested(
            service_id=service.id,
            service_version=service.version,
            product_key=service.product_key,
            action=action,
            base_url=routing.base_url,
            authorize_path=routing.authorize_path,
            void_path=routing.void_path,
            advice_path=routing.advice_path,
            timeout_ms=routing.timeout_ms,
            fail_mode=routing.fail_mode,
            product_idempotency_key=product_key_of(asked.id),
            jti=self._ids.uuid().hex,
            epoch=epoch,
            lease_until=self._clock.now() + lease,
        )

    async def _ask(
        self,
        asked: Asked,
        transaction: x.Transaction,
        identified: x.TransactionIdentified,
        intent: x.TransactionAuthorizationRequested,
        service: ls.LinkedService,
    ) -> x.Transaction:
        question = Question(
            tenant_id=asked.tenant.id,
            device_id=asked.device.device_id,
            transaction_id=asked.id,
            identified=identified,
            intent=intent,
            service=service,
            context=asked.context,
            context_hash=transaction.received.context_hash,
        )
        began = self._clock.monotonic()
        remaining = self._remaining_s(asked) - RELAY_RESERVE_S
        decision: x.Decision
        try:
            said = await self._authorization.ask(question, self._clock.now(), remaining)
        except AuthorizeFailed as failed:
            authorize_ms = self._ms_since(began)
            stand_in = None
            if _may_stand_in(intent, failed, remaining):
                stand_in = await self._stand_ins.decide(
                    service, failed.failure, identified.user_id, asked.request.context
                )
            decision = outcomes.unanswered(
                failed, intent, stand_in, authorize_ms, self._moment(asked)
            )
        else:
            decision = outcomes.answered(said, self._ms_since(began), self._moment(asked))
        return await self._decide(asked, transaction, [], decision)

    async def _decide(
        self,
        asked: Asked,
        transaction: x.Transaction,
        before: Sequence[DomainEvent],
        decision: x.Decision,
    ) -> x.Transaction:
        """Commit the decision, and only then return it."""
        events: list[DomainEvent] = [*before, *x.decide(transaction, decision)]
        await self._append(asked, transaction.version, events)
        return msgspec.structs.replace(
            transaction, decision=decision, version=transaction.version + len(events)
        )

    async def _vendor_failed(
        self, asked: Asked, transaction: x.Transaction, error: PalmVendorFailed
    ) -> NoReturn:
        failed = outcomes.vendor_failed(error, self._moment(asked))
        await self._append(asked, transaction.version, [transaction.received, failed])
        raise Unavailable(error.reason, retry_after_s=1) from error

    async def _append(
        self, asked: Asked, expected_version: int, events: Sequence[DomainEvent]
    ) -> None:
        append = StreamAppend(
            tenant_id=asked.tenant.id,
            stream_id=asked.id,
            expected_version=expected_version,
            events=events,
        )
        await self._log.append(asked.device.origin(self._ids.uuid()), [append])

    def _remaining_s(self, asked: Asked) -> float:
        return asked.deadline_s - (self._clock.monotonic() - asked.started)

    def _moment(self, asked: Asked) -> Moment:
        return Moment(decided_at=self._clock.now(), total_ms=self._ms_since(asked.started))

    def _ms_since(self, began: float) -> float:
        return round((self._clock.monotonic() - began) * 1000, 2)


def _may_stand_in(
    intent: x.TransactionAuthorizationRequested, failed: AuthorizeFailed, remaining_s: float
) -> bool:
    """Whether the product's silence is its own.

    An attempt that died may have heard a refusal, and a refusal never becomes an allow; nor may
    a device open a lane by leaving the product less time than it was promised.
    """
    if intent.epoch > 1:
        return False
    return failed.failure != "authorize_timeout" or remaining_s * 1000 >= intent.timeout_ms
