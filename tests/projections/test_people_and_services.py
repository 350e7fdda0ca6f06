"""People, enrolments, linked services and revoked certificates."""

from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import msgspec

from domain.ids import LinkedServiceId, PalmRef, UserId
from domain.transaction import ShadowVerdict
from projections import enrollments, linked_services, revoked_certificates, users
from tests.builders import (
    DEVICE,
    PALM,
    ROUTING,
    SERVICE,
    USER,
    device_paired,
    device_registered,
    device_revoked,
    enrollment_completed,
    enrollment_failed,
    enrollment_rejected,
    enrollment_started,
    enrollment_template_removal_delayed,
    enrollment_template_removed,
    linked_service_changed,
    linked_service_deleted,
    linked_service_registered,
    linked_service_resumed,
    linked_service_suspended,
    transaction_failed_closed,
    transaction_failed_open,
    user_consent_granted,
    user_consent_withdrawn,
    user_palm_added,
    user_resumed,
    user_signed_up,
    user_suspended,
)
from tests.projections.stage import Stage
from tests.spec import TENANT

SECOND_USER = UserId(UUID("0198c000-0000-7000-8000-0000000000a2"))
SECOND_PALM = PalmRef(UUID("0198c000-0000-7000-8000-0000000000d2"))
SECOND_SERVICE = LinkedServiceId(UUID("0198c000-0000-7000-8000-0000000000c2"))


async def user(stage: Stage) -> users.UserRow:
    await stage.show(users.READ_MODEL)
    async with stage.as_tenant() as connection:
        row = await users.by_id(connection, TENANT, USER)
    assert row is not None
    return row


async def test_a_person_shows_consents_and_palms(stage: Stage) -> None:
    await stage.record(USER, user_signed_up(), user_consent_granted(), user_palm_added())
    row = await user(stage)
    assert (row.status, row.kyc_status, row.signed_up_by) == ("active", "none", "otp_sms")
    assert row.palms == {PALM: "right"}
    consent = row.consents["palm_enrollment"]
    assert (consent.version, consent.granted, consent.withdrawn_at) == ("1", True, None)


async def test_a_withdrawn_consent_stays_visible_with_both_times(stage: Stage) -> None:
    await stage.record(USER, user_signed_up(), user_consent_granted())
    await stage.show(users.READ_MODEL)
    await stage.record(USER, user_consent_withdrawn())
    consent = (await user(stage)).consents["palm_enrollment"]
    assert not consent.granted
    assert consent.withdrawn_at is not None
    assert consent.withdrawn_at >= consent.granted_at


async def test_people_can_be_suspended_resumed_and_listed_by_that(stage: Stage) -> None:
    await stage.record(USER, user_signed_up(), user_suspended())
    await stage.record(SECOND_USER, user_signed_up(), user_suspended(), user_resumed())
    await stage.show(users.READ_MODEL)
    async with stage.as_tenant() as connection:
        suspended = await users.by_tenant(connection, TENANT, status="suspended")
        assert [row.user_id for row in suspended.rows] == [USER]
        first = await users.by_tenant(connection, TENANT, limit=1)
        rest = await users.by_tenant(connection, TENANT, limit=1, after=first.next)
        assert [row.user_id for row in (*first.rows, *rest.rows)] == [USER, SECOND_USER]
        assert rest.next is None


async def test_an_enrolment_shows_how_it_ended(stage: Stage) -> None:
    await stage.record(PALM, enrollment_started(), enrollment_completed())
    await stage.record(SECOND_PALM, enrollment_started(user_id=SECOND_USER), enrollment_rejected())
    await stage.show(enrollments.READ_MODEL)
    async with stage.as_tenant() as connection:
        page = await enrollments.by_tenant(connection, TENANT)
        rejected, completed = page.rows
        assert (rejected.palm_ref, rejected.status, rejected.reason) == (
            SECOND_PALM,
            "rejected",
            "low_quality",
        )
        assert rejected.hints == ("too_far", "too_dark")
        assert (completed.palm_ref, completed.status, completed.reason) == (
            PALM,
            "completed",
            None,
        )
        assert completed.ended_at is not None
        mine = await enrollments.by_tenant(connection, TENANT, user_id=USER)
        assert [row.palm_ref for row in mine.rows] == [PALM]
        by_status = await enrollments.by_tenant(connection, TENANT, status="rejected")
        assert [row.palm_ref for row in by_status.rows] == [SECOND_PALM]
        nowhere = await enrollments.by_tenant(connection, TENANT, device_id=None, after=1)
        assert nowhere.rows == []


async def test_an_enrolment_tried_again_begins_anew_in_its_old_place(stage: Stage) -> None:
    await stage.record(PALM, enrollment_started(), enrollment_failed())
    await stage.show(enrollments.READ_MODEL)
    await stage.record(PALM, enrollment_started())
    await stage.show(enrollments.READ_MODEL)
    async with stage.as_tenant() as connection:
        row = await enrollments.by_id(connection, TENANT, PALM)
    assert row is not None
    assert (row.status, row.reason, row.ended_at) == ("started", None, None)
    assert (row.position, row.last_position) == (1, 3)


