"""One-time codes through any SMS gateway that takes one HTTP request per message."""

import re
from collections.abc import Callable, Mapping
from typing import Final, Literal, Protocol
from urllib.parse import quote_plus

import msgspec
import structlog

from domain.errors import Unavailable
from infrastructure.messages import wording
from infrastructure.outbound.client import Answer, OutboundFailed
from infrastructure.outbound.http_exchange import serialise

_PLACEHOLDER: Final = re.compile(r"\{(to|text)\}")
_ANSWER_BYTES_MAX: Final = 16_384

log: Final = structlog.stdlib.get_logger(__name__)


class Requester(Protocol):
    """The shape of `OutboundClient`."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        deadline_s: float,
        max_bytes: int,
    ) -> Answer: ...


class SmsGateway(msgspec.Struct, frozen=True, kw_only=True):
    """One gateway's request. `body` is a template with `{to}` and `{text}` in it, once or more.

    What is filled in is escaped for the `content_type`: inside a JSON string, or as a form
    value. The URL takes no placeholder: URLs end up in the logs of every proxy on the way.
    `headers` hold what the gateway wants, such as its API key.
    """

    url: str
    body: str
    method: Literal["POST", "PUT"] = "POST"
    content_type: Literal["application/json", "application/x-www-form-urlencoded"] = (
        "application/json"
    )
    headers: Mapping[str, str] = {}
    deadline_s: float = 10.0


class SmsGatewayMisconfigured(Exception):
    """It cannot make a request: a placeholder is missing, a header or the JSON is malformed."""


class SmsGatewaySender:
    """`OtpSender` over a gateway. Any answer but 2xx, and any failure to ask, is a failure."""

    def __init__(self, gateway: SmsGateway, http: Requester) -> None:
        _check(gateway)
        self._gateway = gateway
        self._http = http
        self._headers = {**gateway.headers, "content-type": gateway.content_type}

    async def send(self, destination: str, code: str, locale: str) -> None:
        """Hand the text to the gateway, once. Raises Unavailable (`otp_not_sent`)."""
        reason = await self._request(_fill(self._gateway, destination, wording.text(code, locale)))
        # Raised out here and logged as a kind: a failure's detail may quote what was sent.
        if reason is not None:
            log.error("otp_not_sent", channel="sms_gateway", reason=reason)
            raise Unavailable("otp_not_sent")

    async def _request(self, body: bytes) -> str | None:
        gateway = self._gateway
        try:
            answer = await self._http.request(
                gateway.method,
                gateway.url,
                headers=self._headers,
                body=body,
                deadline_s=gateway.deadline_s,
                max_bytes=_ANSWER_BYTES_MAX,
            )
        except OutboundFailed as error:
            # A status line is the gateway's word; the rest of the answer is of no use to us.
            if error.status is None:
                return error.kind
            status = error.status
        else:
            status = answer.status
        return None if 200 <= status < 300 else f"status {status}"


def _fill(gateway: SmsGateway, destination: str, text: str) -> bytes:
    # One pass over the template, so that braces in what is filled in stay what they are.
    values = {"to": destination, "text": text}
    escape: Callable[[str], str] = (
        _inside_json_string if gateway.content_type == "application/json" else quote_plus
    )
    return _PLACEHOLDER.sub(lambda found: escape(values[found[1]]), gateway.body).encode()


def _inside_json_string(value: str) -> str:
    return msgspec.json.encode(value).decode()[1:-1]


def _check(gateway: SmsGateway) -> None:
    if set(_PLACEHOLDER.findall(gateway.body)) != {"to", "text"}:
        raise SmsGatewayMisconfigured("the body template must hold {to} and {text}")
    if _PLACEHOLDER.search(gateway.url):
        raise SmsGatewayMisconfigured("the URL must not hold {to} or {text}")
    try:
        serialise(gateway.method, "/", "gateway", gateway.headers, b"")
    except ValueError as error:
        raise SmsGatewayMisconfigured(f"a header cannot be sent: {error}") from error
    if gateway.content_type == "application/json":
        try:
            msgspec.json.decode(_fill(gateway, "+10000000000", 'a "quoted" text\n'))
        except msgspec.DecodeError as error:
            raise SmsGatewayMisconfigured(
                f"the body template does not make JSON: {error}"
            ) from error
