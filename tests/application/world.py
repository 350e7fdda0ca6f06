"""The application between ports that do as they are told, over a log in memory.

`World()` has one tenant with a till, a product, and one person whose palm is known; its clock
stands still until a test moves it. What leaves the house and what becomes durable is written
into one `trace`, in the order in which it happened.
"""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Protocol
from uuid import UUID

import msgspec

from application import ports
from application.fleet.devices import Devices
from application.fleet.pairing import Pairings
from application.fleet.pairing_codes import PairingCodes
from application.identifiers import Identifiers
from application.palms.comparisons import Comparisons
from application.palms.enrollment_endings import EnrollmentEndings
from application.palms.enrollments import Enrollments
from application.palms.palm_intake import PalmIntake
from application.palms.palm_removals import PalmRemovals
from application.palms.recognition import DeviceMatch, Recognition
from application.palms.template_removal import AbandonedEnrollments, TemplateRemoval
from application.palms.templates import Templates
from application.passwords import Passwords
from application.people.account_links import AccountLinks
from application.people.account_sign_ins import AccountSignIns
from application.people.accounts import Accounts
from application.people.consent_types import ConsentTypes
from application.people.consents import Consents
from application.people.erasures import Erasures
from application.people.newcomers import Newcomers
from application.people.one_time_codes import OneTimeCodes
from application.people.password_sign_ins import PasswordSignIns
from application.people.reauthentications import Reauthentications
from application.people.sign_in_guard import SignInGuard
from application.people.sign_ins import SignIns
from application.people.signups import SignUps
from application.people.user_sessions import UserSessions
from application.people.users import Users
from application.ports import (
    AccessTokens,
    CertificateRequest,
    EventLog,
    IssuedCertificate,
    Scan,
    Streams,
)
from application.principals import Caller, DevicePrincipal
from application.tenants.approvals import Approvals
from application.tenants.clients import Clients
from application.tenants.issued_tokens import IssuedTokens
from application.tenants.linked_services import LinkedServices
from application.tenants.oauth_clients import OAuthClients
from application.tenants.tenants import Tenants
from application.transactions.asked import TransactionRequest
from application.transactions.attempt import Attempts
from application.transactions.authorization import Authorization
from application.transactions.broker import Broker, Reply
from application.transactions.decisions import Decisions
from application.transactions.journal import Journal
from application.transactions.stand_in import StandIns
from application.transactions.sweeper import Sweeper
from application.transactions.take_over import TakeOvers
from domain import claim as k
from domain import enrollment as e
from domain import linked_service as ls
from domain import tenant as t
from domain import transaction as x
from domain.device_ca import DeviceCA
from domain.errors import Invalid, Malformed
from domain.events import DomainEvent, Origin, StreamAppend
from domain.ids import (
    DeviceId,
    PalmRef,
    TenantId,
    TransactionId,
    UserId,
    claim_id,
    transaction_id,
)
from infrastructure.canonical_json import JcsCanonicalJSON
from infrastructure.ids import RandomIds
from infrastructure.keys.keyring import Keyring
from infrastructure.keys.signing_keys import SigningKey, SigningKeys
from infrastructure.passwords.common import CommonPasswords
from infrastructure.phone_numbers import E164PhoneNumbers
from infrastructure.rate_limits import InProcessRateLimiter
from infrastructure.tokens.client_certificates import RegisteredCertificates
from infrastructure.tokens.sign_in_nonces import DigestedNonces
from infrastructure.tokens.user_tokens import JwtUserTokens
from tests import builders
from tests.application.attestations import Attestations
from tests.application.counterparts import Palms, Product
from tests.application.deliveries import Deliveries
from tests.application.hand_clock import HandClock
from tests.application.id_tokens import IdTokens, Shown
from tests.application.memory_log import MemoryEventLog
from tests.application.passwords import Hashes
from tests.application.people import (
    Assertions,
    Challenges,
    ClientSecrets,
    Commitments,
    Contexts,
    Grants,
    OneTenantsClients,
    Sender,
    Texts,
    Vault,
)
from tests.application.session_lines import Lines
from tests.application.turns import Turns
from tests.builders import DEVICE, PALM, ROUTING, SERVICE, USER
from tests.spec import CORRELATION, TENANT

