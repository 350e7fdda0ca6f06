"""Every event the log may hold: stored name, current class, and the road up from old versions."""

from collections.abc import Callable, Mapping
from typing import Final, get_args

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
from domain.events import DomainEvent, Payload

Upcaster = Callable[[Payload], Payload]

_UNIONS: Final = (
    tenant.TenantEvent,
    approval.ApprovalEvent,
    oauth_client.OAuthClientEvent,
    operator.OperatorEvent,
    operator_session.OperatorSessionEvent,
    platform_admins.PlatformAdminEvent,
    claim.ClaimEvent,
    linked_service.LinkedServiceEvent,
    certification.CertificationEvent,
    health.HealthEvent,
    circuit.CircuitEvent,
    device.DeviceEvent,
    device_ca.DeviceCAEvent,
    server_certificate.ServerCertificateEvent,
    presence.PresenceEvent,
    device_command.DeviceCommandEvent,
    pairing_code.PairingCodeEvent,
    signing_key.SigningKeyEvent,
    user.UserEvent,
    user_session.UserSessionEvent,
    enrollment.EnrollmentEvent,
    comparison.ComparisonEvent,
    palm_challenge.PalmChallengeEvent,
    erasure.ErasureEvent,
    transaction.TransactionEvent,
    webhook_endpoint.WebhookEndpointEvent,
    webhook_identity.WebhookIdentityEvent,
    projection.ProjectionEvent,
)
_ALONE: Final = (
    access_token.AccessTokenRevoked,
    personal_data.PersonalDataAccessed,
    audit.AuditRead,
    consent_type.ConsentTypePublished,
)
"""Events of aggregates to which nothing else ever happens."""

EVENTS: Final[Mapping[str, type[DomainEvent]]] = {
    cls.NAME: cls for cls in (*(cls for union in _UNIONS for cls in get_args(union)), *_ALONE)
}

UPCASTERS: Final[Mapping[tuple[str, int], Upcaster]] = {
    (transaction.TransactionAllowed.NAME, 1): transaction.text_set_apart,
    (transaction.TransactionDenied.NAME, 1): transaction.text_set_apart,
}
"""(stored name, version) → the pure step to the next version."""
