"""The audit over the wire: searched, streamed without a gap, and itself audited."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, cast

import httpx
import pytest

from application.principals import operator
from interfaces.http.integrator.audit_stream import NDJSON, READERS_MAX
from tests.house.pages import every_item
from tests.house.world import House, Tenancy
from tests.infrastructure.projections.watching import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENCE_S = 60.0

Item = dict[str, Any]


async def streamed(tenant: Tenancy, after: int = 0, wait: int = 0) -> list[Item]:
    asked = {"after": after, "wait": wait}
    answered = await tenant.api.get("/v1/audit/stream", params=asked)
    assert answered.status_code == 200, answered.text
    assert answered.headers["content-type"].startswith(NDJSON)
    items = [json.loads(line) for line in answered.text.splitlines()]
    positions = [item["position"] for item in items]
    assert positions == sorted(positions)
    assert items[-1]["type"] == "heartbeat"
    return items


def lines(items: list[Item]) -> list[Item]:
    return [item for item in items if item["type"] == "line"]


async def searched(tenant: Tenancy, **asked: Any) -> list[Item]:
    """All pages, oldest first."""
    return (await every_item(tenant.api, "/v1/audit", **asked))[::-1]


async def kiosk(tenant: Tenancy, name: str = "Kiosk") -> str:
    made = await tenant.api.post("/v1/devices", json={"type": "kiosk", "name": name})
    return str(made.json()["id"])


@asynccontextmanager
async def reader(house: House, tenant: Tenancy, after: int) -> AsyncGenerator[httpx.Response]:
    """A stream that stays open, and is left in the middle."""
    headers = {"authorization": tenant.api.headers["authorization"]}
    async with (
        httpx.AsyncClient(
            base_url=house.public_url, verify=house.trust(), timeout=PATIENCE_S, headers=headers
        ) as client,
        client.stream("GET", "/v1/audit/stream", params={"after": after, "wait": 300}) as answered,
    ):
        yield answered


async def next_line(items: AsyncIterator[str]) -> Item:
    async for text in items:
        item = json.loads(text)
        if item["type"] == "line":
            return cast("Item", item)
    raise AssertionError("the stream ended")


async def test_the_stream_tells_what_the_search_shows_in_the_order_of_the_log(
    house: House,
) -> None:
    tenant = await house.tenant()
    await house.device(tenant)
    end = await house.end()
    shown = await searched(tenant, min_position=end)
    items = await streamed(tenant)
    assert [line for line in lines(items) if line["position"] <= end] == [
        {"type": "line", **line} for line in shown if line["position"] <= end
    ]
    assert {line["action"] for line in lines(await streamed(tenant, end))} == {"audit_read"}
    middle = shown[len(shown) // 2]["position"]
    rest = [line["position"] for line in lines(await streamed(tenant, middle))]
    assert rest[0] > middle


async def test_a_line_is_told_as_soon_as_it_is_there(house: House) -> None:
    tenant = await house.tenant()
    async with reader(house, tenant, await house.end()) as answered:
        items = answered.aiter_lines()
        waiting = asyncio.create_task(next_line(items))
        wire_id = await kiosk(tenant)
        line = await asyncio.wait_for(waiting, PATIENCE_S)
        assert (line["action"], line["subject_id"]) == ("device_registered", wire_id[4:])


async def test_readers_that_come_and_go_while_many_write_miss_nothing(house: House) -> None:
    tenant, other = await asyncio.gather(house.tenant(), house.tenant())
    began = await house.end()
    writing = asyncio.gather(
        *(kiosk(each, f"Kiosk {n}") for n in range(25) for each in (tenant, other))
    )
    told: list[Item] = []
    after = began
    while not writing.done():
        items = await streamed(tenant, after)
        told += lines(items)
        after = items[-1]["position"]
    await writing
    end = await house.end()
    while after < end:
        items = await streamed(tenant, after)
        told += lines(items)
        after = items[-1]["position"]
    shown = await searched(tenant, min_position=end)
    expected = [line["position"] for line in shown if began < line["position"] <= end]
    assert [line["position"] for line in told if line["position"] <= end] == expected
    assert sum(line["action"] == "device_registered" for line in told) == 25


async def test_reading_leaves_a_line_a_minute_and_two_readers_do_not_feed_each_other(
    house: House,
) -> None:
    tenant = await house.tenant()
    positions = [0, 0]
    for _ in range(6):
        house.clock.shift += timedelta(minutes=1)
        for number, after in enumerate(positions):
            positions[number] = (await streamed(tenant, after))[-1]["position"]
    quiet = (await house.events(tenant)).count("audit.read")
    for _ in range(3):
        house.clock.shift += timedelta(minutes=1)
        for number, after in enumerate(positions):
            positions[number] = (await streamed(tenant, after))[-1]["position"]
    assert (await house.events(tenant)).count("audit.read") == quiet
    for _ in range(3):
        await tenant.api.get("/v1/audit")
    found = await searched(tenant, action="audit_read", min_position=await house.end())
    noted = [line["facts"]["kind"] for line in found]
    assert noted.count("stream") in (1, 2)  # Two, when the first minute ended in between.


async def test_searching_is_in_the_audit_with_who_and_how(house: House) -> None:
    tenant = await house.tenant()
    till = await house.device(tenant)
    user_id = await house.signed_up(till, house.mobile())
    for _ in range(3):
        await tenant.api.get("/v1/audit", params={"action": "device_paired"})
        await tenant.api.get(f"/v1/users/{user_id}/accesses")
    end = await house.end()
    found = await searched(tenant, action="audit_read", min_position=end)
    assert {line["facts"]["kind"] for line in found} == {"search", "accesses"}
    assert len(found) <= 4  # A minute may have ended in between.
    for line in found:
        assert line["actor"].startswith("client:cli_")
        assert (line["subject_kind"], line["subject_id"]) == ("audit", tenant.tenant_id.hex)


async def test_a_tenant_that_wants_no_audit_is_told_positions_and_no_lines(house: House) -> None:
    tenant = await house.tenant(audit_enabled=False)
    shown = [line["action"] for line in lines(await streamed(tenant))]
    assert shown == ["tenant_created", "tenant_settings_changed"]
    end = await house.end()
    await kiosk(tenant)
    items = await streamed(tenant, end)
    assert lines(items) == []
    assert items[-1]["position"] > end


async def test_a_foreign_line_is_never_told(house: House) -> None:
    ours, theirs = await asyncio.gather(house.tenant(), house.tenant())
    await kiosk(theirs)
    text = json.dumps(await streamed(ours))
    assert theirs.tenant_id.hex not in text
    assert theirs.service_id[5:] not in text


async def test_a_tenant_has_so_many_readers_and_no_more(house: House) -> None:
    tenant, other = await asyncio.gather(house.tenant(), house.tenant())
    end = await house.end()
    async with (
        reader(house, tenant, end),
        reader(house, tenant, end),
        reader(house, tenant, end),
        reader(house, tenant, end) as last,
    ):
        assert last.status_code == 200
        assert house.platform.audit_feed.listening(tenant.tenant_id) == READERS_MAX
        refused = await tenant.api.get("/v1/audit/stream")
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
        assert await streamed(other)

    async def all_gone() -> bool:
        return house.platform.audit_feed.listening(tenant.tenant_id) == 0

    await until(all_gone)
    assert await streamed(tenant)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ("after=-1", "invalid_request"),
        ("after=x", "invalid_request"),
        ("after=1.5", "invalid_request"),
        (f"after={2**62}", "position_in_future"),
        (f"after={2**62 + 1}", "invalid_request"),
        ("wait=-1", "invalid_request"),
        ("wait=301", "invalid_request"),
        ("wait=null", "invalid_request"),
    ],
)
async def test_a_position_that_is_none_or_has_not_come_is_refused(
    house: House, asked: str, code: str
) -> None:
    tenant = await house.tenant()
    answered = await tenant.api.get(f"/v1/audit/stream?{asked}")
    assert (answered.status_code, answered.json()["code"]) == (400, code)


async def test_a_search_is_bounded_by_time(house: House) -> None:
    tenant = await house.tenant()
    first = (await searched(tenant, min_position=await house.end()))[-1]
    await kiosk(tenant)
    end = await house.end()
    moment = first["recorded_at"]
    late = await searched(tenant, since=moment, min_position=end)
    early = await searched(tenant, until=moment)
    assert first["position"] in {line["position"] for line in late}
    assert all(line["recorded_at"] < moment for line in early)
    assert {line["position"] for line in late} & {line["position"] for line in early} == set()
    later = (datetime.fromisoformat(moment) + timedelta(days=400)).isoformat()
    assert await searched(tenant, since=later) == []


@pytest.mark.parametrize(
    "text", ["yesterday", "2026-01-01", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z", "1", ""]
)
async def test_a_time_that_is_none_is_refused(house: House, text: str) -> None:
    tenant = await house.tenant()
    for name in ("since", "until"):
        answered = await tenant.api.get("/v1/audit", params={name: text})
        assert (answered.status_code, answered.json()["code"]) == (400, "time_invalid")


async def test_a_process_that_ends_lets_its_readers_go_at_once(fresh_house: House) -> None:
    tenant = await fresh_house.tenant()
    caller = operator(tenant.tenant_id, fresh_house.platform.ids.uuid())
    async with reader(fresh_house, tenant, await fresh_house.end()) as answered:
        items = answered.aiter_lines()
        waiting = asyncio.create_task(next_line(items))
        await fresh_house.platform.tenants.change_settings(caller, {"kyc_required": True})
        assert (await asyncio.wait_for(waiting, PATIENCE_S))["event"] == "tenant.settings_changed"
        fresh_house.platform.audit_feed.close()
        rest = await asyncio.wait_for(_rest(items), PATIENCE_S)
    assert rest[-1]["type"] == "heartbeat"


async def _rest(items: AsyncIterator[str]) -> list[Item]:
    return [json.loads(text) async for text in items]
