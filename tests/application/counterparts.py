"""The vendor and the product, doing as they are told, and taking as long as they are told to."""

from typing import Literal

from application.ports import (
    AuthorizeCall,
    Authorized,
    AuthorizeFailed,
    Candidates,
    PalmVendorFailed,
    Scan,
)
from domain.ids import PalmRef
from domain.matching import Candidate, Scores
from tests.application.hand_clock import HandClock
from tests.application.memory_log import Hook

GOOD: Scores = (0.95, 0.95, 0.95, 0.95)


class Palms:
    """A vendor that knows a palm by its exact image. Every call takes `takes_s` of the clock."""

    def __init__(self, clock: HandClock, trace: list[str], pause: Hook) -> None:
        self._clock = clock
        self._trace = trace
        self._pause = pause
        self.enrolled: dict[tuple[str, PalmRef], bytes] = {}
        self.scores: dict[PalmRef, Scores] = {}
        self.thresholds: Scores = (0.8, 0.8, 0.8, 0.8)
        self.takes_s = 0.0
        self.budgets_s: list[float] = []
        self.deleted: list[PalmRef] = []
        self.identify_raises: Exception | None = None
        self.enroll_raises: Exception | None = None
        self.delete_raises: Exception | None = None
        self.can_delete = True
        self.before: Hook | None = None
        """Runs once, when the next call has left us and not arrived."""
        self.when_stored: Hook | None = None
        """Runs once, when the template has been stored and nobody has heard of it."""

    async def identify(
        self, tenant_key: str, scan: Scan, *, k: int, deadline_s: float
    ) -> Candidates:
        await self._spend("identify", deadline_s, self.identify_raises)
        found = [
            Candidate(palm_ref=ref, hand="right", scores=self.scores.get(ref, GOOD))
            for (key, ref), rgb in self.enrolled.items()
            if (key, rgb) == (tenant_key, scan.rgb)
        ]
        return Candidates(found=found[:k], thresholds=self.thresholds)

    async def enroll(
        self, tenant_key: str, palm_ref: PalmRef, scan: Scan, *, deadline_s: float
    ) -> str:
        await self._spend("enroll", deadline_s, self.enroll_raises)
        self.enrolled[tenant_key, palm_ref] = scan.rgb
        hook, self.when_stored = self.when_stored, None
        if hook is not None:
            await hook()
        return f"palm-{palm_ref.hex}"

    async def delete(
        self, tenant_key: str, palm_ref: PalmRef, *, deadline_s: float
    ) -> Literal["deleted", "absent", "not_supported"]:
        await self._spend("delete", deadline_s, self.delete_raises)
        if not self.can_delete:
            return "not_supported"
        self.deleted.append(palm_ref)
        held = self.enrolled.pop((tenant_key, palm_ref), None)
        return "absent" if held is None else "deleted"

    async def _spend(self, call: str, deadline_s: float, raises: Exception | None) -> None:
        self._trace.append(f"vendor {call}")
        self.budgets_s.append(deadline_s)
        await self._pause()
        before, self.before = self.before, None
        if before is not None:
            await before()
        self._clock.advance(min(self.takes_s, deadline_s))
        if self.takes_s > deadline_s:
            raise PalmVendorFailed("palm_vendor_timeout")
        if raises is not None:
            raise raises


class Product:
    """A product that is idempotent on its key, as the contract wants; says what `says` says.

    One that takes longer than it may has its effect all the same: the late yes.
    """

    def __init__(self, clock: HandClock, trace: list[str], pause: Hook) -> None:
        self._clock = clock
        self._trace = trace
        self._pause = pause
        self.says: Authorized | AuthorizeFailed = Authorized(
            decision="allow", display_message="Approved", reference_id="wal_1", ttl_seconds=30
        )
        self.takes_s = 0.0
        self.calls: list[AuthorizeCall] = []
        self.charged: set[str] = set()
        self.before: Hook | None = None
        """Runs once, when the call has left us and not arrived."""
        self.after: Hook | None = None
        """Runs once, when the product has acted and nobody has heard of it."""

    async def authorize(self, call: AuthorizeCall) -> Authorized:
        self.calls.append(call)
        self._trace.append("asked the product")
        await self._pause()
        before, self.before = self.before, None
        if before is not None:
            await before()
        self._clock.advance(min(self.takes_s, call.deadline_s))
        if isinstance(self.says, AuthorizeFailed):
            raise self.says
        if self.says.decision == "allow":
            self.charged.add(call.idempotency_key)
        after, self.after = self.after, None
        if after is not None:
            await after()
        if self.takes_s > call.deadline_s:
            raise AuthorizeFailed("authorize_timeout", reached=True, detail="no answer in time")
        return self.says
