"""What the outside calls our facts: domain event → audit action, webhook name, severity.

The one such table (design §2 row 10). Audit actions are snake_case as in the seeds, webhook
names are dotted as in reference broker.md §3.11; None says that a fact is not shown there.
"""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from domain.access_token import AccessTokenRevoked
from domain.approval import ApprovalAsked, ApprovalCarriedOut, ApprovalGiven, ApprovalRefused
from domain.audit import AuditRead
from domain.certification import LinkedServiceCertificationStarted, LinkedServiceCertified
from domain.circuit import CircuitClosed, CircuitOpened
from domain.claim import ClaimReleased, ClaimTaken
from domain.comparison import IdentificationCompleted, VerificationCompleted
from domain.consent_type import ConsentTypePublished
from domain.device import (
    DeviceCertificateRenewed,
    DeviceCertificateTakenIntoUse,
    DeviceLocked,
    DevicePaired,
    DevicePairingCodeIssued,
    DeviceRegistered,
    DeviceRevoked,
    DeviceUnlocked,
)
from domain.device_ca import (
    DeviceCAAnnounced,
    DeviceCAIssuingStarted,
    DeviceCARegenerated,
    DeviceCARetired,
    DeviceCARolledBack,
)
from domain.device_command import (
    DeviceCommandCompleted,
    DeviceCommandDelivered,
    DeviceCommandExpired,
    DeviceCommandQueued,
)
from domain.enrollment import (
    EnrollmentCompleted,
    EnrollmentFailed,
    EnrollmentRejected,
    EnrollmentStarted,
    EnrollmentTemplateArrivedLate,
    EnrollmentTemplateRemovalAttested,
    EnrollmentTemplateRemovalDelayed,
    EnrollmentTemplateRemovalStarted,
    EnrollmentTemplateRemoved,
)
from domain.erasure import (
    ErasureAccessEnded,
    ErasureCompleted,
    ErasureKeysDestroyed,
    ErasureRequested,
    ErasureTemplatesPending,
    ErasureTemplatesRemoved,
)
from domain.events import DomainEvent
from domain.health import (
    LinkedServiceBecameHealthy,
    LinkedServiceBecameUnhealthy,
    PalmVendorBecameHealthy,
    PalmVendorBecameUnhealthy,
)
from domain.linked_service import (
    LinkedServiceBreakerSet,
    LinkedServiceChanged,
    LinkedServiceDeleted,
    LinkedServiceRegistered,
    LinkedServiceResumed,
    LinkedServiceSuspended,
)
from domain.oauth_client import (
    OAuthClientChanged,
    OAuthClientDeleted,
    OAuthClientDisabled,
    OAuthClientRegistered,
    OAuthClientResumed,
    OAuthClientSecretAdded,
    OAuthClientSecretRetired,
    OAuthClientSuspended,
)
from domain.operator import (
    OperatorAccepted,
    OperatorInvitationMailed,
    OperatorInvited,
    OperatorPasskeyAdded,
    OperatorPasskeyRemoved,
    OperatorPasskeyRenamed,
    OperatorPasskeySuspected,
    OperatorPasskeyUsed,
    OperatorPasswordSet,
    OperatorRecovered,
    OperatorRecoveryCodesIssued,
    OperatorRecoveryCodeUsed,
    OperatorRemoved,
    OperatorResumed,
    OperatorRoleChanged,
    OperatorSeeded,
    OperatorSuspended,
    OperatorTotpEnrolled,
    OperatorTotpRemoved,
)
from domain.operator_session import OperatorSessionEnded, OperatorSessionStarted
from domain.pairing_code import PairingCodeIssued, PairingCodeRedeemed
from domain.palm_challenge import (
    PalmChallengeAttemptDropped,
    PalmChallengeAttempted,
    PalmChallengeCancelled,
    PalmChallengeCompleted,
    PalmChallengeDeclined,
    PalmChallengeDelivered,
    PalmChallengeExpired,
    PalmChallengeMissed,
    PalmChallengeOpened,
)
from domain.personal_data import PersonalDataAccessed
from domain.platform_admins import PlatformAdminAdded, PlatformAdminTaken
from domain.presence import (
    DeviceCameBack,
    DeviceCertificateForked,
    DeviceClockCorrected,
    DeviceClockSkewed,
    DeviceWentOffline,
)
from domain.projection import ProjectionDigested, ProjectionDiverged
from domain.server_certificate import (
    ServerCertificateActivated,
    ServerCertificateExpiring,
    ServerCertificateInstalled,
    ServerCertificateIssued,
    ServerCertificateRolledBack,
    ServerCsrMade,
)
from domain.signing_key import SigningKeyDistrusted, SigningKeyMade
from domain.tenant import (
    TenantCreated,
    TenantDataDestroyed,
    TenantDeleted,
    TenantDeletionStarted,
    TenantResumed,
    TenantSettingsChanged,
    TenantSuspended,
)
from domain.transaction import (
    TransactionAcknowledged,
    TransactionAdviceFailed,
    TransactionAdvised,
    TransactionAllowed,
    TransactionAuthorizationRequested,
    TransactionDenied,
    TransactionFailedClosed,
    TransactionFailedOpen,
    TransactionForbidden,
    TransactionIdentified,
    TransactionJournalConflict,
    TransactionNotRecognized,
    TransactionReceived,
    TransactionRefused,
    TransactionRelayed,
    TransactionVendorFailed,
    TransactionVoided,
    TransactionVoidFailed,
    TransactionVoidRequested,
)
from domain.user import (
    UserAccountLinked,
    UserAccountUnlinked,
    UserChanged,
    UserConsentGranted,
    UserConsentWithdrawn,
    UserErased,
    UserErasureStarted,
    UserKycChanged,
    UserPalmAdded,
    UserPalmRemovalStarted,
    UserPalmRemoved,
    UserPasswordRemoved,
    UserPasswordSet,
    UserResumed,
    UserSignedUp,
    UserSuspended,
)
from domain.user_session import (
    UserSessionEnded,
    UserSessionReauthenticated,
    UserSessionReuseDetected,
    UserSessionStarted,
)
from domain.webhook_endpoint import (
    WebhookEndpointChanged,
    WebhookEndpointDeleted,
    WebhookEndpointDisabled,
    WebhookEndpointEnabled,
    WebhookEndpointRegistered,
    WebhookEndpointSecretRotated,
    WebhookEndpointTestRequested,
)
from domain.webhook_identity import (
    WebhookCertificateExpiring,
    WebhookCertificateInstalled,
    WebhookCsrMade,
)

