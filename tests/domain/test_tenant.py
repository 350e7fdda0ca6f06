"""A tenant is created once and changes its settings by whole sets."""

from datetime import timedelta

import msgspec
import pytest

from domain.errors import Conflict, Forbidden, Invalid
from domain.events import DomainEvent
from domain.folding import UnexpectedEvent
from domain.matching import MatchPolicy
from domain.tenant import (
    TenantSettings,
    change_settings,
    create,
    finish_deletion,
    note_data_destroyed,
    rebuild,
    resume,
    serve,
    start_deletion,
    suspend,
)
from domain.tenant_settings import RetentionPolicy, retention_policy
from tests.builders import (
    claim_taken,
    tenant_created,
    tenant_data_destroyed,
    tenant_deleted,
    tenant_deletion_started,
    tenant_resumed,
    tenant_settings_changed,
    tenant_suspended,
)
from tests.spec import STREAM, given, recorded

DEFAULTS = TenantSettings()


def settings_with(**changes: object) -> TenantSettings:
    return msgspec.structs.replace(DEFAULTS, **changes)


def test_a_tenant_is_created_with_its_name_and_its_namespace_at_the_vendor() -> None:
    given(rebuild).when(create, name="  Link Holdings ", tenant_key="k7q2zm9xp4").then(
        tenant_created(name="Link Holdings", tenant_key="k7q2zm9xp4")
    )


@pytest.mark.parametrize(
    "name",
    [
        "",
        "   ",
        "x" * 81,
        "Link\nHoldings",
        "Link\x00",
        "Link\u202eHoldings",
        "Link\ud800",
        "\u00a0",
    ],
)
def test_a_tenant_needs_a_name_that_people_can_read(name: str) -> None:
    given(rebuild).when(create, name=name, tenant_key="k").then_refused(
        Invalid, "tenant_name_invalid"
    )


def test_a_name_of_eighty_characters_is_long_enough_for_anybody() -> None:
    given(rebuild).when(create, name="ب" * 80, tenant_key="k").then(
        tenant_created(name="ب" * 80, tenant_key="k")
    )


def test_creating_a_tenant_twice_changes_nothing() -> None:
    given(rebuild, tenant_created()).when(create, name="Another", tenant_key="z").then_nothing()


def test_changed_settings_are_recorded_whole_with_the_names_of_what_changed() -> None:
    settings = settings_with(consent_required=False, access_token_s=300)
    given(rebuild, tenant_created()).when(change_settings, settings).then(
        tenant_settings_changed(settings=settings, changed=("consent_required", "access_token_s"))
    )


def test_the_same_settings_again_change_nothing() -> None:
    settings = settings_with(kyc_required=True)
    given(
        rebuild,
        tenant_created(),
        tenant_settings_changed(settings=settings, changed=("kyc_required",)),
    ).when(change_settings, settings).then_nothing()


def test_a_changed_match_policy_gets_the_next_policy_version() -> None:
    stricter = settings_with(match_policy=MatchPolicy(version=1, margin=0.2))
    given(rebuild, tenant_created()).when(change_settings, stricter).then(
        tenant_settings_changed(
            settings=settings_with(match_policy=MatchPolicy(version=2, margin=0.2)),
            changed=("match_policy",),
        )
    )


def test_the_caller_does_not_count_policy_versions() -> None:
    given(rebuild, tenant_created()).when(
        change_settings, settings_with(match_policy=MatchPolicy(version=99))
    ).then_nothing()


@pytest.mark.parametrize(
    "settings",
    [
        settings_with(session_idle_days=31, session_days=30),
        settings_with(auth_methods=("otp_sms", "otp_sms")),
        settings_with(allowed_countries=("SA", "AE", "SA")),
    ],
)
def test_settings_that_contradict_themselves_are_refused(settings: TenantSettings) -> None:
    given(rebuild, tenant_created()).when(change_settings, settings).then_refused(
        Invalid, "settings_invalid"
    )


