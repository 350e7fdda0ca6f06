"""What the routes need from the rest of the house, handed in by the composition root."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from application.audit.audit_readings import AuditReadings
from application.audit.event_proofs import EventProofs
from application.audit.history import History
from application.console.setup import SetupReading
from application.fleet.batches import Batches
from application.fleet.device_cas import DeviceCAs
from application.fleet.device_commands import DeviceCommands
from application.fleet.devices import Devices
from application.fleet.heartbeats import Heartbeats
from application.fleet.pairing import Pairings
from application.fleet.recovery import Recoveries
from application.fleet.renewals import Renewals
from application.fleet.server_certificates import ServerCertificates
from application.palms.challenge_answers import ChallengeAnswers
from application.palms.challenges import Challenges
from application.palms.comparisons import Comparisons
from application.palms.enrollments import Enrollments
from application.palms.evaluation import Evaluations
from application.palms.palm_removals import PalmRemovals
from application.people.account_links import AccountLinks
from application.people.account_sign_ins import AccountSignIns
from application.people.consent_records import ConsentRecords
from application.people.consent_types import ConsentTypes
from application.people.consents import Consents
from application.people.data_exports import DataExports
from application.people.erasures import Erasures
from application.people.look_ups import LookUps
from application.people.password_sign_ins import PasswordSignIns
from application.people.personal_data_accesses import PersonalDataAccesses
from application.people.reauthentications import Reauthentications
from application.people.sign_ins import SignIns
from application.people.signups import SignUps
from application.people.user_sessions import UserSessions
from application.people.users import Users
from application.ports import (
    AccessTokens,
    CertificateAuthority,
    Clock,
    DeliveryRecords,
    DpopProofs,
    IdSource,
    PublicKeys,
    RateLimiter,
    Streams,
)
from application.ports.circuits import CircuitReadings
from application.ports.fleet import Presences
from application.ports.health import HealthRecords
from application.ports.pki import RevocationLists
from application.ports.server_certificates import ShownCertificates
from application.ports.transparency import TransparencyLogs
from application.tenants.approvals import Approvals
from application.tenants.certifications import Certifications
from application.tenants.clients import Clients
from application.tenants.issued_tokens import IssuedTokens
from application.tenants.lifecycle import TenantLifecycle
from application.tenants.linked_services import LinkedServices
from application.tenants.oauth_clients import OAuthClients
from application.tenants.tenants import Tenants
from application.tenants.webhook_endpoints import WebhookEndpoints
from application.tenants.webhook_identities import WebhookIdentities
from application.transactions.broker import Broker
from application.transactions.explanation import Explanations
from application.transactions.full_explanation import FullExplanations
from application.transactions.journal import Journal
from application.transactions.simulation import Simulations
from application.transactions.stand_in import StandIns
from domain.ids import TenantId
from domain.tenant import TenantStatus
from interfaces.http.admission import TenantPlaces, Traffic
from interfaces.http.console.use_cases import ConsoleUseCases
from projections.audit import AuditRow
from projections.read_model import Connection, Page
from projections.tenants import TenantRow


class ReadModels(Protocol):
    """The read side: one tenant's rows, and waiting for them to be fresh enough."""

    def scope(self, tenant_id: TenantId) -> AbstractAsyncContextManager[Connection]:
        """A transaction that sees one tenant and nothing else."""
        ...

    async def wait(self, tenant_id: TenantId, name: str, position: int) -> bool:
        """Whether the tenant's rows show everything up to the position; waits a little for it."""
        ...


class EveryTenant(Protocol):
    """All tenants, for whoever runs the platform."""

    async def page(
        self, status: TenantStatus | None, after: int | None, limit: int
    ) -> Page[TenantRow]:
        """In the order of their creation."""
        ...


class Readiness(Protocol):
    async def unready(self) -> list[str]:
        """What keeps this process from serving; empty when nothing does."""
        ...

    async def halted(self) -> Sequence[str] | None:
        """Read models that stand still for at least one tenant; None when nobody could say."""
        ...

    def ending_certificates(self) -> Sequence[str]:
        """The listeners whose server certificate runs out within thirty days, or has."""
        ...


class AuditEar(Protocol):
    """Hears how far one tenant's audit has grown."""

    @property
    def closed(self) -> bool:
        """Whether whoever listens should end: the process is going to, or the tenant is no longer
        served."""
        ...

    async def beyond(self, position: int, within_s: float) -> None:
        """Return when there is something to read beyond `position`, or after `within_s`."""
        ...

    def leave(self) -> None: ...


class AuditPage(Protocol):
    """Lines that follow on a position; `read_to`: up to there everything has been told."""

    @property
    def lines(self) -> Sequence[AuditRow]: ...

    @property
    def read_to(self) -> int: ...

    @property
    def more(self) -> bool: ...


class AuditFeed(Protocol):
    """The audit in the order of the log, without a gap."""

    def listening(self, tenant_id: TenantId) -> int:
        """How many readers of this tenant are open in this process."""
        ...

    def listen(self, tenant_id: TenantId) -> AuditEar:
        """An ear that counts as a reader until it leaves, or until nobody holds it any more."""
        ...

    async def page(self, tenant_id: TenantId, after: int) -> AuditPage: ...


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a handler may be given."""

    issuer: str
    mtls_url: str | None
    trust_domain: str
    device_api: str
    streams: Streams
    clients: Clients
    oauth_clients: OAuthClients
    devices: Devices
    device_commands: DeviceCommands
    device_cas: DeviceCAs
    server_certificates: ServerCertificates
    shown_certificates: ShownCertificates
    setup: SetupReading
    device_batches: Batches
    renewals: Renewals
    recoveries: Recoveries
    heartbeats: Heartbeats
    presences: Presences
    pairings: Pairings
    linked_services: LinkedServices
    health: HealthRecords
    circuits: CircuitReadings
    stand_ins: StandIns
    sign_ups: SignUps
    users: Users
    user_sessions: UserSessions
    sign_ins: SignIns
    password_sign_ins: PasswordSignIns
    reauthentications: Reauthentications
    account_sign_ins: AccountSignIns
    account_links: AccountLinks
    console: ConsoleUseCases
    approvals: Approvals
    consents: Consents
    consent_types: ConsentTypes
    consent_records: ConsentRecords
    enrollments: Enrollments
    palm_removals: PalmRemovals
    comparisons: Comparisons
    challenges: Challenges
    challenge_answers: ChallengeAnswers
    erasures: Erasures
    data_exports: DataExports
    broker: Broker
    journal: Journal
    accesses: PersonalDataAccesses
    look_ups: LookUps
    audit_readings: AuditReadings
    audit_feed: AuditFeed
    history: History
    explanations: Explanations
    full_explanations: FullExplanations
    simulations: Simulations
    certifications: Certifications
    evaluations: Evaluations
    tenants: Tenants
    tenant_lifecycle: TenantLifecycle
    every_tenant: EveryTenant
    access_tokens: AccessTokens
    issued_tokens: IssuedTokens
    dpop_proofs: DpopProofs
    public_keys: PublicKeys
    authority: CertificateAuthority
    revocation_lists: RevocationLists
    limiter: RateLimiter
    read_models: ReadModels
    transparency_logs: TransparencyLogs
    event_proofs: EventProofs
    deliveries: DeliveryRecords
    webhook_endpoints: WebhookEndpoints
    webhook_identities: WebhookIdentities
    readiness: Readiness
    traffic: Traffic
    places: TenantPlaces
    ids: IdSource
    clock: Clock