ISSUER: Final = "https://id.example"
ALI: Final = b"the palm of ali"
KEY: Final = "till-4-00000000001"
MOBILE: Final = "+966501234567"
CERTIFICATE: Final = builders.device_paired.default.certificate_pem


class Signer:
    """Signs by keeping what it was given."""

    def __init__(self) -> None:
        self.claims: list[Mapping[str, Any]] = []

    def sign(self, claims: Mapping[str, Any]) -> str:
        self.claims.append(claims)
        return f"assertion-{len(self.claims)}"

    def claims_of(self, assertion: str) -> Mapping[str, Any]:
        """What it signed."""
        return self.claims[int(assertion.removeprefix("assertion-")) - 1]


class Signatures:
    """A signature is the hash of the certificate and the message."""

    def sign(self, certificate_pem: str, message: bytes) -> bytes:
        return hashlib.sha256(certificate_pem.encode() + message).digest()

    def verify(self, certificate_pem: str, message: bytes, signature: bytes) -> bool:
        return signature == self.sign(certificate_pem, message)


class Authority:
    """A CA whose CSRs read `key K1` or, bound to a code, `key K1 code ABC`."""

    def __init__(self, clock: HandClock) -> None:
        self._clock = clock
        self.issued: dict[str, IssuedCertificate] = {}
        self.state = DeviceCA()

    def examine(self, csr_pem: str) -> CertificateRequest:
        match csr_pem.split():
            case ["key", key]:
                code = None
            case ["key", key, "code", code]:
                pass
            case _:
                raise Malformed("csr_invalid")
        return CertificateRequest(
            csr_sha256=hashlib.sha256(csr_pem.encode()).hexdigest(),
            spki_sha256=hashlib.sha256(key.encode()).hexdigest(),
            key_type="rsa" if key.startswith("RSA") else "p256",
            challenge_password=code,
        )

    def issue(
        self, csr_pem: str, tenant_id: TenantId, device_id: DeviceId, *, validity_days: int
    ) -> IssuedCertificate:
        serial = f"{len(self.issued) + 1:x}"
        pem = f"certificate {serial} for {csr_pem} of {device_id} in {tenant_id}"
        self.issued[pem] = IssuedCertificate(
            certificate_pem=pem,
            chain_pem="chain",
            fingerprint_sha256=hashlib.sha256(pem.encode()).hexdigest(),
            serial=serial,
            not_before=self._clock.now(),
            not_after=self._clock.now() + timedelta(days=validity_days),
            authority=self.state.issuing,
        )
        return self.issued[pem]

    def reread(self, certificate_pem: str) -> IssuedCertificate:
        return self.issued[certificate_pem]

    def ca_bundle_pem(self) -> str:
        return "bundle"

    def device_ca_pem(self) -> str:
        return "chain"

    def device_ca(self, number: int) -> str:
        return f"chain {number}"


class Revocations:
    """What this process refuses."""

    def __init__(self) -> None:
        self.refused: list[str] = []

    def revoked(self, fingerprints: Sequence[str]) -> None:
        self.refused += fingerprints