@pytest.mark.parametrize(
    ("changes", "sessions", "texts"),
    [
        ({}, 30, None),
        ({"session_record_days": 1, "product_text_days": 1}, 1, timedelta(days=1)),
        ({"session_record_days": 365, "product_text_days": 3650}, 365, timedelta(days=3650)),
    ],
)
def test_what_is_kept_is_kept_for_the_days_that_the_tenant_says(
    changes: dict[str, int], sessions: int, texts: timedelta | None
) -> None:
    settings = msgspec.convert(changes, TenantSettings)
    assert retention_policy(settings) == RetentionPolicy(
        session_records=timedelta(days=sessions), product_texts=texts
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"session_record_days": 0},
        {"session_record_days": 366},
        {"product_text_days": -1},
        {"product_text_days": 3651},
    ],
)
def test_days_out_of_bounds_are_no_settings(changes: dict[str, int]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(changes, TenantSettings)


def test_a_tenant_remembers_what_happened_to_it() -> None:
    changed = tenant_settings_changed()
    tenant = rebuild(recorded(tenant_created(name="Nafsi", tenant_key="n"), changed))
    assert tenant is not None
    assert (tenant.id, tenant.version, tenant.name, tenant.tenant_key) == (STREAM, 2, "Nafsi", "n")
    assert (tenant.settings, tenant.status) == (changed.settings, "active")


@pytest.mark.parametrize("stray", [claim_taken(), tenant_settings_changed()])
def test_a_stream_that_does_not_begin_with_a_tenant_is_no_tenant(stray: DomainEvent) -> None:
    with pytest.raises(UnexpectedEvent):
        rebuild(recorded(stray))


SUSPENDED = (tenant_created(), tenant_suspended())
LEAVING = (*SUSPENDED, tenant_deletion_started())


def test_a_tenant_is_suspended_once_and_resumed_once() -> None:
    given(rebuild, tenant_created()).when(suspend, "unpaid").then(tenant_suspended())
    given(rebuild, *SUSPENDED).when(suspend, "abuse").then_nothing()
    given(rebuild, *SUSPENDED).when(resume).then(tenant_resumed())
    given(rebuild, tenant_created()).when(resume).then_nothing()


@pytest.mark.parametrize(
    ("since", "served"),
    [
        ((), True),
        ((tenant_suspended(),), False),
        ((tenant_suspended(), tenant_resumed()), True),
        ((tenant_suspended(), tenant_deletion_started()), False),
    ],
)
def test_only_an_active_tenant_is_served(since: tuple[DomainEvent, ...], served: bool) -> None:
    tenant = rebuild(recorded(tenant_created(), *since))
    assert tenant is not None
    if served:
        serve(tenant)
        return
    with pytest.raises(Forbidden, match="tenant_suspended"):
        serve(tenant)


def test_only_a_suspended_tenant_is_deleted_and_step_by_step() -> None:
    given(rebuild, tenant_created()).when(start_deletion).then_refused(
        Conflict, "tenant_not_suspended"
    )
    given(rebuild, *SUSPENDED).when(start_deletion).then(tenant_deletion_started())
    given(rebuild, *SUSPENDED).when(note_data_destroyed).then_nothing()
    given(rebuild, *LEAVING).when(start_deletion).then_nothing()
    given(rebuild, *LEAVING).when(finish_deletion).then_nothing()
    given(rebuild, *LEAVING).when(note_data_destroyed).then(tenant_data_destroyed())
    gone = (*LEAVING, tenant_data_destroyed())
    given(rebuild, *gone).when(note_data_destroyed).then_nothing()
    given(rebuild, *gone).when(finish_deletion).then(tenant_deleted())
    given(rebuild, *gone, tenant_deleted()).when(finish_deletion).then_nothing()


@pytest.mark.parametrize("past", [LEAVING, (*LEAVING, tenant_data_destroyed(), tenant_deleted())])
def test_nothing_brings_a_deleted_tenant_back(past: tuple[DomainEvent, ...]) -> None:
    given(rebuild, *past).when(resume).then_refused(Conflict, "tenant_deleted")
    given(rebuild, *past).when(suspend, "abuse").then_refused(Conflict, "tenant_deleted")
    given(rebuild, *past).when(change_settings, DEFAULTS).then_refused(Conflict, "tenant_deleted")
