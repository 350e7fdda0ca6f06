"""Only a whole acknowledgement is one."""

from collections.abc import Mapping
from uuid import UUID

import msgspec
import pytest

from application.ports import NoticeCall, NoticeFailed
from infrastructure.outbound.client import Answer, OutboundFailed
from infrastructure.products.product_notices import HttpProductNotices

CALL = NoticeCall(
    url="https://wallet.example/void",
    bearer="assertion",
    body=b"{}",
    idempotency_key="txn_1",
    deadline_s=5.0,
)


class Product:
    """Answers in one way, and keeps what it was sent."""

    def __init__(self, answer: Answer | OutboundFailed) -> None:
        self._answer = answer
        self.sent: dict[str, str] = {}

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        deadline_s: float,
        max_bytes: int,
    ) -> Answer:
        self.sent = {**headers, "url": url, "method": method, "body": body.decode()}
        assert (deadline_s, max_bytes) == (5.0, 16_384)
        if isinstance(self._answer, OutboundFailed):
            raise self._answer
        return self._answer


def answering(body: bytes, status: int = 200, **headers: str) -> Product:
    return Product(Answer(status=status, headers=headers, body=body))


async def test_a_product_is_told_in_the_trace_of_its_question() -> None:
    told = msgspec.structs.replace(CALL, trace_id=UUID(int=7))
    product = answering(b'{"status":"voided"}')
    await HttpProductNotices(product).send(told)
    assert product.sent["traceparent"].split("-")[:2] == ["00", UUID(int=7).hex]
    product = answering(b'{"status":"recorded"}')
    await HttpProductNotices(product).advise(told)
    assert product.sent["traceparent"].split("-")[:2] == ["00", UUID(int=7).hex]
    await HttpProductNotices(product).advise(CALL)
    assert "traceparent" not in product.sent


@pytest.mark.parametrize("status", ["voided", "already_voided", "not_found", "cannot_void"])
async def test_the_products_word_is_heard(status: str) -> None:
    product = answering(b'{"status":"%s","more":1}' % status.encode())
    assert await HttpProductNotices(product).send(CALL) == status
    assert (product.sent["method"], product.sent["url"]) == ("POST", CALL.url)
    assert product.sent["Authorization"] == "Bearer assertion"
    assert product.sent["Idempotency-Key"] == "txn_1"
    assert product.sent["Content-Digest"] == (
        "sha-256=:RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=:"
    )


@pytest.mark.parametrize(
    ("product", "reason", "status", "after_s"),
    [
        (answering(b'{"status":"done"}'), "malformed", 200, None),
        (answering(b"[]"), "malformed", 200, None),
        (answering(b"", 503, **{"retry-after": "7"}), "http_status", 503, 7.0),
        (answering(b"", 503, **{"retry-after": "soon"}), "http_status", 503, None),
        (answering(b'{"status":"voided"}', 202), "http_status", 202, None),
        (answering(b"", 404), "http_status", 404, None),
        (
            Product(OutboundFailed("timeout", reached=True, detail="no answer")),
            "timeout",
            None,
            None,
        ),
    ],
)
async def test_anything_else_is_no_acknowledgement(
    product: Product, reason: str, status: int | None, after_s: float | None
) -> None:
    with pytest.raises(NoticeFailed) as raised:
        await HttpProductNotices(product).send(CALL)
    assert (raised.value.reason, raised.value.status, raised.value.after_s) == (
        reason,
        status,
        after_s,
    )
