"""What a worker does by itself, and nobody waits for: deliver, close, finish, delete, look.

A part of the composition root, like `interfaces/composition.py`. Every worker delivers and
deletes; of the rounds each is done by one process of all that could.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from application.audit.signing_key_records import EVERY_S as KEYS_EVERY_S
from application.palms.challenge_expiry import ChallengeExpiry
from application.palms.template_removal import AbandonedEnrollments, TemplateRemoval
from application.people.erasures import EVERY_S, ErasureRounds
from application.ports import DeliveryKind, Undecided
from application.tenants.deletions import EVERY_S as DELETIONS_EVERY_S
from application.tenants.deletions import TenantDeletions
from application.tenants.retention import TenantRetention
from application.transactions.advice import Advice
from application.transactions.sweeper import Sweeper
from application.transactions.voids import Voids
from domain.ids import TenantId, UserId
from infrastructure.delivery.engine import DeliveryEngine
from infrastructure.keys.assertion_signer import JwtAssertionSigner
from infrastructure.keys.tenant_stores import PostgresTenantStores
from infrastructure.people.retention import Retention
from infrastructure.products.undecided import ReadModelUndecided
from infrastructure.projections.every_tenant import EveryTenant
from infrastructure.projections.unfinished_erasures import PostgresUnfinishedErasures
from infrastructure.rounds import Rounds
from infrastructure.webhooks.kind import Webhooks
from interfaces.counterparts import Counterparts
from interfaces.watching import Watching

if TYPE_CHECKING:
    from interfaces.composition import Platform

SWEEP_EVERY_S: Final = 5.0

_log = structlog.get_logger(__name__)


class MayFail(Protocol):
    """Work that goes on for as long as the process lives, unless a bug ends it."""

    async def until_failure(self) -> None:
        """Return only by raising the bug."""
        ...


class Duties:
    """`of` is the open platform; `until` is what is closed with it."""

    def __init__(self, of: "Platform", outside: Counterparts, until: AsyncExitStack) -> None:
        self._platform = of
        self._until = until
        self.deliveries = DeliveryEngine(of.dsn, of.log, _kinds(of, outside))
        self.sweeper = Sweeper(
            of.streams,
            ReadModelUndecided(of.duty_pool),
            of.clock,
            of.ids,
            sweep_interrupted,
        )
        self._sweeping = Rounds(of.dsn, "sweeper", SWEEP_EVERY_S, self.sweeper.sweep)
        erasures = ErasureRounds(
            of.services.erasures,
            PostgresUnfinishedErasures(of.duty_pool),
            of.ids,
            erasure_interrupted,
        )
        self._erasing = Rounds(of.dsn, "erasures", EVERY_S, erasures.round)
        deletions = TenantDeletions(
            of.streams,
            of.services.erasures,
            EveryTenant(of.duty_pool, of.reads, of.end),
            PostgresTenantStores(of.app_pool),
            of.clock,
            of.ids,
            deletion_interrupted,
        )
        tenants = TenantRetention(of.streams, EveryTenant(of.duty_pool, of.reads, of.end))
        self.retention = Retention(of.app_pool, of.clock, tenants)
        self._deleting = Rounds(of.dsn, "tenant_deletions", DELETIONS_EVERY_S, deletions.round)
        self._recording = Rounds(of.dsn, "signing_key_records", KEYS_EVERY_S, of.key_records.round)
        self.watching = Watching(of, outside)

    @property
    def all(self) -> Sequence[MayFail]:
        """Whatever a bug can end; what was not begun here never fails."""
        return (
            self.deliveries,
            self.retention,
            self._sweeping,
            self._erasing,
            self._deleting,
            self._recording,
            *self.watching.rounds,
        )

    async def deliver(self) -> None:
        """Have this process deliver what must reach other systems."""
        self._platform.tail.subscribe(self.deliveries.heard)
        await self._until.enter_async_context(self.deliveries)

    async def forget(self) -> None:
        """Delete what has run out, and finish the erasures and deletions that were left behind."""
        await self._until.enter_async_context(self.retention)
        await self._until.enter_async_context(self._erasing)
        await self._until.enter_async_context(self._deleting)

    async def sweep(self) -> None:
        """Close what devices left undecided."""
        await self._until.enter_async_context(self._sweeping)

    async def record_keys(self) -> None:
        """Tell the log which signing keys were made."""
        await self._until.enter_async_context(self._recording)

    async def watch(self) -> None:
        """Ask products and vendor how they are, and miss devices."""
        for rounds in self.watching.rounds:
            await self._until.enter_async_context(rounds)


def _kinds(of: "Platform", outside: Counterparts) -> Sequence[DeliveryKind]:
    """Every kind of delivery there is."""
    signer, issuer = JwtAssertionSigner(of.assertion_keys, of.settings.issuer), of.settings.issuer
    return (
        Voids(of.streams, outside.notices, of.product_texts, signer, issuer, of.clock, of.ids),
        Advice(of.streams, outside.notices, of.advice_contexts, signer, issuer, of.clock, of.ids),
        TemplateRemoval(of.streams, of.templates),
        AbandonedEnrollments(of.streams, of.enrollment_endings, of.clock),
        ChallengeExpiry(of.streams, of.clock),
        Webhooks(
            of.log,
            of.streams,
            of.reads,
            of.services.webhook_endpoints,
            of.webhook_secrets,
            of.webhook_clients,
            of.clock,
        ),
    )


def sweep_interrupted(found: Undecided, error: Exception) -> None:
    """Tell which transaction stays open, and of what class of error; the next round tries again."""
    _log.error(
        "sweep_interrupted",
        tenant=str(found.tenant_id),
        id=str(found.transaction_id),
        exc_info=error,
    )


def erasure_interrupted(tenant_id: TenantId, user_id: UserId, error: Exception) -> None:
    """Tell whose erasure stands still, and of what class of error; the next round tries again."""
    _log.error("erasure_interrupted", tenant=str(tenant_id), id=str(user_id), exc_info=error)


def deletion_interrupted(tenant_id: TenantId, error: Exception) -> None:
    """Tell whose deletion stands still, and of what class of error; the next round tries again."""
    _log.error("tenant_deletion_interrupted", tenant=str(tenant_id), exc_info=error)