class Egress:
    """Forbids the URLs in `forbidden` and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.forbidden: set[str] = set()

    async def check(self, url: str) -> None:
        self.asked.append(url)
        if url in self.forbidden:
            raise Invalid("url_forbidden")


class EnrollmentsOfPerson:
    """Every enrolment of a person, read from the log itself."""

    def __init__(self, log: MemoryEventLog) -> None:
        self._log = log

    async def of_person(self, tenant_id: TenantId, user_id: UserId) -> Sequence[PalmRef]:
        return [
            PalmRef(each.stream_id)
            for each in self._log.read_now()
            if each.tenant_id == tenant_id
            and isinstance(each.event, e.EnrollmentStarted)
            and each.event.user_id == user_id
        ]


class BoundDevices:
    """How many devices a product has, by its key."""

    def __init__(self) -> None:
        self.of: dict[tuple[TenantId, str], int] = {}

    async def count(self, tenant_id: TenantId, product_key: str) -> int:
        return self.of.get((tenant_id, product_key), 0)


class ClientCount:
    """How many clients a tenant has, as a test says."""

    def __init__(self) -> None:
        self.of: dict[TenantId, int] = {}

    async def count(self, tenant_id: TenantId) -> int:
        return self.of.get(tenant_id, 0)


class Undecided:
    """Looks for undecided transactions in the whole log, as a read model would know them."""

    def __init__(self, log: MemoryEventLog) -> None:
        self._log = log

    async def overdue(self, before: datetime, limit: int) -> Sequence[ports.Undecided]:
        states: dict[UUID, x.Transaction | None] = {}
        for each in self._log.read_now():
            if each.event.NAME.startswith("transaction."):
                states[each.stream_id] = x.evolve(states.get(each.stream_id), each)
        return [
            ports.Undecided(state.tenant_id, state.id)
            for state in states.values()
            if state is not None and state.decision is None and state.intent is not None
            if state.intent.lease_until < before
        ][:limit]


class Log(EventLog, Streams, Protocol):
    """What a process has of the log."""


class World:
    """One log, one vendor, one product; every `broker()` is a process of its own."""

    def __init__(self, *, sandbox: bool = False) -> None:
        self.turns = Turns()
        self.clock = HandClock()
        self.ids = RandomIds(self.clock)
        self.log = MemoryEventLog(self.clock, pause=self.turns.turn)
        self.trace = self.log.trace
        self.palms = Palms(self.clock, self.trace, self.turns.turn)
        self.product = Product(self.clock, self.trace, self.turns.turn)
        self.signer = Signer()
        self.signatures = Signatures()
        self.authority = Authority(self.clock)
        self.attestations = Attestations()
        self.revocations = Revocations()
        self.vault = Vault(self.turns.turn)
        self.log.keep = self.vault.keep
        self.texts = Texts(self.vault)
        self.contexts = Contexts()
        self.unswept: list[tuple[UUID, Exception]] = []
        self.sender = Sender()
        self.challenges = Challenges(self.turns.turn)
        self.grants = Grants()
        self.secrets = ClientSecrets()
        self.assertions = Assertions()
        self.client_count = ClientCount()
        self.hashes = Hashes()
        self.id_tokens, self.shown = IdTokens(), Shown()
        self.lines = Lines(self.clock, self.turns.turn)
        keys = SigningKeys(SigningKey.generate())
        self.user_tokens = JwtUserTokens(keys, ISSUER, self.clock, self.ids)
        self.egress = Egress()
        self.bound_devices = BoundDevices()
        self.limiter = InProcessRateLimiter(monotonic=self.clock.monotonic)
        self.digests = Keyring(bytes(range(32)))
        self.canonical = JcsCanonicalJSON()
        self.commitments = Commitments()
        self._furnish(sandbox=sandbox)
        self.trace.clear()

    def _furnish(self, *, sandbox: bool) -> None:
        self.given(TENANT, builders.tenant_created(sandbox=sandbox))
        self.given(SERVICE, builders.linked_service_registered())
        self.given(PRODUCT_CLAIM, builders.claim_taken(owner=SERVICE))
        self.given(
            DEVICE,
            builders.device_registered(),
            builders.device_pairing_code_issued(),
            builders.device_paired(),
        )
        self.given(
            USER,
            # From before claims were noted with the person.
            builders.user_signed_up(claims={}, fields=()),
            builders.user_consent_granted(),
            builders.user_palm_added(),
        )
        self.given(PALM, builders.enrollment_started(), builders.enrollment_completed())
        self.given(
            claim_id(TENANT, k.PALM_HAND, f"{USER}:right"),
            builders.claim_taken(kind=k.PALM_HAND, owner=PALM),
        )
        self.palms.enrolled[TENANT_KEY, PALM] = ALI

    def given(self, stream_id: UUID, *events: DomainEvent, tenant_id: TenantId = TENANT) -> None:
        """Let this have happened: the events follow whatever the stream holds."""
        origin = Origin(actor="system:test", correlation_id=CORRELATION, command_id=self.ids.uuid())
        append = StreamAppend(
            tenant_id=tenant_id,
            stream_id=stream_id,
            expected_version=len(self.log.stream(stream_id)),
            events=events,
        )
        self.log.record(origin, [append])

    def settings(self, **changes: Any) -> None:
        """Let the tenant have these settings, the others as they come."""
        settings = t.TenantSettings(**changes)
        self.given(TENANT, t.TenantSettingsChanged(settings=settings, changed=tuple(changes)))

    def routing(self, **changes: Any) -> None:
        """Let the product be called in this way from now on."""
        routing = msgspec.structs.replace(ROUTING, **changes)
        self.given(SERVICE, ls.LinkedServiceChanged(routing=routing, changed=tuple(changes)))

    def events(self, stream_id: UUID) -> list[DomainEvent]:
        """What a stream says."""
        return [recorded.event for recorded in self.log.stream(stream_id)]

    def names(self, stream_id: UUID) -> list[str]:
        return [event.NAME for event in self.events(stream_id)]

    def broker(self, log: Log | None = None) -> Broker:
        """A process that brokers, over the log itself or over a door to it that a test made."""
        log = log or self.log
        decisions = Decisions(
            log,
            Authorization(self.product, self.signer, ISSUER),
            StandIns(self.limiter),
            self.contexts,
            self.texts,
            self.clock,
            self.ids,
        )
        recognition = Recognition(log, self.palms, self.signatures, self.canonical, self.clock)
        attempts = Attempts(log, recognition, decisions, self.clock, self.ids)
        take_overs = TakeOvers(log, decisions, self.clock, self.ids)
        return Broker(
            log,
            log,
            attempts,
            take_overs,
            self.canonical,
            self.commitments,
            self.texts,
            self.clock,
            self.ids,
        )

    async def transact(
        self,
        request: TransactionRequest | None = None,
        *,
        broker: Broker | None = None,
        device: DevicePrincipal | None = None,
    ) -> Reply:
        """Ask as the till does; the answer is noted in the trace when it is out."""
        broker = broker or self.broker()
        reply = await broker.transact(device or TILL, request or asking())
        self.trace.append("answered")
        return reply

    def journal(self) -> Journal:
        return Journal(self.log, self.log, self.texts, self.clock, self.ids)

    def sweeper(self) -> Sweeper:
        return Sweeper(
            self.log,
            Undecided(self.log),
            self.clock,
            self.ids,
            lambda found, error: self.unswept.append((found.transaction_id, error)),
        )

    def devices(self) -> Devices:
        return Devices(
            self.log,
            self.log,
            self.revocations,
            PairingCodes(self.digests),
            self.clock,
            self.ids,
        )

    def pairings(self) -> Pairings:
        return Pairings(
            self.log,
            self.devices(),
            self.authority,
            self.limiter,
            PairingCodes(self.digests),
            self.attestations,
            self.clock,
        )

    def consents(self) -> Consents:
        return Consents(
            self.log,
            self.log,
            self.consent_types(),
            self.grants,
            self.vault,
            self.clock,
            self.ids,
        )

    def consent_types(self) -> ConsentTypes:
        return ConsentTypes(self.log, self.log, self.ids)

    def sign_ups(self) -> SignUps:
        return SignUps(
            self.log,
            self.codes(),
            self.newcomers(),
            self.grants,
            self.sender,
            E164PhoneNumbers(),
            self.digests,
            self.clock,
        )

    def codes(self) -> OneTimeCodes:
        return OneTimeCodes(self.challenges, self.limiter, self.digests, self.clock, self.ids)

    def newcomers(self) -> Newcomers:
        return Newcomers(self.log, self.challenges, self.vault, self.identifiers())

    def guard(self) -> SignInGuard:
        return SignInGuard(self.log, self.limiter)

    def user_sessions(self) -> UserSessions:
        return UserSessions(
            self.log,
            self.log,
            self.lines,
            self.user_tokens,
            self.guard(),
            self.digests,
            self.clock,
            self.ids,
        )

    def password_sign_ins(self) -> PasswordSignIns:
        return PasswordSignIns(
            self.log,
            self.guard(),
            self.codes(),
            self.sender,
            self.sign_ins(),
            self.user_sessions(),
            self.identifiers(),
            Passwords(self.hashes, CommonPasswords()),
            self.vault,
            self.clock,
            self.ids,
        )

    def reauthentications(self) -> Reauthentications:
        return Reauthentications(
            self.log,
            self.guard(),
            self.accounts(),
            self.codes(),
            self.sign_ins(),
            self.password_sign_ins(),
            self.user_sessions(),
            self.vault,
        )

    def accounts(self) -> Accounts:
        shown: Any = self.shown
        nonces = DigestedNonces(self.digests, shown, self.clock, self.ids)
        return Accounts(self.log, self.id_tokens, nonces, self.digests)

    def account_sign_ins(self) -> AccountSignIns:
        return AccountSignIns(
            self.log,
            self.guard(),
            self.accounts(),
            self.identifiers(),
            self.user_sessions(),
            self.ids,
        )

    def account_links(self) -> AccountLinks:
        return AccountLinks(
            self.log,
            self.guard(),
            self.accounts(),
            self.identifiers(),
            self.codes(),
            self.sign_ins(),
            self.user_sessions(),
            self.users(),
            self.clock,
            self.ids,
        )

    def sign_ins(self) -> SignIns:
        return SignIns(
            self.guard(),
            self.codes(),
            {"sms": self.sender, "email": self.sender},
            self.newcomers(),
            self.user_sessions(),
            self.identifiers(),
            E164PhoneNumbers(),
            self.digests,
        )

    def enrollments(self) -> Enrollments:
        return Enrollments(
            self.log, self.log, self.palm_intake(), self.grants, self.clock, self.ids
        )

    def templates(self) -> Templates:
        return Templates(self.log, self.palms, self.ids)

    def workers(self) -> Deliveries:
        """The workers that have templates destroyed."""
        return Deliveries(self.log, TemplateRemoval(self.log, self.templates()))

    def sweepers(self) -> Deliveries:
        """The workers that give up what was abandoned."""
        return Deliveries(
            self.log, AbandonedEnrollments(self.log, self.enrollment_endings(), self.clock)
        )

    def comparisons(self, log: EventLog | None = None) -> Comparisons:
        recognition = Recognition(self.log, self.palms, self.signatures, self.canonical, self.clock)
        return Comparisons(
            log or self.log, self.log, recognition, self.limiter, self.clock, self.ids
        )

    def palm_removals(self) -> PalmRemovals:
        return PalmRemovals(
            self.log, self.enrollment_endings(), EnrollmentsOfPerson(self.log), self.ids
        )

    def erasures(self) -> Erasures:
        return Erasures(
            self.log,
            self.vault,
            self.challenges,
            self.grants,
            self.palm_removals(),
            self.templates(),
            self.identifiers(),
            self.user_sessions(),
            self.approvals(),
            self.clock,
            self.ids,
        )

    def approvals(self) -> Approvals:
        return Approvals(self.log, self.clock, self.ids)

    def identifiers(self) -> Identifiers:
        return Identifiers(self.log, self.vault, E164PhoneNumbers(), self.digests)

    def users(self) -> Users:
        return Users(self.log, self.vault, self.identifiers(), self.ids)

    def palm_intake(self) -> PalmIntake:
        return PalmIntake(self.log, self.palms, self.enrollment_endings(), self.clock, self.ids)

    def enrollment_endings(self) -> EnrollmentEndings:
        return EnrollmentEndings(self.log, self.templates(), self.ids)

    def linked_services(self) -> LinkedServices:
        return LinkedServices(self.log, self.egress, self.bound_devices, self.clock, self.ids)

    def oauth_clients(self) -> OAuthClients:
        return OAuthClients(
            self.log,
            self.secrets,
            self.digests,
            self.assertions,
            RegisteredCertificates(),
            self.egress,
            self.client_count,
            self.ids,
        )

    def clients(self) -> Clients:
        return Clients(
            self.oauth_clients(),
            self.log,
            OneTenantsClients(TENANT),
            self.secrets,
            self.digests,
            self.assertions,
            RegisteredCertificates(),
        )

    def issued_tokens(self, tokens: AccessTokens) -> IssuedTokens:
        return IssuedTokens(self.log, self.log, tokens, self.ids)

    def tenants(self) -> Tenants:
        return Tenants(self.log, self.ids)


TILL: Final = DevicePrincipal(
    tenant_id=TENANT,
    actor=f"device:dev_{DEVICE.hex}",
    correlation_id=CORRELATION,
    device_id=DEVICE,
    fingerprint=builders.device_paired.default.fingerprint,
)
BACKEND: Final = Caller(tenant_id=TENANT, actor="client:cli_1", correlation_id=CORRELATION)
PRODUCT_CLAIM: Final = claim_id(TENANT, k.PRODUCT_KEY, "wallet")
OTHER_TENANT: Final = TenantId(UUID("0198c000-0000-7000-8000-0000000000ff"))
OTHER_USER: Final = UserId(UUID("0198c000-0000-7000-8000-0000000000a2"))
OTHER_DEVICE: Final = DeviceId(UUID("0198c000-0000-7000-8000-0000000000b2"))
OTHER_PALM: Final = PalmRef(UUID("0198c000-0000-7000-8000-0000000000d2"))
TENANT_KEY: Final = builders.tenant_created.default.tenant_key
"""The tenant's namespace at the vendor."""


