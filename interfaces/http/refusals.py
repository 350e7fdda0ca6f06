"""Which refusals a route may answer with: statuses and stable codes, for people and for OpenAPI."""

from collections.abc import Mapping
from typing import Final

Refusals = Mapping[int, tuple[str, ...]]

BODY: Final[Refusals] = {
    400: ("invalid_json", "duplicate_member", "invalid_request"),
    413: ("body_too_large",),
    415: ("unsupported_media_type",),
}
PAGE: Final[Refusals] = {
    400: ("invalid_request", "cursor_invalid"),
    503: ("position_not_reached",),
}
FRESHNESS: Final[Refusals] = {400: ("invalid_request",), 503: ("position_not_reached",)}
KEY: Final[Refusals] = {400: ("idempotency_key_invalid",), 422: ("idempotency_key_reused",)}
CONDITION: Final[Refusals] = {400: ("invalid_request",), 412: ("version_mismatch",)}
APPROVAL: Final[Refusals] = {
    400: ("invalid_request",),
    403: ("approval_required",),
    409: ("approval_decided", "approval_waiting"),
    410: ("approval_expired",),
}
"""Where a console person needs somebody else's agreement."""
WRITE: Final[Refusals] = {409: ("conflict",), 503: ("commit_failed",)}
SCAN: Final[Refusals] = {400: ("scan_invalid",), 415: ("unsupported_scan_format",)}

UNAVAILABLE: Final[Refusals] = {
    503: ("event_log_unavailable", "database_unavailable", "overloaded", "shutting_down"),
}
"""What every route may answer that asks the log or the database."""

INTEGRATOR: Final[Refusals] = {
    400: ("tenant_not_named",),
    401: (
        "token_missing",
        "token_invalid",
        "token_expired",
        "invalid_dpop_proof",
        "use_dpop_nonce",
    ),
    403: ("insufficient_scope", "tenant_suspended", "console_setup_required"),
    404: ("tenant_not_found",),
    429: ("tenant_at_capacity",),
}
CONSOLE: Final[Refusals] = {
    401: ("token_missing", "token_invalid"),
    403: ("tenant_suspended",),
    429: ("tenant_at_capacity",),
}
USER: Final[Refusals] = {
    401: (
        "token_missing",
        "token_invalid",
        "token_expired",
        "invalid_dpop_proof",
        "use_dpop_nonce",
    ),
    403: ("tenant_suspended",),
    429: ("tenant_at_capacity",),
}
DEVICE: Final[Refusals] = {
    401: ("client_certificate_required", "device_unknown"),
    403: ("device_revoked", "device_type_not_allowed", "tenant_suspended", "device_locked"),
    429: ("tenant_at_capacity",),
}


def merged(*groups: Refusals) -> Refusals:
    """All groups together, each code once, in the order of their statuses."""
    codes: dict[int, dict[str, None]] = {}
    for group in groups:
        for status, named in group.items():
            codes.setdefault(status, {}).update(dict.fromkeys(named))
    return {status: tuple(codes[status]) for status in sorted(codes)}
