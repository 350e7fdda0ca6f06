"""What may be done by whom: one table, read by every route and by the tests (003 §3.4, §3.7)."""

from collections.abc import Set
from typing import Final, Literal, get_args

from application.principals import Caller, IntegratorPrincipal, Manager, OperatorPrincipal
from domain.device import Device, DeviceType
from domain.errors import Forbidden
from domain.operator import Role

Permission = Literal[
    "linked_services.read",
    "linked_services.write",
    "devices.read",
    "devices.write",
    "transactions.read",
    "transactions.simulate",
    "users.read",
    "users.write",
    "users.look_up",
    "palms.write",
    "verifications.read",
    "verifications.write",
    "identifications.read",
    "identifications.write",
    "enrollments.read",
    "enrollments.write",
    "challenges.read",
    "challenges.write",
    "audit.read",
    "tenant.read",
    "tenant.write",
    "tenants.read",
    "tenants.write",
    "match_policies.evaluate",
    "webhooks.read",
    "webhooks.write",
    "consents.read",
    "consents.write",
    "dsr.read",
    "dsr.write",
    "oauth_clients.read",
    "oauth_clients.write",
    "device_ca.read",
    "device_ca.write",
    "server_certificate.read",
    "server_certificate.write",
    "approvals.read",
    "approvals.write",
    "operators.read",
    "operators.write",
]

SCOPES: Final[dict[str, frozenset[Permission]]] = {
    "linked_services:read": frozenset({"linked_services.read"}),
    "linked_services:write": frozenset({"linked_services.read", "linked_services.write"}),
    "devices:read": frozenset({"devices.read"}),
    "devices:write": frozenset({"devices.read", "devices.write"}),
    "transactions:read": frozenset({"transactions.read"}),
    "transactions:simulate": frozenset({"transactions.read", "transactions.simulate"}),
    "users:read": frozenset({"users.read"}),
    "users:write": frozenset({"users.read", "users.write"}),
    "users:lookup": frozenset({"users.look_up"}),
    "palms:write": frozenset({"palms.write"}),
    "verifications:read": frozenset({"verifications.read"}),
    "verifications:write": frozenset({"verifications.read", "verifications.write"}),
    "identifications:read": frozenset({"identifications.read"}),
    "identifications:write": frozenset({"identifications.read", "identifications.write"}),
    "enrollments:read": frozenset({"enrollments.read"}),
    "enrollments:write": frozenset({"enrollments.read", "enrollments.write", "challenges.read"}),
    "challenges:read": frozenset({"challenges.read"}),
    "challenges:write": frozenset({"challenges.read", "challenges.write"}),
    "audit:read": frozenset({"audit.read"}),
    "tenant:read": frozenset({"tenant.read"}),
    "tenant:write": frozenset({"tenant.read", "tenant.write"}),
    "tenants:read": frozenset({"tenants.read"}),
    "tenants:write": frozenset({"tenants.read", "tenants.write"}),
    "match_policies:evaluate": frozenset({"match_policies.evaluate"}),
    "webhooks:read": frozenset({"webhooks.read"}),
    "webhooks:write": frozenset({"webhooks.read", "webhooks.write"}),
    "consents:read": frozenset({"consents.read"}),
    "consents:write": frozenset({"consents.read", "consents.write"}),
    "dsr:read": frozenset({"dsr.read"}),
    "dsr:write": frozenset({"dsr.read", "dsr.write"}),
    "oauth_clients:read": frozenset({"oauth_clients.read"}),
    "oauth_clients:write": frozenset({"oauth_clients.read", "oauth_clients.write"}),
    "device_ca:read": frozenset({"device_ca.read"}),
    "device_ca:write": frozenset({"device_ca.read", "device_ca.write"}),
    "server_certificate:read": frozenset({"server_certificate.read"}),
    "server_certificate:write": frozenset({"server_certificate.read", "server_certificate.write"}),
    "approvals:read": frozenset({"approvals.read"}),
    "approvals:write": frozenset({"approvals.read", "approvals.write"}),
}
"""OAuth scope → what it opens. A client asks for scopes, a route asks for one permission."""

PEOPLE_ONLY: Final[frozenset[Permission]] = frozenset({"operators.read", "operators.write"})
"""Behind no scope: who may come into the console is not for a program to say."""

PROGRAMS_ONLY: Final[frozenset[Permission]] = frozenset(
    {"verifications.write", "identifications.write"}
)
"""Of no role: a palm is shown to a backend, and never typed into a console."""

PLATFORM_ONLY: Final[frozenset[Permission]] = frozenset(
    {
        "tenants.read",
        "tenants.write",
        "device_ca.read",
        "device_ca.write",
        "server_certificate.read",
        "server_certificate.write",
    }
)
"""Of Platform Admins alone (003 §3.4: tenants, platform CA, server certificate)."""

_EVERYTHING: Final[frozenset[Permission]] = frozenset(get_args(Permission))

