"""How a device is told no: by a problem document, or before any request by the TLS handshake."""

import ssl
from typing import Final

import httpx
import msgspec


class Refused(Exception):
    """The platform answered with a problem (RFC 9457). `code` is stable; `status` is HTTP's."""

    def __init__(self, status: int, code: str, detail: str | None = None) -> None:
        self.status = status
        self.code = code
        self.detail = detail
        super().__init__(f"{status} {code}" + (f": {detail}" if detail else ""))


CLOSED: Final = "closed"
"""The platform ended a fresh connection without a word, as it does with a revoked device."""


class ConnectionRefused(Exception):
    """The platform would not talk to us at all.

    `alert` is the TLS alert that ended the handshake (RFC 8446, section 6.2), for instance
    `unknown_ca`, or `closed` when it ended in silence.
    """

    def __init__(self, alert: str) -> None:
        self.alert = alert
        super().__init__(f"connection refused: {alert}")


class _Problem(msgspec.Struct, frozen=True):
    code: str = "unknown"
    detail: str | None = None


def check(response: httpx.Response, *wanted: int) -> httpx.Response:
    """The response when its status is among `wanted`. Raises Refused."""
    if response.status_code in wanted:
        return response
    try:
        problem = msgspec.json.decode(response.content, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem(detail=response.text[:200])
    raise Refused(response.status_code, problem.code, problem.detail)


def tls_alert(error: BaseException) -> str | None:
    """The alert that ended a handshake, for instance `unknown_ca`; None if none did."""
    seen: BaseException | None = error
    while seen is not None:
        reason = seen.reason if isinstance(seen, ssl.SSLError) else None
        if reason and "_ALERT_" in reason:
            # OpenSSL writes TLSV1_ALERT_UNKNOWN_CA, also for TLS 1.3.
            return reason.partition("_ALERT_")[2].lower()
        seen = seen.__cause__ or seen.__context__
    return None
