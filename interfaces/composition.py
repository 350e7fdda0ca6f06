"""The composition root: what one process opens, in which order, and closes in the reverse one.

Which adapter stands behind which port of a use case is said in `interfaces/use_cases.py`, and
what a worker does besides in `interfaces/duties.py`.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack

from application.audit.signing_key_records import SigningKeyRecords
from application.palms.enrollment_endings import EnrollmentEndings
from application.palms.templates import Templates
from application.passwords import Passwords
from application.ports import Clock, RateLimiter
from application.ports.passwords import BreachedPasswords
from application.tenants.tenants import Tenants
from application.transactions.circuits import Circuits
from domain.catalogue import EVENTS, UPCASTERS
from domain.device import DeviceRevoked
from domain.events import Recorded
from infrastructure.bells import TailBells
from infrastructure.circuits.breakers import Breakers
from infrastructure.circuits.circuit_notes import CircuitNotes
from infrastructure.circuits.shared_circuits import SharedCircuits
from infrastructure.clock import SystemClock
from infrastructure.database import APP_ROLE, DUTY_WAIT_S, PROJECTOR_ROLE, Pool, pool
from infrastructure.edge.revocations import RevokedCertificates
from infrastructure.event_log.cache import StreamCache
from infrastructure.event_log.history import PostgresLogHistory
from infrastructure.event_log.log import PostgresEventLog
from infrastructure.event_log.mapper import EventMapper
from infrastructure.event_log.tail import Tail, caught_up
from infrastructure.fleet.device_ca_keeper import DeviceCAKeeper, DeviceCAMaker
from infrastructure.fleet.platform_ca import PlatformCA
from infrastructure.fleet.revocation_lists import PostgresRevocationLists
from infrastructure.ids import RandomIds
from infrastructure.keys.key_store import KeyStore
from infrastructure.keys.signing_key_book import PostgresSigningKeyBook
from infrastructure.keys.signing_key_keeper import (
    ACCESS_TOKENS,
    CONSENT_RECEIPTS,
    IDENTITY_ASSERTIONS,
    USER_TOKENS,
    SigningKeyKeeper,
)
from infrastructure.keys.tenant_keys import TenantKeys, platform_keyring
from infrastructure.loop_lateness import LoopLateness
from infrastructure.messages.inbox import Inbox
from infrastructure.metrics import Metrics
from infrastructure.passwords.hashes import BcryptHashes
from infrastructure.people.advice_contexts import PostgresAdviceContexts
from infrastructure.people.product_texts import PostgresProductTexts
from infrastructure.projections import tables
from infrastructure.projections.audit_feed import AuditFeed
from infrastructure.projections.digester import Digester, Digests
from infrastructure.projections.health import ProjectionHealth
from infrastructure.projections.reads import LogEnd, TenantReads
from infrastructure.projections.runner import ProjectionRunner
from infrastructure.rate_limits import InProcessRateLimiter, RedisRateLimiter
from infrastructure.tokens.client_trust import ClientTrust
from infrastructure.webhooks.clients import WebhookClients
from infrastructure.webhooks.keys import PostgresWebhookKeys
from infrastructure.webhooks.secrets import PostgresWebhookSecrets
from interfaces.attestation_settings import status_fetchers
from interfaces.breached_passwords import breached_passwords
from interfaces.counterparts import Counterparts, counterparts, inbox
from interfaces.duties import Duties
from interfaces.http.admission import TenantPlaces
from interfaces.key_settings import open_keeper
from interfaces.measured import (
    Appends,
    MeasuredTraffic,
    measure_breakers,
    measure_deliveries,
    measure_lateness,
    measure_pools,
    measure_read_models,
    measure_shadows,
    measure_tail,
    measure_transparency,
)
from interfaces.readiness import TailReadiness
from interfaces.serving import Serving
from interfaces.settings import Settings
from interfaces.transparency import transparency
from interfaces.use_cases import use_cases
from projections import oauth_clients, revoked_certificates
from projections.catalogue import READ_MODELS


class Platform:
    """Everything of one process that is opened once and closed in the reverse order."""

    def __init__(
        self,
        settings: Settings,
        dsn: str,
        redis_url: str | None,
        *,
        limiter: RateLimiter | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`limiter` stands in for the one that Redis, or this process alone, would be; `clock`
        for the system's."""
        self._given_limiter = limiter
        self.settings = settings
        self.dsn = dsn
        self._redis_url = redis_url
        self._stack = AsyncExitStack()
        self.clock: Clock = clock or SystemClock()
        self.ids = RandomIds(self.clock)
        self.keeper, self._sealed_before = open_keeper(settings.keys, make=True)
        self.mapper = EventMapper(EVENTS, UPCASTERS)
        self.revocations = RevokedCertificates()
        self.client_trust = ClientTrust()
        self.metrics = Metrics()
        self.traffic = MeasuredTraffic(self.metrics)
        self.places = TenantPlaces(settings.requests_max)
        self.lateness = LoopLateness()

    async def __aenter__(self) -> "Platform":
        """Connect, make keys that do not exist yet, follow the log. Closes what it opened."""
        try:
            await self._open()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _open(self) -> None:
        await tables.ensure(self.dsn, list(READ_MODELS))
        self.app_pool = await self._pool(APP_ROLE)
        self.projector_pool = await self._pool(PROJECTOR_ROLE)
        self.duty_pool = await self._duty_pool()
        self.log = await PostgresEventLog.open(
            self.dsn, self.mapper, on_commit=Appends(self.metrics)
        )
        self._stack.push_async_callback(self.log.close)
        revoked_up_to = await self._restore_revocations()
        known_up_to = await self._restore_client_trust()
        self.tail = Tail(self.dsn, self.mapper, after=min(revoked_up_to, known_up_to))
        self.end = LogEnd(self.tail, self.projector_pool)
        self.streams = StreamCache(self.log, self.tail)
        self.tail.subscribe(self._note_revocations)
        self.tail.subscribe(self.client_trust.heard)
        self.runner = ProjectionRunner(self.dsn, self.log, self.projector_pool)
        self.past = PostgresLogHistory(self.app_pool, self.mapper)
        self.audit_feed = AuditFeed(self.log, self.past)
        self.tail.subscribe(self.audit_feed.heard)
        self.bells = TailBells()
        self.tail.subscribe(self.bells.heard)
        self.keyring = await platform_keyring(self.app_pool, self.keeper, self._sealed_before)
        self.tenant_keys = TenantKeys(self.keeper)
        self.product_texts = PostgresProductTexts(self.app_pool, self.tenant_keys, self.keyring)
        self.advice_contexts = PostgresAdviceContexts(self.app_pool, self.tenant_keys, self.keyring)
        self.digests = Digests(self.dsn, self.log)
        self.digester = Digester(
            self.digests,
            self.projector_pool,
            READ_MODELS,
            self.runner.runs_here,
            interval_s=self.settings.digest_interval_s,
        )
        keys = KeyStore(self.app_pool, self.keyring)
        self.authority = await self._authority(keys)
        self.device_ca_maker = DeviceCAMaker(keys, self.clock)
        self.device_cas = DeviceCAKeeper(keys, self.log, self.authority, self.revocations)
        await self.device_cas.open()
        self.tail.subscribe(self.device_cas.heard)
        self.serving = Serving(self, keys)
        self.revocation_lists = PostgresRevocationLists(
            self.app_pool, self.projector_pool, self.authority, self.clock
        )
        self.signing = SigningKeyKeeper(self.app_pool, keys, self.clock)
        self.token_keys = await self.signing.open(ACCESS_TOKENS)
        self.assertion_keys = await self.signing.open(IDENTITY_ASSERTIONS)
        self.user_token_keys = await self.signing.open(USER_TOKENS)
        self.receipt_keys = await self.signing.open(CONSENT_RECEIPTS)
        book = PostgresSigningKeyBook(self.app_pool, keys)
        self.key_records = SigningKeyRecords(self.streams, book, self.ids)
        self.limiter = await self._limiter()
        self.transparency = await transparency(
            self.settings,
            self.dsn,
            self.app_pool,
            self.projector_pool,
            keys,
            self._stack.push_async_callback,
        )
        self.readiness = TailReadiness(
            self.tail, ProjectionHealth(self.app_pool), self.serving.ending
        )
        self.reads = TenantReads(self.app_pool, self.runner, self.end)
        self.breakers = await self._breakers()
        outside = self._outside()
        measure_breakers(self.metrics, self.breakers)
        self.templates = Templates(self.streams, outside.palms, self.ids)
        self.enrollment_endings = EnrollmentEndings(self.streams, self.templates, self.ids)
        self.webhook_keys = PostgresWebhookKeys(
            self.app_pool, self.tenant_keys, self.settings.trust_domain
        )
        self.webhook_clients = WebhookClients(
            outside.egress,
            self.authority,
            self.streams,
            self.webhook_keys,
            self.clock,
            outside.client_keys,
        )
        self._stack.push_async_callback(self.webhook_clients.close)
        self.webhook_secrets = PostgresWebhookSecrets(self.app_pool, self.keyring)
        hashes = BcryptHashes(cost=self.settings.password_cost)
        self._stack.push_async_callback(hashes.close)
        self.passwords = Passwords(hashes, self._breached_passwords())
        self.status_fetchers = status_fetchers(self.settings.attestation, outside.client_keys)
        self.services = use_cases(self, outside)
        self._stack.push_async_callback(self.services.certifications.close)
        self.tenants = Tenants(self.streams, self.ids)
        self.duties = Duties(self, outside, self._stack)
        measure_pools(
            self.metrics,
            {"app": self.app_pool, "projector": self.projector_pool, "duties": self.duty_pool},
        )
        measure_tail(self.metrics, self.tail)
        measure_lateness(self.metrics, self.lateness)
        self.lateness.start()
        self._stack.push_async_callback(self.lateness.close)
        measure_transparency(self.metrics, self.projector_pool)
        measure_read_models(self.metrics, self.runner, self.digests)
        measure_deliveries(self.metrics, self.projector_pool)
        measure_shadows(self.metrics, self.projector_pool)

    async def follow(self) -> None:
        """Start the tail and wait until it is at the end: from then on states may be cached."""
        await self.tail.start()
        self._stack.push_async_callback(self.tail.close)
        await caught_up(self.tail, await self.end.position())
        await self._stack.enter_async_context(self.signing)
        await self._stack.enter_async_context(self.device_cas)
        await self._stack.enter_async_context(await self.serving.begin())
        for fetcher in self.status_fetchers:
            await self._stack.enter_async_context(fetcher)

    async def project(self) -> None:
        """Keep read models and transparency log up to date here."""
        self.tail.subscribe(self.runner.heard)
        await self._stack.enter_async_context(self.runner)
        self.tail.subscribe(self.transparency.keeper.heard)
        await self._stack.enter_async_context(self.transparency.keeper)
        if self.settings.digest_interval_s:
            self.tail.subscribe(self.digester.heard)
            await self._stack.enter_async_context(self.digester)

    async def _pool(self, role: str) -> Pool:
        opened = pool(self.dsn, role)
        await opened.open(wait=True, timeout=10)
        self._stack.push_async_callback(opened.close)
        return opened

    async def _duty_pool(self) -> Pool:
        """For what is done in the background: apart, so that neither it nor requests wait for the
        other, and with patience. It has no connection until there is such work here."""
        opened = pool(
            self.dsn, PROJECTOR_ROLE, connections_min=0, connections_max=4, wait_s=DUTY_WAIT_S
        )
        await opened.open()
        self._stack.push_async_callback(opened.close)
        return opened

    async def _restore_revocations(self) -> int:
        async with self.projector_pool.connection() as connection:
            position, fingerprints = await revoked_certificates.whole_set(connection)
        self.revocations.restore(fingerprints)
        return position

    async def _restore_client_trust(self) -> int:
        async with self.projector_pool.connection() as connection:
            position, pems = await oauth_clients.tls_certificates(connection)
        self.client_trust.restore(pems)
        return position

    def _note_revocations(self, events: Sequence[Recorded]) -> None:
        for recorded in events:
            if isinstance(recorded.event, DeviceRevoked):
                self.revocations.revoked(recorded.event.fingerprints)

    async def _authority(self, keys: KeyStore) -> PlatformCA:
        domain = self.settings.trust_domain
        pem = await keys.obtain(
            "platform_ca",
            lambda: PlatformCA.generate(trust_domain=domain, clock=self.clock).to_pem(),
        )
        return PlatformCA.from_pem(pem, trust_domain=domain, clock=self.clock)

    async def _limiter(self) -> RateLimiter:
        if self._given_limiter is not None:
            return self._given_limiter
        if self._redis_url is None:
            return InProcessRateLimiter()
        limiter = RedisRateLimiter(self._redis_url, self.keyring)
        self._stack.push_async_callback(limiter.close)
        await limiter.warn_of_eviction()
        return limiter

    async def _breakers(self) -> Breakers:
        circuits = Circuits(self.streams, self.ids)
        notes = await self._stack.enter_async_context(CircuitNotes(circuits.note))
        shared = None if self._redis_url is None else SharedCircuits(self._redis_url)
        breakers = Breakers(self.clock, shared, notes.tell, circuits.recall)
        self._stack.push_async_callback(breakers.close)
        return breakers

    def _breached_passwords(self) -> BreachedPasswords:
        return breached_passwords(
            self.settings.breached,
            self.settings.egress_allow,
            development=self.settings.development,
            metrics=self.metrics,
            at_end=self._stack.push_async_callback,
        )

    @property
    def inbox(self) -> Inbox:
        """Where one-time codes lie in development."""
        return inbox(self.settings, self.clock)

    def _outside(self) -> Counterparts:
        return counterparts(
            self.settings,
            self.clock,
            self.breakers,
            self.authority.server_ca_pem(),
            self._stack.push_async_callback,
        )