def device(device_id: DeviceId, tenant_id: TenantId = TENANT) -> DevicePrincipal:
    """The principal of another device."""
    return msgspec.structs.replace(TILL, device_id=device_id, tenant_id=tenant_id)


def scan(palm: bytes = ALI) -> Scan:
    return Scan(
        format="biowave.rgb_ir.v1",
        rgb=palm,
        ir=palm[::-1],
        hand="right",
        sha256=hashlib.sha256(palm).hexdigest(),
        quality=87.5,
        liveness=0.98,
        captured_at=builders.NOW,
    )


def asking(
    palm: bytes = ALI,
    *,
    key: str = KEY,
    context: dict[str, Any] | None = None,
    deadline_ms: int | None = None,
    match: DeviceMatch | None = None,
) -> TransactionRequest:
    return TransactionRequest(
        idempotency_key=key,
        scan=scan(palm),
        context={"amount": "5.00", "currency": "SAR"} if context is None else context,
        deadline_ms=deadline_ms,
        match=match,
    )


def transaction(key: str = KEY, device_id: DeviceId = DEVICE) -> TransactionId:
    return transaction_id(device_id, key)


class Killed(BaseException):
    """The process died here."""


async def kill() -> None:
    """The process dies."""
    raise Killed


class Gate:
    """A hook that holds whoever gets there until `open` is set."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    async def __call__(self) -> None:
        self.reached.set()
        await self.open.wait()


def raising(error: Exception) -> Callable[[], Coroutine[Any, Any, None]]:
    """A hook that fails in this way."""

    async def hook() -> None:
        raise error

    return hook
