"""Who is asking, as far as the edge could prove it, and in which request."""

from collections.abc import Set
from datetime import datetime
from typing import Literal
from uuid import UUID, uuid5

import msgspec

from domain.events import Origin
from domain.ids import (
    ApprovalId,
    DeviceId,
    OAuthClientId,
    OperatorId,
    OperatorSessionId,
    TenantId,
    UserId,
    UserSessionId,
    wire,
)
from domain.operator import Role

SetupStep = Literal["change_password", "enroll_second_factor"]
"""What a console person has to do before anything else."""


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


class IntegratorPrincipal(Caller, frozen=True, kw_only=True, tag=True):
    """An integrator's backend, by its access token."""

    client_id: OAuthClientId
    scopes: Set[str]


class UserPrincipal(Caller, frozen=True, kw_only=True):
    """A person, by the access token of a session that is open (003 §3.5)."""

    user_id: UserId
    session_id: UserSessionId
    authenticated_at: datetime
    key_thumbprint: str | None = None


class OperatorPrincipal(Caller, frozen=True, kw_only=True, tag=True):
    """A console person, by the token of a session that is open (003 §3.7).

    `tenant_id` is where they act, `home` whose person they are: for a Platform Admin who names a
    tenant the two differ. While something is `pending` they may do that and nothing else.
    """

    operator_id: OperatorId
    session_id: OperatorSessionId
    authenticated_at: datetime
    home: TenantId
    role: Role
    pending: tuple[SetupStep, ...] = ()

    @property
    def needs_another(self) -> bool:
        return True


Manager = IntegratorPrincipal | OperatorPrincipal
"""Who manages what a tenant has: its backend, or a console person. Their tags tell them apart where
a handler is given one."""


def operator(tenant_id: TenantId, correlation_id: UUID) -> Caller:
    """Whoever runs the command line on the platform's own machine."""
    return Caller(tenant_id=tenant_id, actor="operator:cli", correlation_id=correlation_id)


def device_actor(device_id: DeviceId) -> str:
    return f"device:{wire('dev', device_id)}"


def operator_actor(operator_id: OperatorId) -> str:
    return f"operator:{wire('opr', operator_id)}"


def is_operator_actor(actor: str) -> bool:
    """Whether this is the name of a console person; whoever has the command line is none."""
    return actor.startswith("operator:opr_")


def client_actor(client_id: OAuthClientId) -> str:
    return f"client:{wire('cli', client_id)}"


def user_actor(user_id: UserId) -> str:
    return f"user:{wire('usr', user_id)}"
