"""Who is asking, as far as the edge could prove it, and in which request."""

from collections.abc import Set
from datetime import datetime
from uuid import UUID, uuid5

import msgspec

from domain.events import Origin
from domain.ids import ApprovalId, DeviceId, OAuthClientId, TenantId, UserId, UserSessionId, wire


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """The part that every principal shares: the tenant wall, a name for the log, the request.

    `approval_id` is what somebody else agreed to, for a request that takes two people.
    """

    tenant_id: TenantId
    actor: str
    correlation_id: UUID
    approval_id: ApprovalId | None = None

    @property
    def needs_another(self) -> bool:
        """Whether what destroys takes an approval of this caller's."""
        return False

    def origin(self, command_id: UUID) -> Origin:
        return Origin(actor=self.actor, correlation_id=self.correlation_id, command_id=command_id)

    def command(self, operation: str, key: str | None, fresh: UUID) -> UUID:
        """The command's id: derived from the caller's idempotency key, or fresh without one."""
        if key is None:
            return fresh
        return uuid5(self.tenant_id, f"command:{self.actor}:{operation}:{key}")


class DevicePrincipal(Caller, frozen=True, kw_only=True):
    """A device, by the certificate of this very connection (003 §3.7)."""

    device_id: DeviceId
    fingerprint: str


class IntegratorPrincipal(Caller, frozen=True, kw_only=True):
    """An integrator's backend, by its access token."""

    client_id: OAuthClientId
    scopes: Set[str]


class UserPrincipal(Caller, frozen=True, kw_only=True):
    """A person, by the access token of a session that is open (003 §3.5)."""

    user_id: UserId
    session_id: UserSessionId
    authenticated_at: datetime
    key_thumbprint: str | None = None


def operator(tenant_id: TenantId, correlation_id: UUID) -> Caller:
    """Whoever runs the command line on the platform's own machine."""
    return Caller(tenant_id=tenant_id, actor="operator:cli", correlation_id=correlation_id)


def device_actor(device_id: DeviceId) -> str:
    return f"device:{wire('dev', device_id)}"


def client_actor(client_id: OAuthClientId) -> str:
    return f"client:{wire('cli', client_id)}"


def user_actor(user_id: UserId) -> str:
    return f"user:{wire('usr', user_id)}"
