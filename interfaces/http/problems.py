"""Refusals become RFC 9457 problem documents, here and nowhere else."""

from typing import Any, Final

import msgspec
import psycopg
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from application.ports import CommitFailed, StaleStream
from domain.errors import Refusal
from interfaces.http.request_id import request_id

MEDIA_TYPE: Final = "application/problem+json"

REFUSED: Final = "link_refused"
"""Where a request's state says by which code it was refused."""

_log = structlog.get_logger(__name__)

_LIMIT_EXCEEDED: Final = "54"
"""SQLSTATE class of a value too large for the server: an OperationalError, and a bug of ours."""

_HTTP_CODES: Final = {
    400: "invalid_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
    429: "rate_limited",
}

RETRYABLE: Final = frozenset({429, 503})
RETRYABLE_CONFLICTS: Final = frozenset({"conflict", "request_in_progress"})
"""Where the same request may well succeed later. Every other conflict stays until somebody changes
something else."""

CHALLENGES: Final = {
    "token_missing": 'Bearer realm="link-identity"',
    "token_invalid": 'Bearer realm="link-identity", error="invalid_token"',
    "token_expired": 'Bearer realm="link-identity", error="invalid_token"',
    "invalid_dpop_proof": (
        'DPoP realm="link-identity", error="invalid_dpop_proof", algs="ES256 EdDSA PS256"'
    ),
    "use_dpop_nonce": (
        'DPoP realm="link-identity", error="use_dpop_nonce", algs="ES256 EdDSA PS256"'
    ),
    "id_token_invalid": 'Bearer realm="link-identity", error="invalid_token"',
    "credentials_invalid": 'Bearer realm="link-identity"',
    "insufficient_user_authentication": (
        'Bearer realm="link-identity", error="insufficient_user_authentication",'
        ' error_description="A more recent authentication is required", max_age="300"'
    ),
    "refresh_token_invalid": 'Bearer realm="link-identity", error="invalid_token"',
    "insufficient_scope": 'Bearer realm="link-identity", error="insufficient_scope"',
    "client_certificate_required": 'TLS-Client-Certificate realm="link-identity"',
    "device_unknown": 'TLS-Client-Certificate realm="link-identity"',
}
"""What a caller could authenticate with (RFC 9110 §11.6.1, RFC 6750 §3, RFC 9470 §3). No scheme is
registered for client certificates; the name says what is wanted."""


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every refusal looks like. Branch on `code`; `detail` is for people.

    `error` repeats `code` under the name that the device contract uses (004 diagram 4.4).
    """

    type: str
    title: str
    status: int
    code: str
    error: str
    request_id: str
    detail: str | None = None
    retryable: bool = False


TITLES: Final = {
    400: "The request cannot be read",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    410: "Gone",
    412: "Precondition failed",
    413: "Body too large",
    415: "Unsupported media type",
    422: "The request makes no sense",
    428: "Precondition required",
    429: "Too many requests",
    500: "Internal error",
    503: "Try again later",
}


def problem(
    request: Request[Any, Any, Any],
    status: int,
    code: str,
    detail: str | None = None,
    *,
    headers: dict[str, str] | None = None,
    extra: dict[str, object] | None = None,
) -> Response[dict[str, Any]]:
    """One problem document."""
    request.scope["state"][REFUSED] = code
    document = Problem(
        type=f"urn:link-identity:problem:{code}",
        title=TITLES.get(status, "Refused"),
        status=status,
        code=code,
        error=code,
        request_id=request_id(request),
        detail=detail,
        retryable=status in RETRYABLE or code in RETRYABLE_CONFLICTS,
    )
    content = {**(extra or {}), **msgspec.to_builtins(document)}
    return Response(content, status_code=status, media_type=MEDIA_TYPE, headers=headers)


def nonce_header(error: Refusal) -> dict[str, str]:
    """The nonce that a proof of possession is to hold (RFC 9449 §8), where that was missing."""
    nonce = error.extra.get("dpop_nonce")
    return {} if nonce is None else {"dpop-nonce": str(nonce)}


def refusal(request: Request[Any, Any, Any], error: Refusal) -> Response[dict[str, Any]]:
    headers: dict[str, str] = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(error.retry_after_s)
    if error.code in CHALLENGES:
        headers["www-authenticate"] = CHALLENGES[error.code]
    headers.update(nonce_header(error))
    return problem(
        request, error.status, error.code, error.detail, headers=headers, extra=dict(error.extra)
    )


def stale_stream(request: Request[Any, Any, Any], error: StaleStream) -> Response[dict[str, Any]]:
    del error
    return problem(
        request, 409, "conflict", "somebody else changed it", headers={"retry-after": "1"}
    )


def commit_failed(request: Request[Any, Any, Any], error: CommitFailed) -> Response[dict[str, Any]]:
    _log.error(
        "commit_failed",
        request_id=request_id(request),
        error=type(error.__cause__ or error).__name__,
    )
    return problem(request, 503, "commit_failed", "nobody knows yet", headers={"retry-after": "1"})


def database_away(
    request: Request[Any, Any, Any], error: psycopg.OperationalError | psycopg.InterfaceError
) -> Response[dict[str, Any]]:
    """No connection is free or to be had, or the one in use was lost; asking again is right."""
    if (error.sqlstate or "").startswith(_LIMIT_EXCEEDED):
        return unexpected(request, error)
    _log.error("database_unavailable", request_id=request_id(request), error=type(error).__name__)
    return problem(request, 503, "database_unavailable", headers={"retry-after": "1"})


def http_exception(
    request: Request[Any, Any, Any], error: HTTPException
) -> Response[dict[str, Any]]:
    """What Litestar itself refuses: routing, body size, query parameters."""
    code = _HTTP_CODES.get(error.status_code, "invalid_request")
    detail = "a parameter is malformed" if isinstance(error, ValidationException) else None
    headers = {
        name: value
        for name, value in (error.headers or {}).items()
        if name.lower() in ("allow", "retry-after")
    }
    return problem(request, error.status_code, code, detail, headers=headers)


def unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    """A bug: told to the log with its trace, to the caller without."""
    _log.error(
        "unexpected_error",
        request_id=request_id(request),
        path_template=request.scope.get("path_template"),
        exc_info=error,
    )
    return problem(request, 500, "internal_error")


HANDLERS: Final[dict[Any, Any]] = {
    Refusal: refusal,
    StaleStream: stale_stream,
    CommitFailed: commit_failed,
    psycopg.OperationalError: database_away,
    psycopg.InterfaceError: database_away,
    HTTPException: http_exception,
    Exception: unexpected,
}
