"""Who may do what, written out a second time: the whole table against the code (003 §3.2, §3.4)."""

import re
from pathlib import Path
from typing import get_args

import pytest

from application.permissions import (
    DEVICE_OPERATIONS,
    PEOPLE_ONLY,
    ROLES,
    SCOPES,
    DeviceOperation,
    Permission,
    require,
    require_device,
)
from application.principals import IntegratorPrincipal
from domain.device import Device, DeviceType, rebuild
from domain.errors import Forbidden
from domain.events import DomainEvent
from domain.ids import OAuthClientId
from domain.operator import Role
from tests.builders import device_locked, device_registered
from tests.spec import CORRELATION, STREAM, TENANT, recorded

PERMISSIONS: tuple[Permission, ...] = get_args(Permission)
DEVICE_TYPES: tuple[DeviceType, ...] = get_args(DeviceType)
OPERATIONS: tuple[DeviceOperation, ...] = get_args(DeviceOperation)

OPENS: dict[str, set[Permission]] = {
    "linked_services:read": {"linked_services.read"},
    "linked_services:write": {"linked_services.read", "linked_services.write"},
    "devices:read": {"devices.read"},
    "devices:write": {"devices.read", "devices.write"},
    "transactions:read": {"transactions.read"},
    "transactions:simulate": {"transactions.read", "transactions.simulate"},
    "users:read": {"users.read"},
    "users:write": {"users.read", "users.write"},
    "users:lookup": {"users.look_up"},
    "palms:write": {"palms.write"},
    "verifications:read": {"verifications.read"},
    "verifications:write": {"verifications.read", "verifications.write"},
    "identifications:read": {"identifications.read"},
    "identifications:write": {"identifications.read", "identifications.write"},
    "enrollments:read": {"enrollments.read"},
    "enrollments:write": {"enrollments.read", "enrollments.write", "challenges.read"},
    "challenges:read": {"challenges.read"},
    "challenges:write": {"challenges.read", "challenges.write"},
    "audit:read": {"audit.read"},
    "tenant:read": {"tenant.read"},
    "tenant:write": {"tenant.read", "tenant.write"},
    "device_ca:read": {"device_ca.read"},
    "device_ca:write": {"device_ca.read", "device_ca.write"},
    "server_certificate:read": {"server_certificate.read"},
    "server_certificate:write": {"server_certificate.read", "server_certificate.write"},
    "consents:read": {"consents.read"},
    "consents:write": {"consents.read", "consents.write"},
    "tenants:read": {"tenants.read"},
    "tenants:write": {"tenants.read", "tenants.write"},
    "match_policies:evaluate": {"match_policies.evaluate"},
    "webhooks:read": {"webhooks.read"},
    "webhooks:write": {"webhooks.read", "webhooks.write"},
    "dsr:read": {"dsr.read"},
    "dsr:write": {"dsr.read", "dsr.write"},
    "oauth_clients:read": {"oauth_clients.read"},
    "oauth_clients:write": {"oauth_clients.read", "oauth_clients.write"},
    "approvals:read": {"approvals.read"},
    "approvals:write": {"approvals.read", "approvals.write"},
}

AT_A_COUNTER: set[DeviceOperation] = {
    "transact",
    "sign_up",
    "consent",
    "enroll",
    "journal",
    "heartbeat",
    "renew",
    "answer_challenge",
}
MAY: dict[DeviceType, set[DeviceOperation]] = {
    "pos": AT_A_COUNTER,
    "gate": AT_A_COUNTER,
    "kiosk": AT_A_COUNTER,
    "personal_scanner": {"heartbeat", "renew", "poll_challenges", "answer_challenge"},
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
    assert set().union(*SCOPES.values()) | PEOPLE_ONLY == set(PERMISSIONS)
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
    if permission not in PEOPLE_ONLY:
        require(integrator(*OPENS), permission)
    for scopes in ((), ("everything",), ("*",), (permission,), ("",)):
        with pytest.raises(Forbidden, match="insufficient_scope"):
            require(integrator(*scopes), permission)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("device_type", DEVICE_TYPES)
def test_a_device_does_what_its_type_may(
    device_type: DeviceType, operation: DeviceOperation
) -> None:
    device = a_device(device_type)
    if operation in MAY[device_type]:
        require_device(device, operation, served=True)
        return
    with pytest.raises(Forbidden) as raised:
        require_device(device, operation, served=True)
    assert raised.value.code == "device_type_not_allowed"


@pytest.mark.parametrize("operation", sorted(MAY["pos"]))
def test_a_locked_device_says_how_it_is_and_what_it_showed_and_does_nothing_else(
    operation: DeviceOperation,
) -> None:
    device = a_device("pos", device_locked())
    if operation in ("journal", "heartbeat", "renew"):
        require_device(device, operation, served=True)
        return
    with pytest.raises(Forbidden, match="device_locked"):
        require_device(device, operation, served=True)


@pytest.mark.parametrize("operation", sorted(MAY["pos"]))
def test_a_device_of_a_suspended_tenant_does_what_a_locked_one_may(
    operation: DeviceOperation,
) -> None:
    device = a_device("pos")
    if operation in ("journal", "heartbeat", "renew"):
        require_device(device, operation, served=False)
        return
    with pytest.raises(Forbidden, match="tenant_suspended"):
        require_device(device, operation, served=False)


def a_device(device_type: DeviceType, *since: DomainEvent) -> Device:
    device = rebuild(recorded(device_registered(type=device_type), *since))
    assert device is not None
    return device


def test_the_page_for_console_people_shows_the_table_of_roles() -> None:
    page = (Path(__file__).parents[2] / "docs" / "console.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `([a-z_.]+)` \|(.*)\|$", page, re.MULTILINE))
    for permission in PERMISSIONS:
        shown = [len(cell.strip()) > 1 for cell in rows[permission].split("|")]
        assert shown == [permission in ROLES[role] for role in get_args(Role)], permission