Severity = Literal["info", "warning", "high", "critical"]
SubjectKind = Literal[
    "tenant",
    "approval",
    "operator",
    "operator_session",
    "platform_admin",
    "oauth_client",
    "access_token",
    "claim",
    "linked_service",
    "device",
    "pairing_code",
    "user",
    "user_session",
    "enrollment",
    "erasure",
    "transaction",
    "verification",
    "identification",
    "personal_data",
    "projection",
    "audit",
    "consent_type",
    "webhook_endpoint",
    "webhook_identity",
    "palm_vendor",
    "device_command",
    "device_ca",
    "server_certificate",
    "signing_key",
    "palm_challenge",
]

VENDOR_INTERNAL_ERROR: Final = 50000
"""The palm vendor's code that the seeds log as `palm_vendor_unauthorized` (design §2 row 11)."""


class Published(msgspec.Struct, frozen=True):
    """How one kind of fact is shown. `subject` is what the event's stream is about."""

    subject: SubjectKind
    action: str | None
    webhook: str | None = None
    severity: Severity = "info"


_DECIDED: Final = Published("transaction", "device_transaction", "device.transaction.completed")
_STOOD_IN: Final = msgspec.structs.replace(_DECIDED, severity="warning")

PUBLISHED: Final[Mapping[type[DomainEvent], Published]] = {
    TenantCreated: Published("tenant", "tenant_created"),
    TenantSettingsChanged: Published("tenant", "tenant_settings_changed", None, "warning"),
    # Who is suspended is told nothing by webhook until it is resumed.
    TenantSuspended: Published("tenant", "tenant_suspended", None, "high"),
    TenantResumed: Published("tenant", "tenant_resumed", None, "warning"),
    TenantDeletionStarted: Published("tenant", "tenant_deletion_started", None, "critical"),
    TenantDataDestroyed: Published("tenant", "tenant_data_destroyed", None, "critical"),
    TenantDeleted: Published("tenant", "tenant_deleted", None, "critical"),
    ApprovalAsked: Published("approval", "approval_asked", None, "warning"),
    ApprovalGiven: Published("approval", "approval_given", None, "warning"),
    ApprovalRefused: Published("approval", "approval_refused", None, "warning"),
    ApprovalCarriedOut: Published("approval", "approval_carried_out", None, "warning"),
    OperatorSeeded: Published("operator", "operator_seeded", None, "high"),
    OperatorInvited: Published("operator", "operator_invited", None, "warning"),
    OperatorInvitationMailed: Published("operator", "operator_invitation_mailed"),
    OperatorAccepted: Published("operator", "operator_accepted"),
    OperatorRoleChanged: Published("operator", "operator_role_changed", None, "warning"),
    OperatorSuspended: Published("operator", "operator_suspended", None, "warning"),
    OperatorResumed: Published("operator", "operator_resumed", None, "warning"),
    OperatorRemoved: Published("operator", "operator_removed", None, "warning"),
    OperatorPasswordSet: Published("operator", "operator_password_set"),
    OperatorRecovered: Published("operator", "operator_recovered", None, "high"),
    OperatorTotpEnrolled: Published("operator", "operator_totp_enrolled"),
    OperatorTotpRemoved: Published("operator", "operator_totp_removed", None, "warning"),
    OperatorRecoveryCodesIssued: Published("operator", "operator_recovery_codes_issued"),
    OperatorRecoveryCodeUsed: Published("operator", "operator_recovery_code_used", None, "warning"),
    OperatorPasskeyAdded: Published("operator", "operator_passkey_added", None, "warning"),
    OperatorPasskeyRenamed: Published("operator", "operator_passkey_renamed"),
    OperatorPasskeyRemoved: Published("operator", "operator_passkey_removed", None, "warning"),
    OperatorPasskeyUsed: Published("operator", "operator_passkey_used"),
    OperatorPasskeySuspected: Published("operator", "operator_passkey_suspected", None, "high"),
    OperatorSessionStarted: Published("operator_session", "operator_signed_in"),
    OperatorSessionEnded: Published("operator_session", "operator_session_ended"),
    # Who may come in is said of each of them; this keeps count.
    PlatformAdminAdded: Published("platform_admin", None),
    PlatformAdminTaken: Published("platform_admin", None),
    OAuthClientRegistered: Published("oauth_client", "oauth_client_created", None, "warning"),
    OAuthClientChanged: Published("oauth_client", "oauth_client_updated", None, "warning"),
    OAuthClientSecretAdded: Published("oauth_client", "oauth_client_secret_added", None, "warning"),
    OAuthClientSecretRetired: Published(
        "oauth_client", "oauth_client_secret_retired", None, "warning"
    ),
    OAuthClientSuspended: Published("oauth_client", "oauth_client_suspended", None, "warning"),
    OAuthClientResumed: Published("oauth_client", "oauth_client_resumed", None, "warning"),
    OAuthClientDeleted: Published("oauth_client", "oauth_client_deleted", None, "warning"),
    AccessTokenRevoked: Published("access_token", "access_token_revoked"),
    OAuthClientDisabled: Published("oauth_client", "oauth_client_disabled", None, "warning"),
    # Claims are the bookkeeping of the facts that they are committed with.
    ClaimTaken: Published("claim", None),
    ClaimReleased: Published("claim", None),
    LinkedServiceRegistered: Published("linked_service", "linked_service_created"),
    LinkedServiceChanged: Published("linked_service", "linked_service_updated"),
    LinkedServiceSuspended: Published(
        "linked_service", "linked_service_suspended", None, "warning"
    ),
    LinkedServiceResumed: Published("linked_service", "linked_service_resumed"),
    LinkedServiceDeleted: Published("linked_service", "linked_service_deleted", None, "warning"),
    LinkedServiceCertificationStarted: Published(
        "linked_service", "linked_service_certification_started"
    ),
    LinkedServiceCertified: Published(
        "linked_service", "linked_service_certified", "linked_service.certified"
    ),
    LinkedServiceBecameUnhealthy: Published(
        "linked_service", "linked_service_unhealthy", "linked_service.unhealthy", "high"
    ),
    LinkedServiceBecameHealthy: Published(
        "linked_service", "linked_service_recovered", "linked_service.recovered"
    ),
    PalmVendorBecameUnhealthy: Published("palm_vendor", "palm_vendor_unhealthy", None, "critical"),
    PalmVendorBecameHealthy: Published("palm_vendor", "palm_vendor_recovered"),
    LinkedServiceBreakerSet: Published(
        "linked_service", "linked_service_breaker_set", "linked_service.breaker_set", "warning"
    ),
    CircuitOpened: Published(
        "linked_service",
        "linked_service_circuit_opened",
        "linked_service.circuit_opened",
        "high",
    ),
    CircuitClosed: Published(
        "linked_service", "linked_service_circuit_closed", "linked_service.circuit_closed"
    ),
    DeviceRegistered: Published("device", "device_registered"),
    DevicePairingCodeIssued: Published("device", "device_pairing_code_issued"),
    DevicePaired: Published("device", "device_paired", "device.paired"),
    DeviceRevoked: Published("device", "device_revoked", "device.revoked", "warning"),
    DeviceCertificateRenewed: Published(
        "device", "device_certificate_renewed", "device.certificate_renewed"
    ),
    DeviceCertificateTakenIntoUse: Published("device", "device_certificate_taken_into_use"),
    DeviceLocked: Published("device", "device_locked", "device.locked", "warning"),
    DeviceUnlocked: Published("device", "device_unlocked", "device.unlocked", "warning"),
    DeviceWentOffline: Published("device", "device_offline", "device.offline", "warning"),
    DeviceCameBack: Published("device", "device_online", "device.online"),
    DeviceClockSkewed: Published("device", "device_clock_skew", "device.clock_skew", "warning"),
    DeviceClockCorrected: Published("device", "device_clock_corrected"),
    DeviceCertificateForked: Published(
        "device", "device_certificate_forked", "device.certificate_forked", "critical"
    ),
    DeviceCAAnnounced: Published("device_ca", "device_ca_announced", None, "high"),
    DeviceCAIssuingStarted: Published("device_ca", "device_ca_issuing_started", None, "high"),
    DeviceCARolledBack: Published("device_ca", "device_ca_rolled_back", None, "high"),
    DeviceCARetired: Published("device_ca", "device_ca_retired", None, "high"),
    DeviceCARegenerated: Published("device_ca", "platform_ca_regenerated", None, "critical"),
    ServerCertificateIssued: Published(
        "server_certificate", "server_certificate_issued", None, "warning"
    ),
    ServerCsrMade: Published("server_certificate", "server_csr_made"),
    ServerCertificateInstalled: Published(
        "server_certificate", "server_certificate_installed", None, "warning"
    ),
    ServerCertificateActivated: Published(
        "server_certificate", "server_certificate_activated", None, "high"
    ),
    ServerCertificateRolledBack: Published(
        "server_certificate", "server_certificate_rolled_back", None, "high"
    ),
    ServerCertificateExpiring: Published(
        "server_certificate", "server_certificate_expiring", None, "high"
    ),
    SigningKeyMade: Published("signing_key", "signing_key_made", None, "high"),
    SigningKeyDistrusted: Published("signing_key", "signing_key_distrusted", None, "critical"),
    DeviceCommandQueued: Published("device_command", "device_command_queued"),
    DeviceCommandDelivered: Published("device_command", "device_command_delivered"),
    DeviceCommandCompleted: Published(
        "device_command", "device_command_completed", "device.command.completed"
    ),
    DeviceCommandExpired: Published(
        "device_command", "device_command_expired", "device.command.expired", "warning"
    ),
    PairingCodeIssued: Published("pairing_code", "pairing_code_issued"),
    PairingCodeRedeemed: Published("pairing_code", "pairing_code_redeemed"),
    UserSignedUp: Published("user", "user_signed_up", "user.signed_up"),
    UserChanged: Published("user", "user_changed", "user.changed"),
    UserPasswordSet: Published("user", "user_password_set", "user.password_set"),
    UserPasswordRemoved: Published(
        "user", "user_password_removed", "user.password_removed", "warning"
    ),
    UserAccountLinked: Published("user", "user_account_linked", "user.account_linked", "warning"),
    UserAccountUnlinked: Published(
        "user", "user_account_unlinked", "user.account_unlinked", "warning"
    ),
    UserKycChanged: Published("user", "user_kyc_changed", "user.kyc_changed"),
    ConsentTypePublished: Published("consent_type", "consent_type_published", None, "warning"),
    UserConsentGranted: Published("user", "consent_granted", "consent.granted"),
    UserConsentWithdrawn: Published("user", "consent_withdrawn", "consent.withdrawn"),
    UserSuspended: Published("user", "user_suspended", "user.suspended", "warning"),
    UserResumed: Published("user", "user_resumed", "user.resumed"),
    UserPalmAdded: Published("user", "user_palm_added"),
    UserPalmRemovalStarted: Published("user", "user_palm_removal_started", None, "warning"),
    UserPalmRemoved: Published("user", "user_palm_removed", "enrollment.deleted"),
    UserErasureStarted: Published("user", "user_erasure_started", None, "warning"),
    UserErased: Published("user", "user_erased", "user.erased", "warning"),
    UserSessionStarted: Published("user_session", "user_signed_in", "user_session.started"),
    UserSessionReauthenticated: Published(
        "user_session", "user_reauthenticated", "user_session.reauthenticated"
    ),
    UserSessionReuseDetected: Published(
        "user_session", "refresh_token_reuse_detected", "user_session.reuse_detected", "high"
    ),
    UserSessionEnded: Published("user_session", "user_session_ended", "user_session.ended"),
    ErasureRequested: Published("erasure", "erasure_requested", None, "warning"),
    ErasureAccessEnded: Published("erasure", "erasure_access_ended"),
    ErasureKeysDestroyed: Published("erasure", "erasure_keys_destroyed"),
    ErasureTemplatesPending: Published("erasure", "erasure_templates_pending", None, "warning"),
    ErasureTemplatesRemoved: Published("erasure", "erasure_templates_removed"),
    ErasureCompleted: Published("erasure", "erasure_completed", None, "warning"),
    EnrollmentStarted: Published("enrollment", "enrollment_started"),
    EnrollmentCompleted: Published("enrollment", "enrollment_complete", "enrollment.complete"),
    EnrollmentRejected: Published("enrollment", "enrollment_rejected", None, "warning"),
    EnrollmentFailed: Published("enrollment", "enrollment_failed", None, "warning"),
    EnrollmentTemplateArrivedLate: Published(
        "enrollment", "enrollment_template_arrived_late", None, "warning"
    ),
    EnrollmentTemplateRemovalDelayed: Published(
        "enrollment", "enrollment_template_removal_delayed", None, "warning"
    ),
    EnrollmentTemplateRemovalStarted: Published(
        "enrollment", "enrollment_template_removal_started"
    ),
    EnrollmentTemplateRemoved: Published("enrollment", "enrollment_template_removed"),
    EnrollmentTemplateRemovalAttested: Published(
        "enrollment", "enrollment_template_removal_attested", None, "warning"
    ),
    VerificationCompleted: Published(
        "verification", "verification_completed", "verification.completed"
    ),
    IdentificationCompleted: Published("identification", "identification_completed"),
    PalmChallengeOpened: Published("palm_challenge", "challenge_opened"),
    PalmChallengeDelivered: Published("palm_challenge", "challenge_delivered"),
    PalmChallengeAttempted: Published("palm_challenge", "challenge_attempted"),
    PalmChallengeAttemptDropped: Published("palm_challenge", "challenge_attempt_dropped"),
    PalmChallengeMissed: Published("palm_challenge", "challenge_missed"),
    PalmChallengeCompleted: Published(
        "palm_challenge", "challenge_completed", "challenge.completed"
    ),
    PalmChallengeDeclined: Published("palm_challenge", "challenge_declined", "challenge.declined"),
    PalmChallengeCancelled: Published("palm_challenge", "challenge_cancelled"),
    PalmChallengeExpired: Published("palm_challenge", "challenge_expired", "challenge.expired"),
    TransactionReceived: Published("transaction", "device_transaction_received"),
    TransactionIdentified: Published("transaction", "device_transaction_identified"),
    TransactionAuthorizationRequested: Published("transaction", "device_transaction_authorizing"),
    TransactionAllowed: _DECIDED,
    TransactionDenied: _DECIDED,
    TransactionNotRecognized: _DECIDED,
    TransactionForbidden: _DECIDED,
    TransactionRefused: _DECIDED,
    TransactionFailedClosed: _STOOD_IN,
    TransactionFailedOpen: _STOOD_IN,
    TransactionVendorFailed: Published("transaction", "palm_vendor_failed", None, "high"),
    TransactionRelayed: Published("transaction", "device_transaction_relayed"),
    TransactionVoidRequested: Published("transaction", "device_transaction_void_requested"),
    TransactionVoided: Published(
        "transaction", "device_transaction_voided", "device.transaction.reversed"
    ),
    TransactionVoidFailed: Published(
        "transaction", "linked_service_void_failed", "linked_service.void_failed", "critical"
    ),
    TransactionAdvised: Published("transaction", "device_transaction_advised"),
    TransactionAdviceFailed: Published(
        "transaction", "linked_service_advice_failed", "linked_service.advice_failed", "high"
    ),
    TransactionAcknowledged: Published("transaction", "device_transaction_acknowledged"),
    TransactionJournalConflict: Published(
        "transaction", "device_journal_conflict", "device.journal_conflict", "high"
    ),
    PersonalDataAccessed: Published("personal_data", "personal_data_accessed"),
    # What the read models show is stated for auditors of the log; it is no news to the tenant.
    ProjectionDigested: Published("projection", None),
    ProjectionDiverged: Published("projection", "read_model_diverged", None, "critical"),
    AuditRead: Published("audit", "audit_read"),
    WebhookEndpointRegistered: Published(
        "webhook_endpoint", "webhook_endpoint_created", None, "warning"
    ),
    WebhookEndpointChanged: Published(
        "webhook_endpoint", "webhook_endpoint_updated", None, "warning"
    ),
    WebhookEndpointSecretRotated: Published(
        "webhook_endpoint", "webhook_endpoint_secret_rotated", None, "warning"
    ),
    WebhookEndpointTestRequested: Published("webhook_endpoint", "webhook_endpoint_tested"),
    WebhookEndpointDisabled: Published(
        "webhook_endpoint", "webhook_endpoint_disabled", "webhook_endpoint.disabled", "high"
    ),
    WebhookEndpointEnabled: Published("webhook_endpoint", "webhook_endpoint_enabled"),
    WebhookEndpointDeleted: Published(
        "webhook_endpoint", "webhook_endpoint_deleted", None, "warning"
    ),
    WebhookCsrMade: Published("webhook_identity", "webhook_csr_made"),
    WebhookCertificateInstalled: Published(
        "webhook_identity", "webhook_certificate_installed", None, "warning"
    ),
    WebhookCertificateExpiring: Published(
        "webhook_identity",
        "webhook_certificate_expiring",
        "webhook_certificate.expiring",
        "warning",
    ),
}