ROLES: Final[dict[Role, frozenset[Permission]]] = {
    "platform_admin": _EVERYTHING - PROGRAMS_ONLY,
    "tenant_admin": _EVERYTHING - PROGRAMS_ONLY - PLATFORM_ONLY,
    "tenant_operator": frozenset(
        {
            "approvals.read",
            "audit.read",
            "consents.read",
            "devices.read",
            "dsr.read",
            "enrollments.read",
            "identifications.read",
            "linked_services.read",
            "operators.read",
            "tenant.read",
            "transactions.read",
            "users.look_up",
            "users.read",
            "verifications.read",
            "webhooks.read",
        }
    ),
}
"""Role → what it opens (003 §3.4, extended by what the seed has no line for: broker.md §8 row 8).

Of a tenant, its own; a Platform Admin names the tenant (`Link-Tenant`) for all but `PLATFORM_WIDE`.
"""

_OF_EVERYBODY: Final[frozenset[Permission]] = frozenset(
    {
        "approvals.read",
        "approvals.write",
        "audit.read",
        "oauth_clients.read",
        "oauth_clients.write",
        "operators.read",
        "operators.write",
    }
)
PLATFORM_WIDE: Final[frozenset[Permission]] = PLATFORM_ONLY | _OF_EVERYBODY
"""What the platform itself has: its own people, clients, approvals and audit."""

DeviceOperation = Literal[
    "transact",
    "sign_up",
    "consent",
    "enroll",
    "journal",
    "heartbeat",
    "renew",
    "poll_challenges",
    "answer_challenge",
]

_AT_A_COUNTER: Final[frozenset[DeviceOperation]] = frozenset(
    {
        "transact",
        "sign_up",
        "consent",
        "enroll",
        "journal",
        "heartbeat",
        "renew",
        "answer_challenge",
    }
)
DEVICE_OPERATIONS: Final[dict[DeviceType, frozenset[DeviceOperation]]] = {
    "pos": _AT_A_COUNTER,
    "gate": _AT_A_COUNTER,
    "kiosk": _AT_A_COUNTER,
    "personal_scanner": frozenset({"heartbeat", "renew", "poll_challenges", "answer_challenge"}),
}
"""Device type → what such a device may call (003 §3.2)."""

WHILE_LOCKED: Final[frozenset[DeviceOperation]] = frozenset({"journal", "heartbeat", "renew"})
"""What a locked device, and one whose tenant is suspended, may still do: say what became of its
answers, hear that it is free, and stay a device of ours until then."""

PLATFORM_SCOPES: Final = frozenset({"tenants:read", "tenants:write"})
"""Worth something to clients of the platform itself only: for others, no other tenant is there."""


FOR_PEOPLE_TO_SAY: Final[frozenset[Permission]] = frozenset({"approvals.write"})
"""What no console person hands on: with a client of their own they would agree with themselves."""


def grantable(caller: Caller) -> Set[str]:
    """The scopes that a caller may hand on to a client: a backend those that it holds itself, a
    console person those that open nothing else (but for `FOR_PEOPLE_TO_SAY`), whoever runs the
    platform's own command line all, and nobody else any."""
    if isinstance(caller, IntegratorPrincipal):
        return caller.scopes
    if isinstance(caller, OperatorPrincipal):
        held = (ROLES[caller.role] | PROGRAMS_ONLY) - FOR_PEOPLE_TO_SAY
        return {scope for scope, opens in SCOPES.items() if opens <= held}
    return SCOPES.keys() if type(caller) is Caller else frozenset()


def may(principal: Manager, permission: Permission) -> bool:
    if isinstance(principal, OperatorPrincipal):
        return permission in ROLES[principal.role]
    return any(permission in SCOPES.get(scope, frozenset()) for scope in principal.scopes)


def require(principal: Manager, permission: Permission) -> None:
    """Raises Forbidden (`insufficient_scope`, RFC 6750 §3.1), for a role that lacks it too."""
    if not may(principal, permission):
        raise Forbidden("insufficient_scope", f"this needs {permission}")


def check_may(caller: Caller, permission: Permission) -> None:
    """The same of any caller: whoever runs the platform's own command line may do everything, and
    devices and users nothing of it. Raises Forbidden (`insufficient_scope`)."""
    if isinstance(caller, IntegratorPrincipal | OperatorPrincipal):
        require(caller, permission)
    elif type(caller) is not Caller:
        raise Forbidden("insufficient_scope", f"this needs {permission}")


def require_device(device: Device, operation: DeviceOperation, *, served: bool) -> None:
    """`served` says whether its tenant is. Raises Forbidden (`device_type_not_allowed`,
    `tenant_suspended`, `device_locked`)."""
    if operation not in DEVICE_OPERATIONS[device.registered.type]:
        raise Forbidden("device_type_not_allowed")
    if not served and operation not in WHILE_LOCKED:
        raise Forbidden("tenant_suspended", "whoever runs the platform has suspended this tenant")
    if device.locked and operation not in WHILE_LOCKED:
        raise Forbidden("device_locked", "whoever runs the device has locked it")
