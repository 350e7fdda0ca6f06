"""Tells a product over HTTP what it has to undo or to book, once, and believes no half an answer.

No circuit breaker stands before it: a product that comes back must hear what it owes at once, and
the delivery engine bounds how often one that is away is tried.
"""

import base64
import hashlib
from typing import Final, TypeVar

import msgspec

from application import trace
from application.ports import AdviceStatus, NoticeCall, NoticeFailed, NoticeStatus
from infrastructure.outbound.client import OutboundFailed
from infrastructure.products.linked_service_gateway import Requests
from infrastructure.strict_json import NotAnObject, read_object

ANSWER_BYTES_MAX: Final = 16 * 1024


class _Voided(msgspec.Struct, frozen=True):
    """Members that we do not know are ignored."""

    status: NoticeStatus


class _Advised(msgspec.Struct, frozen=True):
    """Members that we do not know are ignored."""

    status: AdviceStatus


Answer = TypeVar("Answer", _Voided, _Advised)


class HttpProductNotices:
    """Implements `application.ports.ProductNotices` and `ProductAdvices`."""

    def __init__(self, client: Requests) -> None:
        self._client = client

    async def send(self, call: NoticeCall) -> NoticeStatus:
        return (await self._told(call, _Voided)).status

    async def advise(self, call: NoticeCall) -> AdviceStatus:
        return (await self._told(call, _Advised)).status

    async def _told(self, call: NoticeCall, expected: type[Answer]) -> Answer:
        digest = base64.b64encode(hashlib.sha256(call.body).digest()).decode()
        headers = {
            "Authorization": f"Bearer {call.bearer}",
            "Content-Type": "application/json",
            "Content-Digest": f"sha-256=:{digest}:",
            "Idempotency-Key": call.idempotency_key,
        }
        if call.trace_id is not None:
            headers[trace.HEADER] = trace.traceparent(call.trace_id)
        try:
            answer = await self._client.request(
                "POST",
                call.url,
                headers=headers,
                body=call.body,
                deadline_s=call.deadline_s,
                max_bytes=ANSWER_BYTES_MAX,
            )
        except OutboundFailed as failed:
            raise NoticeFailed(failed.kind, status=failed.status) from failed
        if answer.status != 200:
            text = answer.headers.get("retry-after", "")
            after_s = float(text) if text.isascii() and text.isdecimal() and len(text) < 7 else None
            raise NoticeFailed("http_status", status=answer.status, after_s=after_s)
        try:
            return msgspec.convert(read_object(answer.body), expected)
        except (NotAnObject, msgspec.ValidationError) as error:
            raise NoticeFailed("malformed", status=200) from error
