"""Which adapter stands behind which port of each use case. A part of the composition root."""

from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec
import structlog

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
from application.fleet.pairing_codes import PairingCodes
from application.fleet.recovery import Recoveries
from application.fleet.renewals import Renewals
from application.identifiers import Identifiers
from application.palms.challenge_answers import ChallengeAnswers
from application.palms.challenges import Challenges
from application.palms.comparisons import Comparisons
from application.palms.enrollments import Enrollments
from application.palms.evaluation import Evaluations
from application.palms.palm_intake import PalmIntake
from application.palms.palm_removals import PalmRemovals
from application.palms.recognition import Recognition
from application.people.consent_records import ConsentRecords
from application.people.consent_types import ConsentTypes
from application.people.consents import Consents
from application.people.data_exports import DataExports
from application.people.erasures import Erasures
from application.people.look_ups import LookUps
from application.people.newcomers import Newcomers
from application.people.one_time_codes import OneTimeCodes
from application.people.personal_data_accesses import PersonalDataAccesses
from application.people.signups import SignUps
from application.people.users import Users
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
from application.transactions.attempt import Attempts
from application.transactions.authorization import Authorization
from application.transactions.broker import Broker
from application.transactions.decisions import Decisions
from application.transactions.explanation import Explanations
from application.transactions.full_explanation import FullExplanations
from application.transactions.journal import Journal
from application.transactions.simulation import Simulations
from application.transactions.stand_in import StandIns
from application.transactions.take_over import TakeOvers
from domain.ids import TenantId
from infrastructure.canonical_json import JcsCanonicalJSON
from infrastructure.delivery.records import PostgresDeliveryRecords
from infrastructure.fleet.certificate_holders import ReadModelCertificateHolders
from infrastructure.fleet.device_proofs import CertificateProofs
from infrastructure.fleet.device_signatures import CertificateSignatures
from infrastructure.fleet.open_commands import ReadModelOpenCommands
from infrastructure.fleet.presences import PostgresPresences
from infrastructure.keys.assertion_signer import JwtAssertionSigner
from infrastructure.keys.signing_keys import SigningKeys, jwks_document
from infrastructure.people.client_secrets import PostgresClientDirectory, PostgresClientSecrets
from infrastructure.people.commitments import TenantCommitments
from infrastructure.people.enrollment_grants import PostgresEnrollmentGrants
from infrastructure.people.otp_challenges import PostgresOtpChallenges
from infrastructure.people.personal_data import PostgresPersonalData
from infrastructure.phone_numbers import E164PhoneNumbers
from infrastructure.products.health_book import PostgresHealthRecords
from infrastructure.products.product_probes import ForgingSigner
from infrastructure.projections.every_tenant import EveryTenant
from infrastructure.projections.open_challenges import ReadModelOpenChallenges
from infrastructure.projections.person_palms import EnrollmentsOfPerson
from infrastructure.projections.person_records import RecordsOfPerson
from infrastructure.projections.reads import (
    BatchSlots,
    BoundDevices,
    RegisteredClients,
    RegisteredEndpoints,
)
from infrastructure.shown_once import ShownOnce
from infrastructure.tokens.access_tokens import AccessTokens
from infrastructure.tokens.client_assertions import SignedClientAssertions
from infrastructure.tokens.client_certificates import RegisteredCertificates
from infrastructure.tokens.client_jwks import ClientJwks
from infrastructure.tokens.consent_receipts import JwtReceiptSigner
from infrastructure.tokens.dpop import SignedDpopProofs
from infrastructure.tokens.dpop_nonces import DpopNonces
from infrastructure.tokens.nonces import PostgresNonces
from infrastructure.webhooks.client_certificates import X509ClientCertificates
from infrastructure.webhooks.message import WEBHOOK_TYPES
from interfaces.attestation_settings import key_attestations
from interfaces.console import console
from interfaces.counterparts import Counterparts
from interfaces.http.services import Services
from interfaces.ways_in import ways_in

if TYPE_CHECKING:
    from interfaces.composition import Platform

_log: Final = structlog.stdlib.get_logger(__name__)


class PublicKeyDocument(msgspec.Struct, frozen=True):
    """Each kind of token has keys of its own; all stand in one document."""

    families: tuple[SigningKeys, ...]

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        return jwks_document(*self.families)