async def test_an_enrolment_shows_what_becomes_of_the_template(stage: Stage) -> None:
    await stage.record(PALM, enrollment_started(), enrollment_failed(template_left=True))
    await stage.record(PALM, enrollment_template_removal_delayed(reason="not_supported"))
    await stage.show(enrollments.READ_MODEL)
    async with stage.as_tenant() as connection:
        row = await enrollments.by_id(connection, TENANT, PALM)
    assert row is not None
    assert (row.template, row.removal_delayed_by) == ("removing", "not_supported")
    ended_at = row.ended_at
    await stage.record(PALM, enrollment_template_removed())
    await stage.show(enrollments.READ_MODEL)
    async with stage.as_tenant() as connection:
        row = await enrollments.by_id(connection, TENANT, PALM)
    assert row is not None
    assert (row.status, row.template, row.removal_delayed_by) == ("failed", "removed", None)
    assert (row.ended_at, row.template_removed_at is not None) == (ended_at, True)


async def service(stage: Stage) -> linked_services.LinkedServiceRow | None:
    await stage.show(linked_services.READ_MODEL)
    async with stage.as_tenant() as connection:
        return await linked_services.by_id(connection, TENANT, SERVICE)


async def test_a_service_shows_how_it_is_called_now(stage: Stage) -> None:
    await stage.record(SERVICE, linked_service_registered())
    row = await service(stage)
    assert row is not None
    assert (row.product_key, row.status, row.routing) == ("wallet", "active", ROUTING)
    changed = linked_service_changed()
    await stage.record(SERVICE, changed, linked_service_suspended())
    row = await service(stage)
    assert row is not None
    assert (row.status, row.routing, row.version) == ("suspended", changed.routing, 3)
    await stage.record(SERVICE, linked_service_resumed())
    row = await service(stage)
    assert row is not None
    assert row.status == "active"


async def test_a_deleted_service_is_gone_and_its_product_key_free(stage: Stage) -> None:
    await stage.record(SERVICE, linked_service_registered(), linked_service_deleted())
    await stage.record(SECOND_SERVICE, linked_service_registered())
    assert await service(stage) is None
    async with stage.as_tenant() as connection:
        holder = await linked_services.by_product_key(connection, TENANT, "wallet")
        assert holder is not None
        assert holder.service_id == SECOND_SERVICE
        listed = await linked_services.by_tenant(connection, TENANT)
        assert [row.service_id for row in listed.rows] == [SECOND_SERVICE]


async def test_the_verdicts_of_a_shadow_policy_are_counted(stage: Stage) -> None:
    def said(would: Literal["allow", "deny"], version: int, **more: Any) -> ShadowVerdict:
        return ShadowVerdict(would=would, service_id=SERVICE, service_version=version, **more)

    untold = ShadowVerdict(would="allow")
    decisions = [
        transaction_failed_closed(shadow=said("allow", 3, reason="connect_error")),
        transaction_failed_closed(shadow=said("allow", 3, reason="connect_error")),
        transaction_failed_closed(shadow=said("deny", 3)),
        transaction_failed_open(shadow=said("deny", 4, reason="stand_in_limit")),
        transaction_failed_open(shadow=untold),
        transaction_failed_closed(),
    ]
    for number, decision in enumerate(decisions):
        await stage.record(UUID(int=number + 1), decision)
        await stage.show(linked_services.READ_MODEL)
    async with stage.as_tenant() as connection:
        found = await linked_services.shadow_counts(connection, TENANT, SERVICE)
        now = datetime.now(UTC)
        hours = [
            await linked_services.shadow_counts(connection, TENANT, SERVICE, **bounds)
            for bounds in (
                {"since": now - timedelta(hours=2), "until": now + timedelta(hours=2)},
                {"since": now + timedelta(hours=2)},
                {"until": now - timedelta(hours=2)},
            )
        ]
        others = await linked_services.shadow_counts(connection, TENANT, SECOND_SERVICE)
    assert [msgspec.structs.astuple(each) for each in found] == [
        (3, "deny", "allow", "connect_error", 2),
        (3, "deny", "deny", "", 1),
        (4, "allow", "deny", "stand_in_limit", 1),
    ]
    assert (hours, others) == ([found, [], []], [])
    async with stage.projector.connection() as connection:
        assert sorted(await linked_services.shadow_totals(connection)) == [
            ("allow", "deny", 1),
            ("deny", "allow", 2),
            ("deny", "deny", 1),
        ]


async def test_the_edge_starts_with_every_revoked_fingerprint_and_the_position(
    stage: Stage,
) -> None:
    await stage.record(DEVICE, device_registered(), device_paired(), device_revoked())
    await stage.show(revoked_certificates.READ_MODEL)
    async with stage.projector.connection() as connection:
        assert await revoked_certificates.whole_set(connection) == (3, frozenset({"f1" * 32}))
    async with stage.as_tenant() as connection:
        row = await revoked_certificates.by_id(connection, TENANT, "f1" * 32)
        assert row is not None
        assert (row.device_id, row.reason, row.position) == (DEVICE, "lost", 3)


async def test_a_device_that_never_paired_revokes_no_certificate(stage: Stage) -> None:
    await stage.record(DEVICE, device_registered(), device_revoked(fingerprints=()))
    await stage.show(revoked_certificates.READ_MODEL)
    async with stage.projector.connection() as connection:
        assert await revoked_certificates.whole_set(connection) == (2, frozenset())
