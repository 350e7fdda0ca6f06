"""One attempt at a transaction: identify, write the intent down, ask, commit the decision."""

from datetime import datetime, timedelta
from typing import Final, NoReturn, Protocol

import msgspec

from application.palms.recognition import DeviceMatch, NotRecognised, Recognised
from application.ports import Clock, IdSource, PalmQueryForbidden, PalmVendorFailed, Scan, Streams
from application.tenants.linked_services import by_product_key
from application.transactions import outcomes
from application.transactions.asked import Asked
from application.transactions.authorization import product_key_of
from application.transactions.decisions import Decisions
from domain import linked_service as ls
from domain import transaction as x
from domain.device import Device
from domain.errors import Unavailable
from domain.events import DomainEvent
from domain.matching import check_picture
from domain.tenant import Tenant

VENDOR_LIMIT_S: Final = 2.5
AUTHORIZE_RESERVE_S: Final = 0.4
LEASE_GRACE: Final = timedelta(seconds=2)


class Recognizes(Protocol):
    """`application.palms.recognition.Recognition`, or what stands in its place in a simulation."""

    async def by_vendor(
        self, tenant: Tenant, scan: Scan, deadline_s: float
    ) -> Recognised | NotRecognised: ...

    async def by_device(
        self, tenant: Tenant, device: Device, match: DeviceMatch, key: str, scan_sha256: str
    ) -> Recognised | NotRecognised: ...


class Attempts:
    def __init__(
        self,
        streams: Streams,
        recognition: Recognizes,
        decisions: Decisions,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._streams = streams
        self._recognition = recognition
        self._decisions = decisions
        self._clock = clock
        self._ids = ids

    async def begin(self, asked: Asked, past: x.Transaction | None) -> x.Transaction:
        """A first attempt, or another one after the palm vendor failed.

        Raises Unavailable (`palm_vendor_error`, `palm_vendor_timeout`), Forbidden, Conflict,
        Invalid (`low_quality`, `liveness_failed`), and StaleStream when somebody else moved the
        transaction meanwhile.
        """
        scan = asked.request.scan
        received = x.TransactionReceived(
            device_id=asked.device.device_id,
            idempotency_key=asked.request.idempotency_key,
            fingerprint=asked.fingerprint.salted,
            scan_sha256=scan.sha256,
            context_hash=asked.context_commitment,
            deadline_ms=int(asked.deadline_s * 1000),
            attempt=x.attempt_of(past, self._clock.now()),
            certificate_fingerprint=asked.device.fingerprint,
            received_at=self._clock.now(),
            tells_user_id=asked.tenant.settings.device_receives_user_id,
            device_version=asked.state.version,
            tenant_version=asked.tenant.version,
            seq=asked.request.seq,
            quality=scan.quality,
            liveness=scan.liveness,
            captured_at=scan.captured_at,
            commitments="tenant_salted",
            simulated=asked.simulated,
        )
        check_picture(asked.tenant.settings.match_policy, scan.quality, scan.liveness)
        transaction = x.Transaction(
            id=asked.id,
            tenant_id=asked.tenant.id,
            version=0 if past is None else past.version,
            received=received,
        )
        try:
            recognised = await self._recognise(asked)
        except PalmQueryForbidden:
            decision = outcomes.forbidden(self._decisions.moment(asked))
            return await self._decisions.decide(asked, transaction, [received], decision)
        except PalmVendorFailed as error:
            await self._vendor_failed(asked, transaction, error)
        if isinstance(recognised, NotRecognised):
            unknown = outcomes.not_recognized(recognised, self._decisions.moment(asked))
            return await self._decisions.decide(asked, transaction, [received], unknown)
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
        remaining_s = asked.remaining_s(self._clock.monotonic())
        budget = min(VENDOR_LIMIT_S, remaining_s - AUTHORIZE_RESERVE_S)
        return await self._recognition.by_vendor(asked.tenant, asked.request.scan, budget)

    async def _recognised(
        self, asked: Asked, transaction: x.Transaction, recognised: Recognised
    ) -> x.Transaction:
        """Check the person, find the product, write the intent down, ask."""
        transaction = msgspec.structs.replace(transaction, identified=recognised.event)
        before: list[DomainEvent] = [transaction.received, recognised.event]
        moment = self._decisions.moment
        refusal = outcomes.refusal(asked.tenant, recognised.user)
        if refusal is not None:
            refused = outcomes.refused(recognised.user.id, refusal, moment(asked))
            return await self._decisions.decide(asked, transaction, before, refused)
        bound = asked.state.registered
        action = bound.bound_action or ""
        service = await by_product_key(self._streams, asked.tenant.id, bound.bound_product or "")
        if service is None or service.status != "active":
            closed = outcomes.not_asked("linked_service_unavailable", service, moment(asked))
            return await self._decisions.decide(asked, transaction, before, closed)
        if not ls.allows(service, action):
            closed = outcomes.not_asked("action_not_allowed", service, moment(asked))
            return await self._decisions.decide(asked, transaction, before, closed)
        intent = self._intent(asked, service, action)
        person = recognised.user.id
        if not await self._decisions.intend(asked, transaction.version, [*before, intent], person):
            erased = outcomes.refused(person, "user_erased", moment(asked))
            return await self._decisions.decide(asked, transaction, before, erased)
        transaction = msgspec.structs.replace(
            transaction, intent=intent, version=transaction.version + len(before) + 1
        )
        return await self._decisions.ask(asked, transaction, recognised.event, intent, service)

    def _intent(
        self, asked: Asked, service: ls.LinkedService, action: str
    ) -> x.TransactionAuthorizationRequested:
        routing = service.routing
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
            epoch=1,
            lease_until=lease_until(asked, self._clock),
            device_assurance=asked.state.assurance,
        )

    async def _vendor_failed(
        self, asked: Asked, transaction: x.Transaction, error: PalmVendorFailed
    ) -> NoReturn:
        failed = outcomes.vendor_failed(error, self._decisions.moment(asked))
        await self._decisions.append(asked, transaction.version, [transaction.received, failed])
        raise Unavailable(error.reason, retry_after_s=1) from error


def lease_until(asked: Asked, clock: Clock) -> datetime:
    """Until when nobody else may finish: as long as the device waits, and a grace."""
    return clock.now() + timedelta(seconds=asked.remaining_s(clock.monotonic())) + LEASE_GRACE
