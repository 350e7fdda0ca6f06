"""Who is let in while there is much to do: early refusals instead of late answers.

Three bounds, all counted in memory. A listener runs so many requests at a time. When the process
falls behind its own work, nobody new is let in until it has caught up. And of what runs, one tenant
has at most its share, so that one whose product hangs leaves room for the others (reference
reliability.md §5, 14).
"""

import time
from collections.abc import Generator, MutableMapping
from contextlib import contextmanager
from typing import Any, Final, Protocol
from uuid import UUID

from domain.errors import TooMany
from interfaces.http.bare_answers import ASGIApp, Scope, Send, give_problem

LATE_S: Final = 0.25
"""How late the event loop may be all the time before nobody new is let in."""

AT_EASE: Final = 32
"""With fewer requests than this running it is not they who make the process late."""

BEGAN: Final = "link_began"
"""Where a request's state says when it came in, by `time.perf_counter`."""

_TENANT: Final = "link_tenant"
_ADMITTED_BY: Final = "link_admitted_by"
_RETRY: Final = ((b"retry-after", b"1"),)


class Lateness(Protocol):
    @property
    def sustained_s(self) -> float:
        """By how much the event loop was late at the best moment of the last second."""
        ...


class Traffic(Protocol):
    """Is told what became of requests."""

    def answered(self, operation: str, status: int, code: str | None, seconds: float) -> None:
        """An answer began: `code` for a refusal, `seconds` since the request came in."""
        ...

    def turned_away(self, why: str) -> None: ...


class TenantPlaces:
    """How many requests of each tenant run in this process.

    A tenant has at most half of the places. Once three quarters are taken, a tenant that has its
    part of them already gets no more: an even one, for all who are here and one who may come.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._share = max(1, places // 2)
        self._crowded = places * 3 // 4
        self._held: dict[UUID, int] = {}
        self._taken = 0

    def enter(self, tenant_id: UUID, state: MutableMapping[str, Any]) -> None:
        """Take a place, to be given back by `leave`. Raises TooMany (`tenant_at_capacity`)."""
        held = self._held.get(tenant_id, 0)
        tenants = len(self._held) + (held == 0)
        crowded = self._taken >= self._crowded and held * (tenants + 1) >= self._places
        if crowded or held >= self._share:
            raise TooMany("tenant_at_capacity", "too many requests are running", retry_after_s=1)
        self._held[tenant_id] = held + 1
        self._taken += 1
        state[_TENANT] = tenant_id

    def leave(self, state: MutableMapping[str, Any]) -> None:
        """Give back what the request has taken, if it has."""
        tenant_id = state.pop(_TENANT, None)
        if tenant_id is None:
            return
        self._taken -= 1
        held = self._held[tenant_id] - 1
        if held:
            self._held[tenant_id] = held
        else:
            del self._held[tenant_id]


class Admission:
    """In front of one listener's application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        requests_max: int,
        places: TenantPlaces,
        lateness: Lateness,
        traffic: Traffic,
    ) -> None:
        self._app = app
        self._requests_max = requests_max
        self._places = places
        self._lateness = lateness
        self._traffic = traffic
        self.running = 0

    async def __call__(self, scope: Scope, receive: Any, send: Send) -> None:
        if self.running >= self._requests_max:
            self._traffic.turned_away("full")
            await give_problem(send, 503, "overloaded", _RETRY)
            return
        if self.running >= AT_EASE and self._lateness.sustained_s > LATE_S:
            self._traffic.turned_away("late")
            await give_problem(send, 503, "overloaded", _RETRY)
            return
        state: MutableMapping[str, Any] = scope["state"]
        state[BEGAN] = time.perf_counter()
        state[_ADMITTED_BY] = self
        self.running += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self.running -= 1
            self._places.leave(state)


@contextmanager
def waiting(state: MutableMapping[str, Any], places: TenantPlaces) -> Generator[None]:
    """A request that only waits for something to happen takes nobody's place meanwhile.

    How many may wait is bounded where they do (`infrastructure/bells.py`).
    """
    places.leave(state)
    admission: Admission | None = state.get(_ADMITTED_BY)
    if admission is None:
        yield
        return
    admission.running -= 1
    try:
        yield
    finally:
        admission.running += 1
