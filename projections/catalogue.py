"""Every read model there is, for whoever runs, rebuilds or lists them."""

from collections.abc import Sequence
from typing import Final

from projections import (
    accesses,
    approvals,
    audit,
    device_certificates,
    device_commands,
    devices,
    enrollments,
    erasures,
    linked_services,
    oauth_clients,
    operators,
    palm_challenges,
    revoked_certificates,
    tenants,
    transactions,
    users,
    webhook_endpoints,
    webhook_identities,
)
from projections.read_model import ReadModel

READ_MODELS: Final[Sequence[ReadModel]] = (
    revoked_certificates.READ_MODEL,
    devices.READ_MODEL,
    device_certificates.READ_MODEL,
    device_commands.READ_MODEL,
    linked_services.READ_MODEL,
    users.READ_MODEL,
    enrollments.READ_MODEL,
    palm_challenges.READ_MODEL,
    transactions.READ_MODEL,
    audit.READ_MODEL,
    accesses.READ_MODEL,
    webhook_endpoints.READ_MODEL,
    erasures.READ_MODEL,
    oauth_clients.READ_MODEL,
    webhook_identities.READ_MODEL,
    tenants.READ_MODEL,
    operators.READ_MODEL,
    approvals.READ_MODEL,
)
