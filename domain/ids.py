"""The names of things: one type per kind of id, and the ids that are derived rather than drawn.

Inside the house an id is a UUID. On the wire it wears a prefix (`dev_0198…`), so that a
pasted id says what it is; `wire` and `parse` are the only two places that know the form.
"""

from datetime import datetime
from typing import Final, NewType
from uuid import UUID, uuid5

TenantId = NewType("TenantId", UUID)
UserId = NewType("UserId", UUID)
DeviceId = NewType("DeviceId", UUID)
LinkedServiceId = NewType("LinkedServiceId", UUID)
OAuthClientId = NewType("OAuthClientId", UUID)
EnrollmentId = NewType("EnrollmentId", UUID)
TransactionId = NewType("TransactionId", UUID)
PairingCodeId = NewType("PairingCodeId", UUID)
ClaimId = NewType("ClaimId", UUID)
PalmRef = NewType("PalmRef", UUID)
ConsentId = NewType("ConsentId", UUID)
ConsentTypesId = NewType("ConsentTypesId", UUID)
ChallengeId = NewType("ChallengeId", UUID)
VerificationId = NewType("VerificationId", UUID)
IdentificationId = NewType("IdentificationId", UUID)
UserSessionId = NewType("UserSessionId", UUID)
WebhookEndpointId = NewType("WebhookEndpointId", UUID)
WebhookIdentityId = NewType("WebhookIdentityId", UUID)
DeviceCommandId = NewType("DeviceCommandId", UUID)
PalmChallengeId = NewType("PalmChallengeId", UUID)
ProjectionId = NewType("ProjectionId", UUID)
AccessTokenId = NewType("AccessTokenId", UUID)
ApprovalId = NewType("ApprovalId", UUID)
OperatorId = NewType("OperatorId", UUID)
OperatorSessionId = NewType("OperatorSessionId", UUID)
PasskeyId = NewType("PasskeyId", UUID)
PasskeyCeremonyId = NewType("PasskeyCeremonyId", UUID)

PLATFORM: Final = TenantId(UUID(int=0))
"""The tenant of facts that belong to no tenant: pairing codes, and later the platform's people."""

_NAMESPACE: Final = UUID("8f4d1b5e-6a0c-5c39-9d0f-7f3b2f6f2b11")


def wire(prefix: str, value: UUID) -> str:
    """The public form of an id, for instance `dev_0198c7a09e6c7b1f8d3e2a4b5c6d7e8f`."""
    return f"{prefix}_{value.hex}"


def parse(prefix: str, text: str) -> UUID | None:
    """The id behind a public form, or None: only the exact form that `wire` writes is read."""
    head, _, digits = text.partition("_")
    if head != prefix or len(digits) != 32 or digits.strip("0123456789abcdef"):
        return None
    return UUID(hex=digits)


def transaction_id(device_id: DeviceId, idempotency_key: str) -> TransactionId:
    """A retry meets its own stream: the id is a function of who asks and under which key."""
    return TransactionId(uuid5(device_id, f"transaction:{idempotency_key}"))


def webhook_identity_id(tenant_id: TenantId) -> WebhookIdentityId:
    """The stream of a tenant's client certificate for webhooks: one for each tenant."""
    return WebhookIdentityId(uuid5(tenant_id, "webhook_identity"))


def access_token_id(client_id: OAuthClientId, jti: str) -> AccessTokenId:
    """The stream of one token that was issued to a client."""
    return AccessTokenId(uuid5(client_id, f"access_token:{jti}"))


def claim_id(tenant_id: TenantId, kind: str, value: str) -> ClaimId:
    """The stream of a unique thing. A personal `value` comes as a keyed digest, never as itself."""
    return ClaimId(uuid5(tenant_id, f"claim:{kind}:{value}"))


def projection_id(tenant_id: TenantId, read_model: str) -> ProjectionId:
    """The stream in which a read model states what it shows of a tenant."""
    return ProjectionId(uuid5(tenant_id, f"projection:{read_model}"))


def circuit_id(service_id: UUID) -> UUID:
    """The stream of what the breaker before a linked service did."""
    return uuid5(service_id, "circuit")


def audit_reading_id(tenant_id: TenantId, actor: str, kind: str, minute: datetime) -> UUID:
    """The stream of one client's reading of the audit in one minute."""
    return uuid5(tenant_id, f"audit_reading:{actor}:{kind}:{int(minute.timestamp())}")


def pairing_code_id(code_digest: str) -> PairingCodeId:
    """The stream of a pairing code, found from the keyed digest of the code and nothing else."""
    return PairingCodeId(uuid5(_NAMESPACE, f"pairing_code:{code_digest}"))
