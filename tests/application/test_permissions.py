"""Who may do what, written out a second time: the whole table against the code (003 §3.2, §3.4)."""

from typing import get_args

import pytest

from application.permissions import (
    DEVICE_OPERATIONS,
    SCOPES,
    DeviceOperation,
    Permission,
    require,
    require_device,
)
from application.principals import IntegratorPrincipal
from domain.device import DeviceType
from domain.errors import Forbidden
from domain.ids import OAuthClientId
from tests.spec import CORRELATION, STREAM, TENANT

PERMISSIONS: tuple[Permission, ...] = get_args(Permission)
DEVICE_TYPES: tuple[DeviceType, ...] = get_args(DeviceType)
OPERATIONS: tuple[DeviceOperation, ...] = get_args(DeviceOperation)

OPENS: dict[str, set[Permission]] = {
    "linked_services:read": {"linked_services.read"},
    "linked_services:write": {"linked_services.read", "linked_services.write"},
    "devices:read": {"devices.read"},
    "devices:write": {"devices.read", "devices.write"},
    "transactions:read": {"transactions.read"},
    "users:read": {"users.read"},
    "palms:write": {"palms.write"},
    "verifications:read": {"verifications.read"},
    "verifications:write": {"verifications.read", "verifications.write"},
    "identifications:read": {"identifications.read"},
    "identifications:write": {"identifications.read", "identifications.write"},
    "enrollments:read": {"enrollments.read"},
    "audit:read": {"audit.read"},
    "tenant:read": {"tenant.read"},
    "match_policies:evaluate": {"match_policies.evaluate"},
    "webhooks:read": {"webhooks.read"},
    "webhooks:write": {"webhooks.read", "webhooks.write"},
    "dsr:read": {"dsr.read"},
    "dsr:write": {"dsr.read", "dsr.write"},
    "oauth_clients:read": {"oauth_clients.read"},
    "oauth_clients:write": {"oauth_clients.read", "oauth_clients.write"},
}

MAY: dict[DeviceType, set[DeviceOperation]] = {
    "pos": {"transact", "sign_up", "consent", "enroll"},
    "gate": {"transact", "sign_up", "consent", "enroll"},
    "kiosk": {"transact", "sign_up", "consent", "enroll"},
    "personal_scanner": set(),
}


def integrator(*scopes: str) -> IntegratorPrincipal:
    return IntegratorPrincipal(
        tenant_id=TENANT,
        actor="client:cli_1",
        correlation_id=CORRELATION,
        client_id=OAuthClientId(STREAM),
        scopes=frozenset(scopes),
    )


def test_the_table_knows_every_scope_and_every_permission() -> None:
    assert set(SCOPES) == set(OPENS)
    assert set().union(*SCOPES.values()) == set(PERMISSIONS)
    assert set(DEVICE_OPERATIONS) == set(DEVICE_TYPES) == set(MAY)
    assert set().union(*DEVICE_OPERATIONS.values()) == set(OPERATIONS)


@pytest.mark.parametrize("permission", PERMISSIONS)
@pytest.mark.parametrize("scope", OPENS)
def test_a_scope_opens_what_it_says_and_nothing_else(scope: str, permission: Permission) -> None:
    if permission in OPENS[scope]:
        require(integrator(scope), permission)
        return
    with pytest.raises(Forbidden) as raised:
        require(integrator(scope), permission)
    assert (raised.value.code, raised.value.detail) == (
        "insufficient_scope",
        f"this needs {permission}",
    )


@pytest.mark.parametrize("permission", PERMISSIONS)
def test_scopes_add_up_and_unknown_ones_open_nothing(permission: Permission) -> None:
    require(integrator(*OPENS), permission)
    for scopes in ((), ("everything",), ("*",), (permission,), ("",)):
        with pytest.raises(Forbidden, match="insufficient_scope"):
            require(integrator(*scopes), permission)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("device_type", DEVICE_TYPES)
def test_a_device_does_what_its_type_may(
    device_type: DeviceType, operation: DeviceOperation
) -> None:
    if operation in MAY[device_type]:
        require_device(device_type, operation)
        return
    with pytest.raises(Forbidden) as raised:
        require_device(device_type, operation)
    assert raised.value.code == "device_type_not_allowed"
