"""The one guard that every way in asks before it looks at anything (reference identity.md §9).

Tries are counted before they are made, so that none of many at once slips past. The narrow budgets
run out first: somebody who guesses at a person from one place locks that place out, and the person
still comes in from elsewhere. What fails is counted for the network and for the whole tenant too,
which stops guesses that are spread over many people (reference reliability.md §5.1). A tenant in
which much fails stays open to networks from which little does: nobody can lock it up for others.
The console's people and the tenant's users are counted apart.
"""

from typing import Final
from uuid import UUID

import msgspec

from application.execute import stream_of
from application.ports import RateLimiter, Streams
from application.principals import Caller, UserPrincipal
from domain import tenant as t
from domain.errors import Forbidden, NotFound, TooMany
from domain.ids import TenantId

PER_ADDRESS: Final = (300, 300)
PER_INSTALLATION: Final = (30, 900)
PER_TARGET: Final = (40, 3600)
TOKEN_FAILURES_PER_ADDRESS: Final = (60, 300)
FAILURES_PER_NETWORK: Final = (100, 600)
FAILURES_PER_TENANT: Final = (600, 600)
FIRST_FAILURES: Final = (5, 600)
"""What a network may still get wrong while the tenant's failures are used up."""

_tenant: Final = stream_of(t.TenantCreated, t.rebuild)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody at the door: of which tenant, from which network, with which installation.

    `key_thumbprint` is of the key that the installation has just proved, if it wants the session
    bound to it (RFC 9449).
    """

    tenant_id: TenantId
    address: str
    installation: str
    correlation_id: UUID
    key_thumbprint: str | None = None

    def caller(self) -> Caller:
        """Whom the log names until we know who it is."""
        return Caller(
            tenant_id=self.tenant_id, actor="user:unknown", correlation_id=self.correlation_id
        )


def entry_of(person: UserPrincipal, address: str) -> Entry:
    """A person who is in already: the session stands for its installation."""
    return Entry(
        tenant_id=person.tenant_id,
        address=address,
        installation=str(person.session_id),
        correlation_id=person.correlation_id,
    )


class SignInGuard:
    def __init__(self, streams: Streams, limiter: RateLimiter) -> None:
        self._streams = streams
        self._limiter = limiter

    async def admit(
        self, entry: Entry, method: t.AuthMethod | None, target: str | None
    ) -> t.Tenant:
        """The tenant, for one more try by this method at `target`, an address or a token.

        Raises TooMany (`rate_limited`), NotFound (`tenant_not_found`) and Forbidden
        (`tenant_suspended`, `auth_method_disabled`).
        """
        await self._count("sign_in.address", entry.address, PER_ADDRESS)
        here = f"{entry.tenant_id}:{entry.installation}"
        await self._count("sign_in.installation", here, PER_INSTALLATION)
        tenant = await self._streams.state(entry.tenant_id, entry.tenant_id, t.rebuild)
        if tenant is None:
            raise NotFound("tenant_not_found")
        t.serve(tenant)
        settings = tenant.settings
        if method is not None and method not in settings.auth_methods:
            raise Forbidden("auth_method_disabled", "this tenant does not let people in so")
        if target is not None:
            await self._count_target(settings, f"{entry.tenant_id}:{target}", entry.address)
        await self._check_failures(str(entry.tenant_id), entry.address)
        return tenant

    async def admit_operator(
        self, tenant_id: TenantId, address: str, target: str | None
    ) -> t.Tenant | None:
        """The tenant, none for the platform itself, for one more try at a console person; `target`
        is whom it is at, whether or not there is anybody, and None before that is known. Raises
        TooMany (`rate_limited`) and Forbidden (`tenant_suspended`)."""
        await self._count("sign_in.address", address, PER_ADDRESS)
        tenant = await self._streams.state(tenant_id, tenant_id, _tenant)
        if tenant is not None:
            t.serve(tenant)
        settings = t.TenantSettings() if tenant is None else tenant.settings
        if target is not None:
            await self._count_target(settings, f"{tenant_id}:operator:{target}", address)
        await self._check_failures(_console(tenant_id), address)
        return tenant

    async def failed(self, tenant_id: TenantId, address: str) -> None:
        """Count a try at a user that proved nothing."""
        await self._count_failure(str(tenant_id), address)

    async def failed_operator(self, tenant_id: TenantId, address: str) -> None:
        """Count a try at a console person that proved nothing."""
        await self._count_failure(_console(tenant_id), address)

    async def admit_token(self, address: str) -> None:
        """Whoever shows a refresh token. Only what is refused is counted: behind one address there
        may be a whole mobile network. Raises TooMany (`rate_limited`)."""
        limit, per_s = TOKEN_FAILURES_PER_ADDRESS
        if not await self._limiter.room(
            "sign_in.token_failures", address, limit=limit, per_s=per_s
        ):
            raise TooMany("rate_limited", retry_after_s=per_s)

    async def failed_token(self, address: str) -> None:
        limit, per_s = TOKEN_FAILURES_PER_ADDRESS
        await self._limiter.hit("sign_in.token_failures", address, limit=limit, per_s=per_s)

    async def _count_target(self, settings: t.TenantSettings, whom: str, address: str) -> None:
        lockout = (settings.lockout_attempts, settings.lockout_s)
        await self._count("sign_in.target_here", f"{whom}:{address}", lockout)
        await self._count("sign_in.target", whom, PER_TARGET)

    async def _count_failure(self, door: str, address: str) -> None:
        here = f"{door}:{address}"
        limit, per_s = FAILURES_PER_TENANT
        await self._limiter.hit("sign_in.tenant_failures", door, limit=limit, per_s=per_s)
        limit, per_s = FAILURES_PER_NETWORK
        await self._limiter.hit("sign_in.network_failures", here, limit=limit, per_s=per_s)
        limit, per_s = FIRST_FAILURES
        await self._limiter.hit("sign_in.first_failures", here, limit=limit, per_s=per_s)

    async def _check_failures(self, door: str, address: str) -> None:
        here = f"{door}:{address}"
        limit, per_s = FAILURES_PER_NETWORK
        if not await self._limiter.room("sign_in.network_failures", here, limit=limit, per_s=per_s):
            raise TooMany("rate_limited", retry_after_s=per_s)
        limit, per_s = FAILURES_PER_TENANT
        if await self._limiter.room("sign_in.tenant_failures", door, limit=limit, per_s=per_s):
            return
        limit, per_s = FIRST_FAILURES
        if not await self._limiter.room("sign_in.first_failures", here, limit=limit, per_s=per_s):
            raise TooMany("rate_limited", retry_after_s=per_s)

    async def _count(self, budget: str, key: str, allowed: tuple[int, int]) -> None:
        limit, per_s = allowed
        if not await self._limiter.hit(budget, key, limit=limit, per_s=per_s):
            raise TooMany("rate_limited", retry_after_s=per_s)


def _console(tenant_id: TenantId) -> str:
    return f"{tenant_id}:console"
