"""Verification (1:1) and identification (1:N) for an integrator's backend (000 §1.2; 003 §3.8).

The answer is metadata: a result, and a confidence where it is a match. How near somebody came who
is not the person is recorded and not told, since that is what an attacker would climb by.
"""

import math
from typing import Final, TypeVar
from uuid import UUID, uuid5

import msgspec

from application.execute import stream_of
from application.palms.recognition import NotRecognised, Recognised, Recognition
from application.ports import (
    Clock,
    EventLog,
    IdSource,
    PalmQueryForbidden,
    PalmVendorFailed,
    RateLimiter,
    Scan,
    StaleStream,
    Streams,
)
from application.principals import Caller
from application.transactions.outcomes import refusal
from domain import comparison as c
from domain import tenant as t
from domain import user as u
from domain.erasure import erasure_id
from domain.errors import Conflict, Invalid, NotFound, TooMany, Unavailable
from domain.events import StreamAppend
from domain.ids import IdentificationId, TenantId, UserId, VerificationId
from domain.matching import check_picture

DEADLINE_S: Final = 5.0

C = TypeVar("C", c.VerificationCompleted, c.IdentificationCompleted)

_user: Final = stream_of(u.UserSignedUp, u.rebuild)


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """What a comparison came to. `position` is None when it had been asked for before."""

    id: UUID
    completed: c.ComparisonEvent
    position: int | None = None

    @property
    def confidence(self) -> float | None:
        """The mean of the four scores, 0 to 1, of a match and of nothing else."""
        scores = self.completed.scores
        if self.completed.result != "match" or not scores:
            return None
        return round(math.fsum(scores) / len(scores), 4)


PER_CLIENT: Final = (300, 60)
PER_TENANT: Final = (1200, 60)
"""Each asks the vendor, who serves all tenants."""


