"""One of everything that can happen, told to two tenants."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID, uuid5

from domain.device import DeviceRegistered
from domain.events import DomainEvent
from domain.ids import PLATFORM, TenantId
from domain.transaction import ShadowVerdict
from projections import devices
from tests import builders as b
from tests.projections.stage import OTHER_TENANT, Stage
from tests.spec import TENANT

ASKED: Final = (b.transaction_identified(), b.transaction_authorization_requested())
SHADOWED: Final = ShadowVerdict(would="allow", reason="connect_error", service_id=b.SERVICE)
SCANNER: Final[DeviceRegistered] = b.device_registered(
    type="personal_scanner", bound_product=None, bound_action=None
)

STREAMS: Final[dict[str, Sequence[DomainEvent]]] = {
    "tenant": (
        b.tenant_created(),
        b.tenant_settings_changed(),
        b.tenant_suspended(),
        b.tenant_resumed(),
        b.tenant_suspended(),
        b.tenant_deletion_started(),
        b.tenant_data_destroyed(),
        b.tenant_deleted(),
    ),
    "approval": (b.approval_asked(), b.approval_given(), b.approval_carried_out()),
    "refused approval": (b.approval_asked(), b.approval_refused()),
    "operator": (
        b.operator_invited(),
        b.operator_invitation_mailed(),
        b.operator_accepted(),
        b.operator_totp_enrolled(),
        b.operator_recovery_codes_issued(),
        b.operator_recovery_code_used(),
        b.operator_totp_removed(),
        b.operator_passkey_added(),
        b.operator_passkey_renamed(),
        b.operator_passkey_used(),
        b.operator_passkey_suspected(),
        b.operator_passkey_removed(),
        b.operator_password_set(),
        b.operator_role_changed(),
        b.operator_suspended(),
        b.operator_resumed(),
        b.operator_recovered(),
        b.operator_removed(),
    ),
    "first admin": (b.operator_seeded(),),
    "admins": (b.platform_admin_added(), b.platform_admin_taken()),
    "operator session": (b.operator_session_started(), b.operator_session_ended()),
    "client": (
        b.oauth_client_registered(),
        b.oauth_client_secret_added(),
        b.oauth_client_secret_retired(),
        b.oauth_client_suspended(),
        b.oauth_client_resumed(),
        b.oauth_client_changed(),
        b.oauth_client_disabled(),
    ),
    "revoked token": (b.access_token_revoked(),),
    "gone client": (b.oauth_client_registered(), b.oauth_client_deleted()),
    "consent types": (b.consent_type_published(),),
    "claim": (b.claim_taken(), b.claim_released()),
    "service": (
        b.linked_service_registered(),
        b.linked_service_changed(),
        b.linked_service_suspended(),
        b.linked_service_resumed(),
        b.linked_service_breaker_set(),
    ),
    "circuit": (b.circuit_opened(), b.circuit_closed()),
    "certification": (
        b.linked_service_certification_started(),
        b.linked_service_certified(),
    ),
    "renewed device": (
        b.device_registered(type="gate"),
        b.device_certificate_renewed(),
        b.device_certificate_taken_into_use(),
    ),
    "locked device": (
        b.device_registered(type="gate"),
        b.device_locked(),
        b.device_unlocked(),
    ),
    "device's presence": (
        b.device_went_offline(),
        b.device_came_back(),
        b.device_clock_skewed(),
        b.device_clock_corrected(),
        b.device_certificate_forked(),
    ),
    "device CA": (
        b.device_ca_announced(),
        b.device_ca_issuing_started(),
        b.device_ca_retired(),
        b.device_ca_regenerated(),
    ),
    "server certificate": (
        b.server_certificate_issued(),
        b.server_csr_made(),
        b.server_certificate_installed(),
        b.server_certificate_activated(),
        b.server_certificate_expiring(),
        b.server_certificate_rolled_back(),
    ),
    "signing keys": (b.signing_key_made(), b.signing_key_distrusted()),
    "withdrawn device CA": (b.device_ca_announced(), b.device_ca_rolled_back()),
    "device's command": (
        b.device_command_queued(),
        b.device_command_delivered(),
        b.device_command_completed(),
    ),
    "late command": (b.device_command_queued(), b.device_command_expired()),
    "service's health": (
        b.linked_service_became_unhealthy(),
        b.linked_service_became_healthy(),
    ),
    "vendor's health": (b.palm_vendor_became_unhealthy(), b.palm_vendor_became_healthy()),
    "gone service": (
        b.linked_service_registered(product_key="door"),
        b.linked_service_deleted(),
    ),
    "device": (b.device_registered(), b.device_pairing_code_issued(), b.device_paired()),
    "scanner": (SCANNER,),
    "user": (
        b.user_signed_up(),
        b.user_changed(),
        b.user_kyc_changed(),
        b.user_password_set(),
        b.user_account_linked(),
        b.user_account_unlinked(),
        b.user_password_removed(),
        b.user_consent_granted(),
        b.user_palm_added(),
        b.user_palm_removal_started(),
        b.user_palm_removed(),
        b.user_suspended(),
        b.user_resumed(),
        b.user_consent_withdrawn(),
        b.user_erasure_started(),
        b.user_erased(),
    ),
    "user session": (
        b.user_session_started(),
        b.user_session_reauthenticated(),
        b.user_session_reuse_detected(),
        b.user_session_ended(),
    ),
    "erasure": (
        b.erasure_requested(),
        b.erasure_access_ended(),
        b.erasure_keys_destroyed(),
        b.erasure_templates_pending(),
        b.erasure_templates_removed(),
        b.erasure_completed(),
    ),
    "enrollment": (b.enrollment_started(), b.enrollment_completed()),
    "poor palm": (b.enrollment_started(), b.enrollment_rejected()),
    "gone palm": (
        b.enrollment_started(),
        b.enrollment_completed(),
        b.enrollment_template_removal_started(),
        b.enrollment_template_removed(),
    ),
    "attested palm": (
        b.enrollment_started(),
        b.enrollment_failed(template_left=True),
        b.enrollment_template_removal_delayed(),
        b.enrollment_template_removal_attested(),
    ),
    "verification": (b.verification_completed(),),
    "identification": (b.identification_completed(),),
    "challenge": (
        b.palm_challenge_opened(),
        b.palm_challenge_delivered(),
        b.palm_challenge_attempted(),
        b.palm_challenge_missed(),
        b.palm_challenge_attempted(attempt=2),
        b.palm_challenge_attempt_dropped(attempt=2),
        b.palm_challenge_attempted(attempt=2),
        b.palm_challenge_completed(),
    ),
    "declined challenge": (b.palm_challenge_opened(), b.palm_challenge_declined()),
    "cancelled challenge": (b.palm_challenge_opened(), b.palm_challenge_cancelled()),
    "late challenge": (b.palm_challenge_opened(), b.palm_challenge_expired()),
    "left palm": (
        b.enrollment_started(),
        b.enrollment_failed(template_left=True),
        b.enrollment_template_removal_delayed(),
        b.enrollment_template_removed(),
        b.enrollment_template_arrived_late(),
        b.enrollment_template_removed(vendor_answer="absent"),
    ),
    "lost palm": (b.enrollment_started(), b.enrollment_failed(), b.enrollment_started()),
    "allowed": (b.transaction_received(), *ASKED, b.transaction_allowed(), b.transaction_relayed()),
    "denied": (b.transaction_received(), *ASKED, b.transaction_denied()),
    "unknown": (b.transaction_received(), b.transaction_not_recognized()),
    "forbidden": (b.transaction_received(), b.transaction_forbidden()),
    "refused": (b.transaction_received(), b.transaction_refused()),
    "closed": (
        b.transaction_received(),
        *ASKED,
        b.transaction_failed_closed(shadow=SHADOWED),
        b.transaction_void_requested(),
        b.transaction_void_failed(),
        b.transaction_voided(),
    ),
    "open": (
        b.transaction_received(),
        *ASKED,
        b.transaction_failed_open(),
        b.transaction_advice_failed(),
        b.transaction_advised(),
        b.transaction_acknowledged(),
        b.transaction_journal_conflict(),
    ),
    "access": (b.personal_data_accessed(),),
    "endpoint": (
        b.webhook_endpoint_registered(),
        b.webhook_endpoint_changed(),
        b.webhook_endpoint_secret_rotated(),
        b.webhook_endpoint_test_requested(),
        b.webhook_endpoint_disabled(),
        b.webhook_endpoint_enabled(),
    ),
    "webhook identity": (
        b.webhook_csr_made(),
        b.webhook_certificate_installed(),
        b.webhook_certificate_expiring(),
        b.webhook_csr_made(),
    ),
    "gone endpoint": (b.webhook_endpoint_registered(), b.webhook_endpoint_deleted()),
    "projection": (
        b.projection_digested(version=devices.READ_MODEL.version),
        b.projection_diverged(),
    ),
    "reading": (b.audit_read(),),
    "vendor": (
        b.transaction_received(),
        b.transaction_vendor_failed(),
        b.transaction_received(attempt=2),
    ),
}


async def tell(stage: Stage) -> None:
    """Streams of both tenants take turns, so that every batch cuts through some of them."""
    longest = max(len(events) for events in STREAMS.values())
    for turn in range(longest):
        for tenant_id in (TENANT, OTHER_TENANT):
            for name, events in STREAMS.items():
                if turn < len(events):
                    await stage.record(stream(tenant_id, name), events[turn], tenant_id=tenant_id)
    for tenant_id in (TENANT, OTHER_TENANT):
        fingerprint = tenant_id.hex * 2
        await stage.record(
            stream(tenant_id, "device"),
            b.device_revoked(fingerprints=(fingerprint,)),
            tenant_id=tenant_id,
        )
        await stage.record(
            uuid5(tenant_id, "pairing code"),
            b.pairing_code_issued(for_tenant=tenant_id),
            b.pairing_code_redeemed(),
            tenant_id=PLATFORM,
        )


def stream(tenant_id: TenantId, name: str) -> UUID:
    return tenant_id if name == "tenant" else uuid5(tenant_id, name)