def use_cases(of: "Platform", outside: Counterparts) -> Services:
    """Everything that a handler may be given, over what the process has open."""
    settings, clock, ids, log = of.settings, of.clock, of.ids, of.streams
    limiter = of.limiter
    canonical = JcsCanonicalJSON()
    reads = of.reads
    grants = PostgresEnrollmentGrants(of.app_pool)
    consent_types = ConsentTypes(log, of.streams, ids)
    challenges = PostgresOtpChallenges(of.app_pool, of.keyring)
    vault = PostgresPersonalData(of.app_pool, of.tenant_keys, of.keyring)
    texts = of.product_texts
    numbers = E164PhoneNumbers()
    identifiers = Identifiers(log, vault, numbers, of.keyring)
    newcomers = Newcomers(log, challenges, vault, identifiers)
    otp = OneTimeCodes(challenges, limiter, of.keyring, clock, ids)
    users = Users(log, vault, identifiers, ids)
    shown = ShownOnce(of.app_pool)
    entries = ways_in(
        of,
        outside,
        codes=otp,
        identifiers=identifiers,
        newcomers=newcomers,
        numbers=numbers,
        shown=shown,
        users=users,
        vault=vault,
    )
    approvals = Approvals(log, clock, ids)
    accesses = PersonalDataAccesses(log, ids)
    intake = PalmIntake(log, outside.palms, of.enrollment_endings, clock, ids)
    person_palms = EnrollmentsOfPerson(reads, of.end)
    palm_removals = PalmRemovals(log, of.enrollment_endings, person_palms, ids)
    recognition = Recognition(of.streams, outside.palms, CertificateSignatures(), canonical, clock)
    comparisons = Comparisons(log, of.streams, recognition, limiter, clock, ids)
    codes = PairingCodes(of.keyring)
    presences = PostgresPresences(of.app_pool)
    waiting = ReadModelOpenCommands(of.app_pool, of.projector_pool)
    device_commands = DeviceCommands(log, waiting, clock, ids)
    attestations = key_attestations(settings.attestation, clock)
    renewals = Renewals(log, of.streams, of.authority, device_commands, attestations, clock, ids)
    stand_ins = StandIns(limiter)
    decisions = Decisions(
        log,
        Authorization(
            outside.products,
            JwtAssertionSigner(of.assertion_keys, settings.issuer),
            settings.issuer,
        ),
        stand_ins,
        of.advice_contexts,
        texts,
        clock,
        ids,
    )
    deliveries = PostgresDeliveryRecords(of.app_pool)
    explanations = Explanations(log)
    linked_services = LinkedServices(log, outside.egress, BoundDevices(reads, of.end), clock, ids)
    devices = Devices(log, of.streams, of.revocations, codes, clock, ids)
    secrets = PostgresClientSecrets(of.app_pool)
    certificates = RegisteredCertificates()
    assertions = SignedClientAssertions(ClientJwks(outside.client_keys, clock), shown, clock)
    tokens = AccessTokens(of.token_keys, settings.issuer, settings.issuer, clock, ids)
    oauth_clients = OAuthClients(
        log,
        secrets,
        of.keyring,
        assertions,
        certificates,
        outside.egress,
        RegisteredClients(reads, of.end),
        ids,
    )
    public_keys = PublicKeyDocument(
        (of.token_keys, of.assertion_keys, of.user_token_keys, of.receipt_keys)
    )
    return Services(
        issuer=settings.issuer,
        mtls_url=None if settings.mtls is None else settings.mtls.url,
        trust_domain=settings.trust_domain,
        device_api=settings.device_url,
        streams=of.streams,
        clients=Clients(
            oauth_clients,
            of.streams,
            PostgresClientDirectory(of.app_pool),
            secrets,
            of.keyring,
            assertions,
            certificates,
        ),
        oauth_clients=oauth_clients,
        devices=devices,
        pairings=Pairings(log, devices, of.authority, limiter, codes, attestations, clock),
        circuits=of.breakers,
        stand_ins=stand_ins,
        linked_services=linked_services,
        certifications=Certifications(
            log,
            linked_services,
            outside.probes,
            ForgingSigner(of.assertion_keys, of.token_keys),
            canonical,
            limiter,
            settings.issuer,
            clock,
            ids,
            certification_interrupted,
        ),
        sign_ups=SignUps(
            of.streams,
            otp,
            newcomers,
            grants,
            outside.otp_sender,
            numbers,
            of.keyring,
            clock,
        ),
        sign_ins=entries.sign_ins,
        password_sign_ins=entries.password_sign_ins,
        reauthentications=entries.reauthentications,
        account_sign_ins=entries.account_sign_ins,
        account_links=entries.account_links,
        user_sessions=entries.sessions,
        console=console(of, entries.guard, approvals, outside.letters),
        approvals=approvals,
        users=users,
        consents=Consents(log, of.streams, consent_types, grants, vault, clock, ids),
        consent_types=consent_types,
        consent_records=ConsentRecords(
            log, JwtReceiptSigner(of.receipt_keys, settings.issuer), clock
        ),
        accesses=accesses,
        look_ups=LookUps(identifiers, accesses, limiter),
        data_exports=DataExports(
            log, vault, texts, person_palms, RecordsOfPerson(reads, of.end), accesses
        ),
        erasures=Erasures(
            log,
            vault,
            challenges,
            grants,
            palm_removals,
            of.templates,
            identifiers,
            entries.sessions,
            approvals,
            clock,
            ids,
        ),
        audit_readings=AuditReadings(log, clock, ids),
        audit_feed=of.audit_feed,
        history=History(log, of.past, clock),
        explanations=explanations,
        simulations=Simulations(
            log,
            of.streams,
            decisions,
            canonical,
            TenantCommitments(of.app_pool, of.tenant_keys),
            texts,
            clock,
            ids,
        ),
        full_explanations=FullExplanations(log, explanations, deliveries, settings.issuer),
        evaluations=Evaluations(log, of.past),
        tenants=Tenants(log, ids),
        tenant_lifecycle=TenantLifecycle(log, Approvals(log, clock, ids), ids),
        every_tenant=EveryTenant(of.projector_pool, reads, of.end),
        enrollments=Enrollments(log, of.streams, intake, grants, clock, ids),
        comparisons=comparisons,
        challenges=Challenges(log, of.bells, texts, limiter, clock, ids),
        challenge_answers=ChallengeAnswers(
            log,
            of.streams,
            ReadModelOpenChallenges(reads, of.end),
            of.bells,
            texts,
            intake,
            comparisons,
            clock,
            ids,
        ),
        palm_removals=palm_removals,
        broker=Broker(
            log,
            of.streams,
            Attempts(
                of.streams,
                recognition,
                decisions,
                clock,
                ids,
            ),
            TakeOvers(of.streams, decisions, clock, ids),
            canonical,
            TenantCommitments(of.app_pool, of.tenant_keys),
            texts,
            clock,
            ids,
        ),
        device_commands=device_commands,
        device_batches=Batches(log, devices, BatchSlots(reads, of.end), ids),
        device_cas=DeviceCAs(
            log,
            of.device_ca_maker,
            ReadModelCertificateHolders(of.projector_pool, of.runner, of.end, clock),
            approvals,
            ids,
        ),
        server_certificates=of.serving.use_cases(),
        shown_certificates=of.serving.keeper,
        setup=SetupReading(log, of.authority, public_keys, of.serving.keeper),
        renewals=renewals,
        recoveries=Recoveries(
            log,
            renewals,
            of.authority,
            CertificateProofs(of.authority, settings.trust_domain, settings.issuer),
            PostgresNonces(of.app_pool),
            limiter,
            clock,
        ),
        heartbeats=Heartbeats(
            of.streams, presences, device_commands, renewals, of.authority, limiter, clock
        ),
        presences=presences,
        health=PostgresHealthRecords(of.app_pool),
        journal=Journal(log, of.streams, texts, clock, ids),
        access_tokens=tokens,
        issued_tokens=IssuedTokens(log, of.streams, tokens, ids),
        dpop_proofs=SignedDpopProofs(shown, DpopNonces(of.keyring, of.streams, clock), clock),
        public_keys=public_keys,
        authority=of.authority,
        revocation_lists=of.revocation_lists,
        limiter=limiter,
        read_models=reads,
        transparency_logs=of.transparency.logs,
        event_proofs=EventProofs(of.transparency.logs, clock),
        deliveries=deliveries,
        webhook_endpoints=WebhookEndpoints(
            log,
            outside.egress,
            of.webhook_secrets,
            WEBHOOK_TYPES,
            RegisteredEndpoints(reads, of.end),
            clock,
            ids,
        ),
        webhook_identities=WebhookIdentities(
            log, of.webhook_keys, X509ClientCertificates(), clock, ids
        ),
        readiness=of.readiness,
        traffic=of.traffic,
        places=of.places,
        ids=ids,
        clock=clock,
    )


def certification_interrupted(tenant_id: TenantId, service_id: UUID, error: BaseException) -> None:
    """Tell of a run that ended by our own fault, and of what class of error."""
    _log.error(
        "certification_interrupted", tenant=str(tenant_id), service=str(service_id), exc_info=error
    )