def published(event: DomainEvent) -> Published:
    """How this very event is shown: the table's entry, or what its data makes of it."""
    entry = PUBLISHED[type(event)]
    match event:
        case TransactionVendorFailed() | EnrollmentFailed() if (
            event.vendor_code == VENDOR_INTERNAL_ERROR
        ):
            return msgspec.structs.replace(
                entry, action="palm_vendor_unauthorized", severity="critical"
            )
        case LinkedServiceCertified(grade="F"):
            return msgspec.structs.replace(entry, severity="high")
        case TransactionVoidFailed(reason="no_void_path"):
            # Nobody can be called, so its owner is told and undoes it.
            return msgspec.structs.replace(
                entry,
                action="device_transaction_reversed",
                webhook="device.transaction.reversed",
                severity="warning",
            )
        case TransactionAdviceFailed(reason="no_advice_path"):
            return msgspec.structs.replace(
                entry,
                action="device_transaction_stand_in",
                webhook="device.transaction.stand_in",
                severity="warning",
            )
        case TransactionAdviceFailed(reason="voided"):
            return msgspec.structs.replace(
                entry, action="device_transaction_advice_withdrawn", webhook=None, severity="info"
            )
        case TransactionAdvised(status="disputed"):
            return msgspec.structs.replace(entry, action="stand_in_disputed", severity="high")
        case CircuitOpened() if event.openings > 1:
            # An outage is news when it begins and when it ends, not whenever a probe fails.
            return msgspec.structs.replace(entry, webhook=None, severity="warning")
        case EnrollmentRejected(reason="duplicate_palm"):
            return msgspec.structs.replace(
                entry,
                action="enrollment_duplicate_detected",
                webhook="enrollment.duplicate_detected",
                severity="high",
            )
        case _:
            return entry
