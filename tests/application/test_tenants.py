"""A tenant and its settings."""

from typing import Any

import msgspec
import pytest

from domain import tenant as t
from domain.errors import Invalid, NotFound, PreconditionFailed
from domain.matching import MatchPolicy
from tests.application.world import BACKEND, OTHER_TENANT, World
from tests.spec import TENANT

NEWCOMER = msgspec.structs.replace(BACKEND, tenant_id=OTHER_TENANT)


async def test_a_new_tenant_has_the_default_settings_and_a_namespace_of_its_own() -> None:
    world = World()
    tenant = await world.tenants().create(NEWCOMER, " Acme ")
    assert (tenant.id, tenant.name, tenant.settings) == (OTHER_TENANT, "Acme", t.TenantSettings())
    assert len(tenant.tenant_key) == 20
    assert tenant.tenant_key.isalnum()
    assert tenant.tenant_key not in str(OTHER_TENANT)


async def test_a_tenant_is_created_once() -> None:
    world = World()
    first = await world.tenants().create(NEWCOMER, "Acme")
    assert await world.tenants().create(NEWCOMER, "Acme again") == first


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 81])
async def test_a_name_that_nobody_could_read_is_refused(name: str) -> None:
    world = World()
    with pytest.raises(Invalid, match="tenant_name_invalid"):
        await world.tenants().create(NEWCOMER, name)
    with pytest.raises(NotFound, match="tenant_not_found"):
        await world.tenants().get(OTHER_TENANT)


async def test_only_what_is_named_is_changed() -> None:
    world = World()
    world.settings(consent_version="2")
    done = await world.tenants().change_settings(BACKEND, {"kyc_required": True})
    settings = t.TenantSettings(consent_version="2", kyc_required=True)
    assert done.events == [t.TenantSettingsChanged(settings=settings, changed=("kyc_required",))]
    assert (await world.tenants().get(TENANT)).settings == settings


async def test_a_change_to_what_is_so_says_nothing() -> None:
    world = World()
    done = await world.tenants().change_settings(BACKEND, {"kyc_required": False})
    assert (done.events, done.position) == ([], None)


async def test_a_changed_match_policy_is_the_next_version() -> None:
    world = World()
    changes = {"match_policy": {"minimum": [0.9, 0.9, 0.9, 0.9], "margin": 0.1}}
    await world.tenants().change_settings(BACKEND, changes)
    policy = (await world.tenants().get(TENANT)).settings.match_policy
    assert policy == MatchPolicy(version=2, minimum=(0.9, 0.9, 0.9, 0.9), margin=0.1)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"kyc": True}, "kyc"),
        ({"kyc_required": "yes"}, "kyc_required"),
        ({"default_deadline_ms": 499}, "default_deadline_ms"),
        ({"certificate_days": 398}, "certificate_days"),
        ({"palm_model": "medium"}, "palm_model"),
        ({"match_policy": {"margin": 2}}, "match_policy.margin"),
        ({"match_policy": {"marginn": 0.5}}, "marginn"),
        ({"match_policy": {"minimum": [0.9]}}, "match_policy.minimum"),
        ({"match_policy": {"minimum": [0.9, 0.9, 0.9, 1.1]}}, "match_policy.minimum"),
        ({"allowed_countries": ["Saudi Arabia"]}, "allowed_countries"),
        ({"auth_methods": ["otp_sms", "otp_sms"]}, "auth_methods"),
    ],
)
async def test_a_setting_that_makes_no_sense_is_named_and_changes_nothing(
    changes: dict[str, Any], names: str
) -> None:
    world = World()
    with pytest.raises(Invalid) as raised:
        await world.tenants().change_settings(BACKEND, changes)
    assert raised.value.code == "settings_invalid"
    assert names in (raised.value.detail or "")
    assert world.names(TENANT) == ["tenant.created"]


async def test_a_tenant_that_does_not_exist_has_no_settings() -> None:
    world = World()
    with pytest.raises(NotFound, match="tenant_not_found"):
        await world.tenants().change_settings(NEWCOMER, {})


async def test_two_changes_at_once_are_both_kept() -> None:
    world = World()

    async def the_other() -> None:
        await world.tenants().change_settings(BACKEND, {"kyc_required": True})

    world.log.before(t.TenantSettingsChanged, the_other)
    await world.tenants().change_settings(BACKEND, {"consent_version": "2"})
    settings = (await world.tenants().get(TENANT)).settings
    assert (settings.kyc_required, settings.consent_version) == (True, "2")


async def test_a_change_to_settings_that_somebody_else_changed_is_refused() -> None:
    world = World()
    seen = (await world.tenants().get(TENANT)).version
    await world.tenants().change_settings(BACKEND, {"kyc_required": True}, seen)
    with pytest.raises(PreconditionFailed, match="version_mismatch"):
        await world.tenants().change_settings(BACKEND, {"kyc_required": False}, seen)
    assert (await world.tenants().get(TENANT)).settings.kyc_required