class Comparisons:
    def __init__(
        self,
        log: EventLog,
        streams: Streams,
        recognition: Recognition,
        limiter: RateLimiter,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._streams = streams
        self._recognition = recognition
        self._limiter = limiter
        self._clock = clock
        self._ids = ids

    async def verify(
        self, caller: Caller, user_id: UserId, scan: Scan, key: str | None
    ) -> Compared:
        """Whether the palm is this person's, once for each key.

        Raises NotFound (`user_not_found`), Conflict (`palm_type_not_allowed`), Invalid
        (`low_quality`, `liveness_failed`, `idempotency_key_reused`), TooMany (`rate_limited`) and
        Unavailable (`palm_vendor_error`, `palm_vendor_timeout`), after which the same key asks
        again.
        """
        command_id = caller.command("verification", key, self._ids.uuid())
        verification_id = VerificationId(uuid5(command_id, "verification"))
        known = await self._known(caller.tenant_id, verification_id, c.VerificationCompleted)
        if known is None:
            tenant = await self._tenant(caller.tenant_id)
            user = _user(await self._log.load(caller.tenant_id, user_id))
            if user is None:
                raise NotFound("user_not_found")
            await self._admit(caller)
            completed = await self.compare(tenant, user, scan)
            return await self._record(caller, command_id, verification_id, completed)
        if (known.user_id, known.scan_sha256) != (user_id, scan.sha256):
            raise _reused()
        return Compared(id=verification_id, completed=known)

    async def identify(self, caller: Caller, scan: Scan, key: str | None) -> Compared:
        """Whose palm it is, once for each key. Raises what `verify` raises but NotFound."""
        command_id = caller.command("identification", key, self._ids.uuid())
        identification_id = IdentificationId(uuid5(command_id, "identification"))
        known = await self._known(caller.tenant_id, identification_id, c.IdentificationCompleted)
        if known is None:
            tenant = await self._tenant(caller.tenant_id)
            await self._admit(caller)
            completed = await self._identified(tenant, scan)
            return await self._record(caller, command_id, identification_id, completed)
        if known.scan_sha256 != scan.sha256:
            raise _reused()
        return Compared(id=identification_id, completed=known)

    async def verification(self, tenant_id: TenantId, verification_id: UUID) -> Compared:
        """Raises NotFound (`verification_not_found`)."""
        known = await self._known(tenant_id, verification_id, c.VerificationCompleted)
        if known is None:
            raise NotFound("verification_not_found")
        return Compared(id=verification_id, completed=known)

    async def identification(self, tenant_id: TenantId, identification_id: UUID) -> Compared:
        """Raises NotFound (`identification_not_found`)."""
        known = await self._known(tenant_id, identification_id, c.IdentificationCompleted)
        if known is None:
            raise NotFound("identification_not_found")
        return Compared(id=identification_id, completed=known)

    async def _admit(self, caller: Caller) -> None:
        """A repeat asks nobody, and is not counted. Raises TooMany (`rate_limited`)."""
        of_client = f"{caller.tenant_id}:{caller.actor}"
        await self._count("comparison.client", of_client, PER_CLIENT)
        await self._count("comparison.tenant", str(caller.tenant_id), PER_TENANT)

    async def _count(self, budget: str, key: str, allowed: tuple[int, int]) -> None:
        limit, per_s = allowed
        if not await self._limiter.hit(budget, key, limit=limit, per_s=per_s):
            raise TooMany("rate_limited", retry_after_s=per_s)

    async def compare(self, tenant: t.Tenant, user: u.User, scan: Scan) -> c.VerificationCompleted:
        """The answer, which nobody has recorded. Raises what `verify` raises but NotFound."""
        refused = refusal(tenant, user)
        if refused is not None:
            # Nobody's palm is compared who may not be served.
            return c.VerificationCompleted(
                user_id=user.id,
                scan_sha256=scan.sha256,
                result="refused",
                reason=refused,
                palm_ref=None,
                scores=None,
                thresholds=None,
                policy_version=tenant.settings.match_policy.version,
                compare_ms=None,
                compared_at=self._clock.now(),
            )
        found = await self._recognised(tenant, scan, user.id)
        match = isinstance(found, Recognised)
        evidence = found.event if isinstance(found, Recognised) else found
        return c.VerificationCompleted(
            user_id=user.id,
            scan_sha256=scan.sha256,
            result="match" if match else "no_match",
            reason=found.reason if isinstance(found, NotRecognised) else None,
            palm_ref=found.event.palm_ref if isinstance(found, Recognised) else None,
            scores=evidence.scores,
            thresholds=evidence.thresholds,
            policy_version=evidence.policy_version,
            compare_ms=evidence.identify_ms,
            compared_at=self._clock.now(),
        )

    async def _identified(self, tenant: t.Tenant, scan: Scan) -> c.IdentificationCompleted:
        found = await self._recognised(tenant, scan, None)
        if isinstance(found, NotRecognised):
            return c.IdentificationCompleted(
                user_id=None,
                scan_sha256=scan.sha256,
                result="no_match",
                reason=found.reason,
                palm_ref=None,
                scores=found.scores,
                thresholds=found.thresholds,
                policy_version=found.policy_version,
                compare_ms=found.identify_ms,
                compared_at=self._clock.now(),
            )
        refused = refusal(tenant, found.user)
        return c.IdentificationCompleted(
            user_id=found.user.id,
            scan_sha256=scan.sha256,
            result="match" if refused is None else "refused",
            reason=refused,
            palm_ref=found.event.palm_ref,
            scores=found.event.scores,
            thresholds=found.event.thresholds,
            policy_version=found.event.policy_version,
            compare_ms=found.event.identify_ms,
            compared_at=self._clock.now(),
        )

    async def _recognised(
        self, tenant: t.Tenant, scan: Scan, only: UserId | None
    ) -> Recognised | NotRecognised:
        check_picture(tenant.settings.match_policy, scan.quality, scan.liveness)
        try:
            return await self._recognition.by_vendor(tenant, scan, DEADLINE_S, only=only)
        except PalmQueryForbidden as error:
            raise Conflict("palm_type_not_allowed") from error
        except PalmVendorFailed as error:
            raise Unavailable(error.reason, retry_after_s=1) from error

    async def _record(
        self, caller: Caller, command_id: UUID, comparison_id: UUID, completed: C
    ) -> Compared:
        """Commit the answer. A match names nobody whose erasure has begun by then (decision 38)."""
        erasure = None
        if completed.result == "match" and completed.user_id is not None:
            erasure = erasure_id(completed.user_id)
        append = StreamAppend(
            tenant_id=caller.tenant_id,
            stream_id=comparison_id,
            expected_version=0,
            events=[completed],
            unless_begun=erasure,
        )
        try:
            appended = await self._log.append(caller.origin(command_id), [append])
        except StaleStream as stale:
            if erasure is not None and erasure in stale.streams:
                refused = msgspec.structs.replace(completed, result="refused", reason="user_erased")
                return await self._record(caller, command_id, comparison_id, refused)
            appended = None
        if appended is not None and not appended.replayed:
            return Compared(id=comparison_id, completed=completed, position=appended.last_position)
        # Asked twice at once under one key: the first answer in the log is everybody's.
        known = await self._known(caller.tenant_id, comparison_id, type(completed))
        assert known is not None, "somebody was faster"
        return Compared(id=comparison_id, completed=known)

    async def _known(self, tenant_id: TenantId, stream_id: UUID, kind: type[C]) -> C | None:
        past = await self._log.load(tenant_id, stream_id)
        event = past[0].event if past else None
        return event if isinstance(event, kind) else None

    async def _tenant(self, tenant_id: TenantId) -> t.Tenant:
        tenant = await self._streams.state(tenant_id, tenant_id, t.rebuild)
        assert tenant is not None, "a caller belongs to a tenant"
        return tenant


def _reused() -> Invalid:
    return Invalid("idempotency_key_reused", "this key was used for another request")
