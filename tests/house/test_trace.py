"""A caller's trace goes through: into the events, on to the product, and back (W3C)."""

from uuid import UUID, uuid4

import pytest

from interfaces.http.request_id import traced
from tests.house.test_webhooks import address, arrivals, endpoint, receiver
from tests.house.world import House, PairedDevice, Tenancy, transaction

pytestmark = pytest.mark.asyncio(loop_scope="session")

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
PALM = b"the palm of ali"


@pytest.mark.parametrize(
    "given",
    [
        (),
        (f"00-{'0' * 32}-{SPAN}-01",),
        (f"00-{TRACE}-{'0' * 16}-01",),
        (f"ff-{TRACE}-{SPAN}-01",),
        (f"00-{TRACE}-{SPAN}-01-more",),
        (f"00-{TRACE.upper()}-{SPAN}-01",),
        (f"00-{TRACE}-{SPAN}",),
        (f"00-{TRACE}-{SPAN}-01\n",),
        (f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01"),
    ],
)
async def test_what_is_no_traceparent_is_as_none(given: tuple[str, ...]) -> None:
    assert traced([(b"traceparent", text.encode()) for text in given]) is None


@pytest.mark.parametrize("given", [f"00-{TRACE}-{SPAN}-00", f"01-{TRACE}-{SPAN}-01-more"])
async def test_a_traceparent_names_the_trace(given: str) -> None:
    assert traced([(b"accept", b"*/*"), (b"traceparent", given.encode())]) == UUID(hex=TRACE)


async def test_a_trace_goes_through_the_house(house: House) -> None:
    """From the till's own log to the events, to vendor, product and webhook, and back."""
    tenant = await house.tenant()
    till = await house.device(tenant)
    await house.person(till, house.mobile(), PALM)
    trace = uuid4().hex
    async with receiver(house) as server:
        await endpoint(tenant, address(server), "device.transaction.completed")
        await asked(house, tenant, till, trace)
        ((headers, _),) = await arrivals(server, 1)
    assert headers["traceparent"].split("-")[:2] == ["00", trace]


async def asked(house: House, tenant: Tenancy, till: PairedDevice, trace: str) -> None:
    """A transaction of this trace, and what is to be found of it."""
    answered = await till.http.post(
        "/v1/device/transactions",
        json=transaction(PALM),
        headers={"traceparent": f"00-{trace}-{SPAN}-01"},
    )
    assert answered.status_code == 200, answered.text
    version, named, span, _ = answered.headers["traceresponse"].split("-")
    assert (version, named) == ("00", trace)
    assert span != SPAN
    assert answered.headers["x-request-id"] == f"req_{trace}"
    spans = {SPAN}
    for told in (house.product.headers[-1], house.vendor.asked_with):
        version, passed, span, _ = told["traceparent"].split("-")
        assert (version, passed) == ("00", trace)
        assert span not in spans
        spans.add(span)
    names = {
        recorded.event.NAME
        for recorded in await house.platform.log.read(0, 100_000)
        if recorded.correlation_id == UUID(hex=trace)
    }
    assert {"transaction.received", "transaction.authorization_requested"} <= names
    found = await tenant.api.get(
        "/v1/audit",
        params={"correlation_id": str(UUID(hex=trace)), "min_position": await house.end()},
    )
    assert found.json()["items"], found.text


async def test_without_one_a_trace_begins_here(house: House) -> None:
    tenant = await house.tenant()
    one, other = [await tenant.api.get("/v1/devices") for _ in range(2)]
    traces = [answer.headers["traceresponse"].split("-")[1] for answer in (one, other)]
    assert traces[0] != traces[1]
    assert [answer.headers["x-request-id"] for answer in (one, other)] == [
        f"req_{trace}" for trace in traces
    ]
