"""One builder per event class: a whole, believable event, of which a test changes what it means.

`device_paired(fingerprint="ab")` is the usual pairing with that one fingerprint. Every optional
field is filled, so that what is built here is also what `tests/history` keeps as a vector.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

import msgspec

from domain import (
    access_token,
    approval,
    audit,
    certification,
    circuit,
    claim,
    comparison,
    consent_type,
    device,
    device_ca,
    device_command,
    enrollment,
    erasure,
    health,
    linked_service,
    oauth_client,
    operator,
    operator_session,
    pairing_code,
    palm_challenge,
    personal_data,
    platform_admins,
    presence,
    projection,
    server_certificate,
    signing_key,
    tenant,
    transaction,
    user,
    user_session,
    webhook_endpoint,
    webhook_identity,
)
from domain.events import DomainEvent
from domain.ids import (
    ClaimId,
    ConsentId,
    DeviceId,
    LinkedServiceId,
    OAuthClientId,
    OperatorId,
    PalmRef,
    PasskeyId,
    UserId,
)
from domain.matching import MatchPolicy, ScoredPalm
from tests.spec import TENANT

E = TypeVar("E", bound=DomainEvent)

USER = UserId(UUID("0198c000-0000-7000-8000-0000000000a1"))
DEVICE = DeviceId(UUID("0198c000-0000-7000-8000-0000000000b1"))
SERVICE = LinkedServiceId(UUID("0198c000-0000-7000-8000-0000000000c1"))
PALM = PalmRef(UUID("0198c000-0000-7000-8000-0000000000d1"))
MOBILE_CLAIM = ClaimId(UUID("0198c000-0000-5000-8000-000000000f01"))
EMAIL_CLAIM = ClaimId(UUID("0198c000-0000-5000-8000-000000000f02"))
GOOGLE_CLAIM = ClaimId(UUID("0198c000-0000-5000-8000-000000000f05"))
CONSENT = ConsentId(UUID("0198c000-0000-7000-8000-0000000000e1"))
PASSKEY = PasskeyId(UUID("0198c000-0000-7000-8000-0000000001a2"))
OPERATOR = OperatorId(UUID("0198c000-0000-7000-8000-0000000001a1"))
NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)


BUILDERS: Final[dict[type[DomainEvent], Callable[..., DomainEvent]]] = {}
"""Every builder below by the class that it builds; a test asks that none is missing."""


class Builder(Generic[E]):
    """Makes events of one class from a default one."""

    def __init__(self, default: E) -> None:
        self.default = default
        BUILDERS[type(default)] = self

    def __call__(self, **changes: Any) -> E:
        """The default event with these fields changed.

        Raises TypeError for a field that the event does not have, and msgspec.ValidationError
        for a value that could not be read back from the log.
        """
        built = msgspec.structs.replace(self.default, **changes)
        return msgspec.json.decode(msgspec.json.encode(built), type=type(self.default))


tenant_created = Builder(tenant.TenantCreated(name="Link Holdings", tenant_key="k7q2zm9xp4"))
consent_type_published = Builder(
    consent_type.ConsentTypePublished(
        consent_type="marketing",
        consent_version="2026-01",
        text_sha256={"en": "7e" * 32, "ar-SA": "a1" * 32},
    )
)
tenant_suspended = Builder(tenant.TenantSuspended(reason="unpaid"))
tenant_resumed = Builder(tenant.TenantResumed())
tenant_deletion_started = Builder(tenant.TenantDeletionStarted())
tenant_data_destroyed = Builder(tenant.TenantDataDestroyed())
tenant_deleted = Builder(tenant.TenantDeleted())
tenant_settings_changed = Builder(
    tenant.TenantSettingsChanged(
        settings=tenant.TenantSettings(
            palm_model="small",
            match_policy=MatchPolicy(
                version=2, rule="k_of_n", k=3, minimum=(0.8, 0.8, 0.7, 0.7), margin=0.1
            ),
            consent_version="2026-01",
            auth_methods=("otp_sms", "password"),
            device_receives_user_id=True,
            allowed_countries=("SA", "AE"),
        ),
        changed=(
            "palm_model",
            "match_policy",
            "consent_version",
            "device_receives_user_id",
            "allowed_countries",
        ),
    )
)

approval_asked = Builder(
    approval.ApprovalAsked(
        operation="tenant.delete",
        subject=TENANT,
        wait_s=86_400,
        expires_at=NOW + timedelta(days=7),
    )
)
approval_given = Builder(approval.ApprovalGiven(usable_from=NOW + timedelta(days=1)))
approval_refused = Builder(approval.ApprovalRefused())
approval_carried_out = Builder(approval.ApprovalCarriedOut())

operator_seeded = Builder(operator.OperatorSeeded(password_until=NOW + timedelta(days=1)))
operator_invited = Builder(
    operator.OperatorInvited(
        role="tenant_admin", invitation=1, expires_at=NOW + operator.INVITATION_LIVES
    )
)
operator_invitation_mailed = Builder(
    operator.OperatorInvitationMailed(invitation=1, outcome="sent")
)
operator_accepted = Builder(operator.OperatorAccepted())
operator_role_changed = Builder(operator.OperatorRoleChanged(role="tenant_operator"))
operator_suspended = Builder(operator.OperatorSuspended())
operator_resumed = Builder(operator.OperatorResumed())
operator_removed = Builder(operator.OperatorRemoved())
operator_password_set = Builder(operator.OperatorPasswordSet())
operator_recovered = Builder(operator.OperatorRecovered(password_until=NOW + timedelta(days=1)))
operator_totp_enrolled = Builder(operator.OperatorTotpEnrolled())
operator_totp_removed = Builder(operator.OperatorTotpRemoved())
operator_recovery_codes_issued = Builder(operator.OperatorRecoveryCodesIssued(count=10))
operator_recovery_code_used = Builder(operator.OperatorRecoveryCodeUsed())
operator_passkey_added = Builder(
    operator.OperatorPasskeyAdded(passkey_id=PASSKEY, backup_eligible=True)
)
operator_passkey_renamed = Builder(operator.OperatorPasskeyRenamed(passkey_id=PASSKEY))
operator_passkey_removed = Builder(operator.OperatorPasskeyRemoved(passkey_id=PASSKEY))
operator_passkey_used = Builder(operator.OperatorPasskeyUsed(passkey_id=PASSKEY))
operator_passkey_suspected = Builder(operator.OperatorPasskeySuspected(passkey_id=PASSKEY))
operator_session_started = Builder(
    operator_session.OperatorSessionStarted(
        operator_id=OPERATOR, method="password_totp", expires_at=NOW + operator_session.LIVES
    )
)
operator_session_ended = Builder(
    operator_session.OperatorSessionEnded(operator_id=OPERATOR, reason="role_changed")
)
platform_admin_added = Builder(platform_admins.PlatformAdminAdded(operator_id=OPERATOR))
platform_admin_taken = Builder(platform_admins.PlatformAdminTaken(operator_id=OPERATOR))

oauth_client_registered = Builder(
    oauth_client.OAuthClientRegistered(name="Wallet backend", scopes=("devices:read", "users:read"))
)
oauth_client_changed = Builder(
    oauth_client.OAuthClientChanged(
        metadata=oauth_client.ClientMetadata(
            name="Wallet backend",
            scopes=("devices:read",),
            auth_method="private_key_jwt",
            jwks=(
                oauth_client.PublicJwk(
                    kty="EC",
                    crv="P-256",
                    kid="2026",
                    x="f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                    y="x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
                ),
            ),
        ),
        changed=("scopes", "auth_method", "jwks"),
    )
)
oauth_client_secret_added = Builder(oauth_client.OAuthClientSecretAdded(secret=2))
oauth_client_secret_retired = Builder(oauth_client.OAuthClientSecretRetired(secret=1))
oauth_client_suspended = Builder(oauth_client.OAuthClientSuspended())
oauth_client_resumed = Builder(oauth_client.OAuthClientResumed())
oauth_client_deleted = Builder(oauth_client.OAuthClientDeleted())
access_token_revoked = Builder(
    access_token.AccessTokenRevoked(
        client_id=OAuthClientId(UUID("0198c7a0-9e6c-7b1f-8d3e-2a4b5c6d7e90")), expires_at=NOW
    )
)
oauth_client_disabled = Builder(oauth_client.OAuthClientDisabled(reason="secret leaked"))

claim_taken = Builder(claim.ClaimTaken(kind=claim.PRODUCT_KEY, owner=SERVICE))
claim_released = Builder(claim.ClaimReleased(kind=claim.PRODUCT_KEY))

ROUTING = linked_service.Routing(
    base_url="https://wallet.example",
    authorize_path="/authorize",
    health_path="/health",
    void_path="/void",
    advice_path="/advice",
    timeout_ms=800,
    fail_mode="closed",
    allowed_actions=("pay", "refund"),
)
linked_service_became_unhealthy = Builder(
    health.LinkedServiceBecameUnhealthy(
        service_id=SERVICE, product_key="wallet", reason="status_503", consecutive_failures=3
    )
)
linked_service_became_healthy = Builder(
    health.LinkedServiceBecameHealthy(service_id=SERVICE, product_key="wallet")
)
device_certificate_renewed = Builder(
    device.DeviceCertificateRenewed(
        fingerprint="e5" * 32,
        spki_sha256="e6" * 32,
        csr_sha256="e7" * 32,
        certificate_serial="5eed",
        certificate_pem="-----BEGIN CERTIFICATE-----\nAAAB\n-----END CERTIFICATE-----\n",
        not_after=NOW + timedelta(days=150),
        replaces="f1" * 32,
    )
)
device_certificate_taken_into_use = Builder(
    device.DeviceCertificateTakenIntoUse(
        fingerprint="e5" * 32, superseded_at=NOW + timedelta(days=61)
    )
)
device_locked = Builder(device.DeviceLocked())
device_unlocked = Builder(device.DeviceUnlocked())
device_went_offline = Builder(presence.DeviceWentOffline(device_id=DEVICE, last_heard_at=NOW))
device_came_back = Builder(presence.DeviceCameBack(device_id=DEVICE, offline_since=NOW))
device_clock_skewed = Builder(presence.DeviceClockSkewed(device_id=DEVICE, offset_ms=-180_000))
device_clock_corrected = Builder(presence.DeviceClockCorrected(device_id=DEVICE, offset_ms=12))
device_certificate_forked = Builder(
    presence.DeviceCertificateForked(device_id=DEVICE, fingerprint="ab" * 32)
)
device_ca_announced = Builder(
    device_ca.DeviceCAAnnounced(
        authority=2,
        certificate_pem="-----BEGIN CERTIFICATE-----\n",
        fingerprint="ca" * 32,
        not_after=NOW + timedelta(days=3650),
    )
)
device_ca_issuing_started = Builder(
    device_ca.DeviceCAIssuingStarted(authority=2, replaces=1, spread_s=3600)
)
device_ca_rolled_back = Builder(
    device_ca.DeviceCARolledBack(authority=2, phase="standby", left_behind=1)
)
device_ca_retired = Builder(device_ca.DeviceCARetired(authority=1, left_behind=2))
device_ca_regenerated = Builder(
    device_ca.DeviceCARegenerated(
        authority=3,
        certificate_pem="-----BEGIN CERTIFICATE-----\n",
        fingerprint="cb" * 32,
        not_after=NOW + timedelta(days=3650),
        distrusted=(1, 2),
    )
)
signing_key_made = Builder(
    signing_key.SigningKeyMade(
        family="access_token", number=2, kid="k2", signs_from=NOW + timedelta(minutes=15)
    )
)
signing_key_distrusted = Builder(
    signing_key.SigningKeyDistrusted(family="access_token", number=1, kid="k1")
)
device_command_queued = Builder(
    device_command.DeviceCommandQueued(
        device_id=DEVICE,
        kind="show_message",
        message="ask_staff",
        expires_at=NOW + timedelta(hours=1),
    )
)
device_command_delivered = Builder(device_command.DeviceCommandDelivered())
device_command_completed = Builder(
    device_command.DeviceCommandCompleted(
        device_id=DEVICE, kind="show_message", result="failed", detail="screen_off"
    )
)
device_command_expired = Builder(
    device_command.DeviceCommandExpired(device_id=DEVICE, kind="show_message")
)
palm_vendor_became_unhealthy = Builder(
    health.PalmVendorBecameUnhealthy(reason="palm_vendor_timeout", consecutive_failures=3)
)
palm_vendor_became_healthy = Builder(health.PalmVendorBecameHealthy())
linked_service_certification_started = Builder(
    certification.LinkedServiceCertificationStarted(
        service_id=SERVICE, service_version=2, action="pay", started_at=NOW
    )
)
linked_service_certified = Builder(
    certification.LinkedServiceCertified(
        service_id=SERVICE,
        service_version=2,
        grade="F",
        results=(
            certification.CaseResult(case="valid_request", verdict="passed", found="as_due"),
            certification.CaseResult(case="alg_none", verdict="failed", found="answered_allow"),
            certification.CaseResult(
                case="void_twice", verdict="not_applicable", found="no_void_path"
            ),
        ),
        finished_at=NOW,
    )
)
linked_service_registered = Builder(
    linked_service.LinkedServiceRegistered(product_key="wallet", routing=ROUTING)
)
linked_service_breaker_set = Builder(
    linked_service.LinkedServiceBreakerSet(
        mode="drill", reason="rehearsal", until=NOW + timedelta(minutes=30), devices=(DEVICE,)
    )
)
circuit_opened = Builder(
    circuit.CircuitOpened(
        service_id=SERVICE,
        openings=1,
        open_s=10.0,
        failures=circuit.FailureCounts(authorize_timeout=4, connect_error=1),
        devices=2,
        enforced=False,
    )
)
circuit_closed = Builder(circuit.CircuitClosed(service_id=SERVICE))
linked_service_changed = Builder(
    linked_service.LinkedServiceChanged(
        routing=msgspec.structs.replace(
            ROUTING,
            fail_mode="open",
            stand_in=linked_service.StandIn(
                enabled_for=("authorize_timeout",), max_amount="25.50", per_minute=10
            ),
            breaker=linked_service.BreakerSettings(consecutive_failures=3, open_s=5.0),
        ),
        changed=("fail_mode", "stand_in", "breaker"),
    )
)
linked_service_suspended = Builder(linked_service.LinkedServiceSuspended())
linked_service_resumed = Builder(linked_service.LinkedServiceResumed())
linked_service_deleted = Builder(linked_service.LinkedServiceDeleted())

device_registered = Builder(
    device.DeviceRegistered(
        type="pos",
        name="Till 4",
        serial="SN-0004",
        bound_product="wallet",
        bound_action="pay",
    )
)
device_pairing_code_issued = Builder(
    device.DevicePairingCodeIssued(
        code_number=1, expires_at=NOW + timedelta(seconds=pairing_code.LIFETIME_S)
    )
)
device_paired = Builder(
    device.DevicePaired(
        fingerprint="f1" * 32,
        spki_sha256="5b" * 32,
        csr_sha256="c5" * 32,
        certificate_serial="4d2",
        certificate_pem="-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        not_after=NOW + timedelta(days=90),
        code_number=1,
        info={"model": "X1", "firmware": "3.2.1"},
    )
)
device_revoked = Builder(device.DeviceRevoked(reason="lost", fingerprints=("f1" * 32,)))

pairing_code_issued = Builder(
    pairing_code.PairingCodeIssued(
        for_tenant=TENANT,
        device_id=DEVICE,
        code_number=1,
        expires_at=NOW + timedelta(seconds=pairing_code.LIFETIME_S),
    )
)
pairing_code_redeemed = Builder(pairing_code.PairingCodeRedeemed(csr_sha256="c5" * 32))

user_signed_up = Builder(
    user.UserSignedUp(
        method="otp_sms", device_id=DEVICE, fields=("mobile",), claims={"mobile": MOBILE_CLAIM}
    )
)
user_changed = Builder(
    user.UserChanged(
        changed=("email",),
        fields=("email", "mobile"),
        claims={"email": EMAIL_CLAIM, "mobile": MOBILE_CLAIM},
    )
)
user_password_set = Builder(user.UserPasswordSet(by="set"))
user_password_removed = Builder(user.UserPasswordRemoved())
user_account_linked = Builder(user.UserAccountLinked(provider="google", claim=GOOGLE_CLAIM))
user_account_unlinked = Builder(user.UserAccountUnlinked(provider="google", claim=GOOGLE_CLAIM))
user_kyc_changed = Builder(user.UserKycChanged(status="verified", level="enhanced"))
user_consent_granted = Builder(
    user.UserConsentGranted(
        consent_id=CONSENT,
        consent_type=user.PALM_ENROLLMENT,
        consent_version="1",
        method="device_screen",
        locale="ar-SA",
        text_sha256="7e" * 32,
        device_id=DEVICE,
    )
)
user_consent_withdrawn = Builder(
    user.UserConsentWithdrawn(consent_type=user.PALM_ENROLLMENT, consent_id=CONSENT)
)
user_suspended = Builder(user.UserSuspended(reason="under_review"))
user_resumed = Builder(user.UserResumed())
user_palm_added = Builder(user.UserPalmAdded(palm_ref=PALM, hand="right"))
user_palm_removal_started = Builder(user.UserPalmRemovalStarted(palm_ref=PALM, reason="requested"))
user_palm_removed = Builder(user.UserPalmRemoved(palm_ref=PALM))
user_session_started = Builder(
    user_session.UserSessionStarted(
        user_id=USER,
        method="otp_sms",
        installation="q4Zf",
        key_bound=False,
        expires_at=NOW + timedelta(days=180),
    )
)
user_session_reauthenticated = Builder(
    user_session.UserSessionReauthenticated(user_id=USER, method="password")
)
user_session_reuse_detected = Builder(
    user_session.UserSessionReuseDetected(
        user_id=USER, presented=3, current=5, holder="q4Zf", presenter="Zx81"
    )
)
user_session_ended = Builder(
    user_session.UserSessionEnded(user_id=USER, reason="refresh_token_reused")
)
user_erasure_started = Builder(user.UserErasureStarted())
user_erased = Builder(user.UserErased())

erasure_requested = Builder(
    erasure.ErasureRequested(
        user_id=USER, consents_withdrawn=(user.PALM_ENROLLMENT,), reference="DSR-2026/17"
    )
)
erasure_access_ended = Builder(erasure.ErasureAccessEnded())
erasure_keys_destroyed = Builder(erasure.ErasureKeysDestroyed())
erasure_templates_pending = Builder(erasure.ErasureTemplatesPending(palms=(PALM,)))
erasure_templates_removed = Builder(erasure.ErasureTemplatesRemoved())
erasure_completed = Builder(erasure.ErasureCompleted(techniques=erasure.TECHNIQUES))

verification_completed = Builder(
    comparison.VerificationCompleted(
        user_id=USER,
        scan_sha256="5c" * 32,
        result="match",
        reason=None,
        palm_ref=PALM,
        scores=(0.95, 0.94, 0.93, 0.92),
        thresholds=(0.8, 0.8, 0.8, 0.8),
        policy_version=1,
        compare_ms=812.5,
        compared_at=NOW,
    )
)
identification_completed = Builder(
    comparison.IdentificationCompleted(
        user_id=USER,
        scan_sha256="5c" * 32,
        result="refused",
        reason="user_suspended",
        palm_ref=PALM,
        scores=(0.95, 0.94, 0.93, 0.92),
        thresholds=(0.8, 0.8, 0.8, 0.8),
        policy_version=1,
        compare_ms=812.5,
        compared_at=NOW,
    )
)

palm_challenge_opened = Builder(
    palm_challenge.PalmChallengeOpened(
        user_id=USER,
        device_id=DEVICE,
        purpose="enrollment",
        expires_at=NOW + timedelta(minutes=5),
        hand="right",
        replace=True,
        text_commitment="bOdmGWA2Rw1p9vYvCRqRoOYeY0iCxwS8cvMDjn7x5Kw",
    )
)
palm_challenge_delivered = Builder(palm_challenge.PalmChallengeDelivered())
palm_challenge_attempted = Builder(
    palm_challenge.PalmChallengeAttempted(attempt=1, scan_sha256="5c" * 32)
)
palm_challenge_attempt_dropped = Builder(
    palm_challenge.PalmChallengeAttemptDropped(attempt=1, reason="palm_vendor_timeout")
)
palm_challenge_missed = Builder(
    palm_challenge.PalmChallengeMissed(
        attempt=1,
        scan_sha256="5c" * 32,
        reason="low_quality",
        hints=("distance",),
        scores=(0.41, 0.4, 0.39, 0.38),
        thresholds=(0.8, 0.8, 0.8, 0.8),
        policy_version=1,
    )
)
palm_challenge_completed = Builder(
    palm_challenge.PalmChallengeCompleted(
        user_id=USER,
        device_id=DEVICE,
        purpose="verification",
        attempt=2,
        scan_sha256="5d" * 32,
        result="match",
        reason=None,
        hints=(),
        palm_ref=PALM,
        scores=(0.95, 0.94, 0.93, 0.92),
        thresholds=(0.8, 0.8, 0.8, 0.8),
        policy_version=1,
        compare_ms=812.5,
    )
)
palm_challenge_declined = Builder(
    palm_challenge.PalmChallengeDeclined(
        user_id=USER, device_id=DEVICE, purpose="confirmation", reason="user_declined"
    )
)
palm_challenge_cancelled = Builder(palm_challenge.PalmChallengeCancelled())
palm_challenge_expired = Builder(
    palm_challenge.PalmChallengeExpired(user_id=USER, device_id=DEVICE, purpose="enrollment")
)

enrollment_started = Builder(
    enrollment.EnrollmentStarted(
        user_id=USER,
        device_id=DEVICE,
        hand="right",
        scan_sha256="5c" * 32,
        consent_version="1",
        quality=87.5,
        liveness=0.98,
        captured_at=NOW,
    )
)
enrollment_completed = Builder(enrollment.EnrollmentCompleted(vendor_palm_id="palm-889"))
enrollment_rejected = Builder(
    enrollment.EnrollmentRejected(reason="low_quality", hints=("too_far", "too_dark"))
)
enrollment_template_arrived_late = Builder(enrollment.EnrollmentTemplateArrivedLate())
enrollment_template_removal_started = Builder(
    enrollment.EnrollmentTemplateRemovalStarted(reason="requested")
)
enrollment_template_removal_delayed = Builder(
    enrollment.EnrollmentTemplateRemovalDelayed(reason="palm_vendor_timeout")
)
enrollment_template_removal_attested = Builder(
    enrollment.EnrollmentTemplateRemovalAttested(reason="deleted_by_hand", reference="TICKET-17")
)
enrollment_template_removed = Builder(enrollment.EnrollmentTemplateRemoved(vendor_answer="deleted"))
enrollment_failed = Builder(
    enrollment.EnrollmentFailed(
        reason="palm_vendor_error", vendor_code=50000, vendor_message="Milvus error"
    )
)

transaction_received = Builder(
    transaction.TransactionReceived(
        device_id=DEVICE,
        idempotency_key="till-4-000001",
        fingerprint="fp" * 16,
        scan_sha256="5c" * 32,
        context_hash="O3dvt1vZ7dCJ4-nXrq3sWcWZ7TnXy5jSOBmTLJfPwZI",
        deadline_ms=3000,
        attempt=1,
        certificate_fingerprint="f1" * 32,
        received_at=NOW,
        tells_user_id=True,
        seq=4711,
        quality=87.5,
        liveness=0.98,
        captured_at=NOW,
        device_version=3,
        tenant_version=1,
    )
)
transaction_identified = Builder(
    transaction.TransactionIdentified(
        user_id=USER,
        palm_ref=PALM,
        match_source="server",
        scores=(0.93, 0.95, 0.91, 0.94),
        thresholds=(0.8, 0.8, 0.8, 0.8),
        policy_version=1,
        identify_ms=850.5,
        user_version=3,
        candidates=(
            ScoredPalm(0, (0.93, 0.95, 0.91, 0.94)),
            ScoredPalm(1, (0.41, 0.39, 0.52, 0.44)),
        ),
        vendor_thresholds=(0.8, 0.8, 0.8, 0.8),
    )
)
transaction_authorization_requested = Builder(
    transaction.TransactionAuthorizationRequested(
        service_id=SERVICE,
        service_version=1,
        product_key="wallet",
        action="pay",
        base_url="https://wallet.example",
        authorize_path="/authorize",
        void_path="/void",
        advice_path="/advice",
        timeout_ms=800,
        fail_mode="closed",
        product_idempotency_key="txn_0198c000000070008000000000000002",
        jti="0198c000-0000-7000-8000-0000000000f1",
        epoch=1,
        lease_until=NOW + timedelta(seconds=5),
    )
)
transaction_allowed = Builder(
    transaction.TransactionAllowed(
        ttl_seconds=30,
        authorize_ms=41.25,
        decided_at=NOW + timedelta(milliseconds=900),
        total_ms=900.0,
        text_commitment="iKMmkp9BPfQXCzKAfTtLJj0nVzkUNKSLvVkL6r6eUDA",
    )
)
transaction_denied = Builder(
    transaction.TransactionDenied(
        reason="insufficient_funds",
        authorize_ms=39.5,
        decided_at=NOW + timedelta(milliseconds=900),
        total_ms=900.0,
        text_commitment="dGhlIHRleHQgb2YgdGhlIHByb2R1Y3QgaXMgc2VhbA0",
    )
)
transaction_not_recognized = Builder(
    transaction.TransactionNotRecognized(
        reason="low_confidence",
        scores=(0.61, 0.5, 0.42, 0.55),
        thresholds=(0.8, 0.8, 0.8, 0.8),
        policy_version=1,
        identify_ms=850.5,
        decided_at=NOW + timedelta(milliseconds=860),
        total_ms=860.0,
        candidates=(ScoredPalm(0, (0.61, 0.5, 0.42, 0.55)),),
        vendor_thresholds=(0.8, 0.8, 0.8, 0.8),
    )
)
transaction_forbidden = Builder(
    transaction.TransactionForbidden(
        reason="palm_type_not_allowed",
        decided_at=NOW + timedelta(milliseconds=860),
        total_ms=860.0,
    )
)
transaction_refused = Builder(
    transaction.TransactionRefused(
        user_id=USER,
        reason="user_suspended",
        void_needed=False,
        decided_at=NOW + timedelta(milliseconds=860),
        total_ms=860.0,
        user_version=4,
        tenant_version=2,
    )
)
transaction_failed_closed = Builder(
    transaction.TransactionFailedClosed(
        reason="authorize_timeout",
        void_needed=True,
        detail="no answer within 800 ms",
        authorize_ms=800.0,
        decided_at=NOW + timedelta(milliseconds=1700),
        total_ms=1700.0,
    )
)
transaction_failed_open = Builder(
    transaction.TransactionFailedOpen(
        reason="connect_error",
        advice_needed=True,
        detail="connection refused",
        authorize_ms=3.5,
        decided_at=NOW + timedelta(milliseconds=900),
        total_ms=900.0,
    )
)
transaction_vendor_failed = Builder(
    transaction.TransactionVendorFailed(
        reason="palm_vendor_error",
        vendor_code=50000,
        vendor_message="Milvus error",
        failed_at=NOW + timedelta(milliseconds=850),
        total_ms=850.0,
    )
)
transaction_void_requested = Builder(
    transaction.TransactionVoidRequested(
        reason="not_received", requested_at=NOW + timedelta(minutes=1)
    )
)
transaction_voided = Builder(
    transaction.TransactionVoided(status="voided", attempt=2, voided_at=NOW + timedelta(minutes=2))
)
transaction_void_failed = Builder(
    transaction.TransactionVoidFailed(
        reason="cannot_void", attempt=1, failed_at=NOW + timedelta(minutes=2)
    )
)
transaction_advised = Builder(
    transaction.TransactionAdvised(
        status="recorded", attempt=1, advised_at=NOW + timedelta(minutes=2)
    )
)
transaction_advice_failed = Builder(
    transaction.TransactionAdviceFailed(
        reason="exhausted", attempt=40, failed_at=NOW + timedelta(days=3)
    )
)
transaction_acknowledged = Builder(
    transaction.TransactionAcknowledged(
        outcome="shown_allow",
        shown_at=NOW + timedelta(seconds=1),
        acknowledged_at=NOW + timedelta(minutes=1),
    )
)
transaction_journal_conflict = Builder(
    transaction.TransactionJournalConflict(
        outcome="not_received",
        shown_at=NOW + timedelta(seconds=1),
        noted_at=NOW + timedelta(minutes=1),
    )
)
transaction_relayed = Builder(
    transaction.TransactionRelayed(relayed_at=NOW + timedelta(milliseconds=901))
)

personal_data_accessed = Builder(
    personal_data.PersonalDataAccessed(
        user_id=USER,
        fields=("email", "mobile"),
        purpose="support",
        operation="exportPersonalData",
        reference="CASE-4711",
    )
)
projection_digested = Builder(
    projection.ProjectionDigested(
        read_model="devices",
        version=1,
        position=41,
        tables=(projection.TableDigest(table="devices", rows=3, sha256="5d" * 32),),
    )
)
projection_diverged = Builder(
    projection.ProjectionDiverged(
        read_model="devices",
        version=1,
        position=41,
        table="devices",
        key='{"device_id":"0198c000-0000-7000-8000-0000000000b1"}',
        difference="altered",
        row_position=17,
    )
)
audit_read = Builder(audit.AuditRead(kind="search", minute=NOW))

SUBSCRIPTION = webhook_endpoint.Subscription(
    url="https://shop.example/webhooks",
    event_types=("device.transaction.completed", "device.revoked"),
    mtls="platform_ca",
)
webhook_endpoint_registered = Builder(
    webhook_endpoint.WebhookEndpointRegistered(subscription=SUBSCRIPTION)
)
webhook_endpoint_changed = Builder(
    webhook_endpoint.WebhookEndpointChanged(
        subscription=msgspec.structs.replace(SUBSCRIPTION, event_types=("device.revoked",)),
        changed=("event_types",),
    )
)
webhook_endpoint_secret_rotated = Builder(
    webhook_endpoint.WebhookEndpointSecretRotated(overlap_until=NOW + timedelta(days=1))
)
webhook_endpoint_test_requested = Builder(webhook_endpoint.WebhookEndpointTestRequested())
webhook_endpoint_disabled = Builder(
    webhook_endpoint.WebhookEndpointDisabled(reason="sustained_failure")
)
webhook_endpoint_enabled = Builder(webhook_endpoint.WebhookEndpointEnabled())
webhook_endpoint_deleted = Builder(webhook_endpoint.WebhookEndpointDeleted())

_SERVER_CHAIN: Final = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
server_certificate_issued = Builder(
    server_certificate.ServerCertificateIssued(
        key=1,
        chain_pem=_SERVER_CHAIN,
        fingerprint_sha256="3c" * 32,
        names=("id.example.com", "127.0.0.1"),
        not_before=NOW,
        not_after=NOW + timedelta(days=397),
        why="first",
        for_all=True,
    )
)
server_csr_made = Builder(
    server_certificate.ServerCsrMade(
        key=2,
        csr_pem="-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n",
        spki_sha256="1a" * 32,
        names=("id.example.com",),
    )
)
server_certificate_installed = Builder(
    server_certificate.ServerCertificateInstalled(
        key=2,
        chain_pem=_SERVER_CHAIN,
        anchor_pem=_SERVER_CHAIN,
        fingerprint_sha256="4d" * 32,
        names=("id.example.com",),
        not_before=NOW,
        not_after=NOW + timedelta(days=90),
    )
)
server_certificate_activated = Builder(
    server_certificate.ServerCertificateActivated(
        fingerprint_sha256="4d" * 32, for_devices=False, left_behind=0
    )
)
server_certificate_rolled_back = Builder(
    server_certificate.ServerCertificateRolledBack(fingerprint_sha256="3c" * 32)
)
server_certificate_expiring = Builder(
    server_certificate.ServerCertificateExpiring(
        fingerprint_sha256="4d" * 32,
        source="own",
        not_after=NOW + timedelta(days=90),
        days=30,
    )
)

webhook_csr_made = Builder(
    webhook_identity.WebhookCsrMade(
        key_id=UUID("0198c000-0000-7000-8000-0000000000f1"),
        csr_pem="-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n",
        spki_sha256="1a" * 32,
    )
)
webhook_certificate_installed = Builder(
    webhook_identity.WebhookCertificateInstalled(
        key_id=UUID("0198c000-0000-7000-8000-0000000000f1"),
        chain_pem="-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        fingerprint_sha256="2b" * 32,
        not_before=NOW,
        not_after=NOW + timedelta(days=365),
        active_from=NOW,
    )
)
webhook_certificate_expiring = Builder(
    webhook_identity.WebhookCertificateExpiring(
        fingerprint_sha256="2b" * 32, not_after=NOW + timedelta(days=365), days=30
    )
)
