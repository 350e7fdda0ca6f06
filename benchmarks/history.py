"""A history to catch up with: tenants, devices, people who enrol, and mostly transactions."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final
from uuid import UUID

from application.ports import IdSource
from domain.device import DevicePaired, DeviceRegistered
from domain.enrollment import EnrollmentCompleted, EnrollmentStarted
from domain.events import DomainEvent, Origin, StreamAppend
from domain.ids import ConsentId, DeviceId, LinkedServiceId, PalmRef, TenantId, UserId
from domain.linked_service import LinkedServiceRegistered, Routing
from domain.matching import ScoredPalm
from domain.tenant import TenantCreated
from domain.transaction import (
    Decision,
    TransactionAllowed,
    TransactionAuthorizationRequested,
    TransactionDenied,
    TransactionIdentified,
    TransactionNotRecognized,
    TransactionReceived,
    TransactionRelayed,
)
from domain.user import UserConsentGranted, UserPalmAdded, UserSignedUp

TENANTS: Final = 4
DEVICES_PER_TENANT: Final = 8
IN_FLIGHT: Final = 20
"""So many transactions overlap in the log: their intents, their decisions, their relays."""

NOON: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
HASH: Final = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

Submission = tuple[Origin, Sequence[StreamAppend]]


def history(ids: IdSource, events: int) -> Iterator[Submission]:
    """At least so many events, in submissions as the application would make them."""
    told = 0
    tenants = [_Tenant(TenantId(ids.uuid()), ids) for _ in range(TENANTS)]
    for tenant in tenants:
        for submission in tenant.founding():
            told += _events(submission)
            yield submission
    for number in count():
        tenant = tenants[number % TENANTS]
        for submission in (tenant.newcomer(), *tenant.transactions()):
            told += _events(submission)
            yield submission
        if told >= events:
            return


class _Tenant:
    """Tells what happens at one tenant."""

    def __init__(self, tenant_id: TenantId, ids: IdSource) -> None:
        self._id = tenant_id
        self._ids = ids
        self._service = LinkedServiceId(ids.uuid())
        self._devices = [DeviceId(ids.uuid()) for _ in range(DEVICES_PER_TENANT)]
        self._person = UserId(ids.uuid())
        self._palm = PalmRef(ids.uuid())
        self._numbers = count()

    def founding(self) -> Iterator[Submission]:
        """The tenant, its product and its devices."""
        routing = Routing(base_url="https://wallet.example", void_path="/void")
        yield self._said(
            self._new(self._id, TenantCreated(name="Bench", tenant_key=self._id.hex[:12])),
            self._new(
                self._service, LinkedServiceRegistered(product_key="wallet", routing=routing)
            ),
        )
        for device_id in self._devices:
            yield self._said(self._new(device_id, *_device(device_id)))

    def newcomer(self) -> Submission:
        """A person signs up, consents and enrols a palm."""
        self._person, self._palm = UserId(self._ids.uuid()), PalmRef(self._ids.uuid())
        device_id = self._devices[0]
        return self._said(
            self._new(
                self._person,
                UserSignedUp(method="otp_sms", device_id=device_id),
                UserConsentGranted(
                    consent_id=ConsentId(self._ids.uuid()),
                    consent_type="palm_enrollment",
                    consent_version="1",
                    method="device_screen",
                    locale="en",
                    device_id=device_id,
                ),
                UserPalmAdded(palm_ref=self._palm, hand="left"),
            ),
            self._new(
                self._palm,
                EnrollmentStarted(
                    user_id=self._person,
                    device_id=device_id,
                    hand="left",
                    scan_sha256=HASH,
                    consent_version="1",
                ),
                EnrollmentCompleted(vendor_palm_id=self._palm.hex),
            ),
        )

    def transactions(self) -> Iterator[Submission]:
        """Several at once: two submissions each, and a third when the answer has left."""
        begun = [(self._ids.uuid(), next(self._numbers)) for _ in range(IN_FLIGHT)]
        recognised = [(stream, number) for stream, number in begun if number % 10]
        for stream, number in begun:
            if number % 10:
                intent = self._intent(stream)
                yield self._said(self._new(stream, self._received(number), *intent))
            else:
                unknown = (self._received(number), _not_recognized())
                yield self._said(self._new(stream, *unknown))
        for stream, number in recognised:
            yield self._said(self._next(stream, 3, _decision(number)))
        for stream, number in begun:
            relayed = TransactionRelayed(relayed_at=NOON)
            yield self._said(self._next(stream, 4 if number % 10 else 2, relayed))

    def _received(self, number: int) -> TransactionReceived:
        return TransactionReceived(
            device_id=self._devices[number % DEVICES_PER_TENANT],
            idempotency_key=f"{self._id.hex[:8]}-{number:012}",
            fingerprint=HASH,
            scan_sha256=HASH,
            context_hash=HASH[:43],
            deadline_ms=3000,
            attempt=1,
            certificate_fingerprint=HASH,
            received_at=NOON + timedelta(milliseconds=number),
            device_version=2,
            tenant_version=1,
        )

    def _intent(self, stream: UUID) -> tuple[DomainEvent, DomainEvent]:
        return (
            TransactionIdentified(
                user_id=self._person,
                palm_ref=self._palm,
                match_source="server",
                scores=(0.95, 0.96, 0.97, 0.98),
                thresholds=(0.7, 0.7, 0.7, 0.7),
                policy_version=1,
                identify_ms=412.7,
                user_version=3,
                candidates=(ScoredPalm(0, (0.95, 0.96, 0.97, 0.98)),),
                vendor_thresholds=(0.7, 0.7, 0.7, 0.7),
            ),
            TransactionAuthorizationRequested(
                service_id=self._service,
                service_version=1,
                product_key="wallet",
                action="pay",
                base_url="https://wallet.example",
                authorize_path="/authorize",
                void_path="/void",
                advice_path=None,
                timeout_ms=800,
                fail_mode="closed",
                product_idempotency_key=f"txn_{stream.hex}",
                jti=stream.hex,
                epoch=1,
                lease_until=NOON + timedelta(seconds=3),
            ),
        )

    def _said(self, *appends: StreamAppend) -> Submission:
        origin = Origin(
            actor=f"device:dev_{self._devices[0].hex}",
            correlation_id=self._ids.uuid(),
            command_id=self._ids.uuid(),
        )
        return origin, appends

    def _new(self, stream: UUID, *events: DomainEvent) -> StreamAppend:
        return self._next(stream, 0, *events)

    def _next(self, stream: UUID, version: int, *events: DomainEvent) -> StreamAppend:
        return StreamAppend(
            tenant_id=self._id, stream_id=stream, expected_version=version, events=events
        )


def _device(device_id: DeviceId) -> tuple[DomainEvent, DomainEvent]:
    return (
        DeviceRegistered(type="pos", name="Till", bound_product="wallet", bound_action="pay"),
        DevicePaired(
            fingerprint=device_id.hex * 2,
            spki_sha256=HASH,
            csr_sha256=HASH,
            certificate_serial=device_id.hex,
            certificate_pem="-----BEGIN CERTIFICATE-----\n" + "A" * 900,
            not_after=NOON + timedelta(days=90),
            code_number=1,
        ),
    )


def _not_recognized() -> TransactionNotRecognized:
    return TransactionNotRecognized(
        reason="no_candidate",
        scores=None,
        thresholds=(0.7, 0.7, 0.7, 0.7),
        policy_version=1,
        identify_ms=398.2,
        decided_at=NOON,
        total_ms=401.1,
    )


def _decision(number: int) -> Decision:
    """Every fifth is a no."""
    if number % 5:
        return TransactionAllowed(
            ttl_seconds=30,
            authorize_ms=41.3,
            decided_at=NOON,
            total_ms=460.2,
            text_commitment=f"{number:043d}",
        )
    return TransactionDenied(
        reason="insufficient_balance",
        authorize_ms=40.1,
        decided_at=NOON,
        total_ms=455.9,
        text_commitment=f"{number:043d}",
    )


def _events(submission: Submission) -> int:
    return sum(len(part.events) for part in submission[1])
