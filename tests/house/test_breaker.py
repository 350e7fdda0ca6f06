"""The circuit before a product: opened by failures, taken in hand, told of, the same everywhere."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from application.ports import AuthorizeCall, Authorized
from infrastructure.products.linked_service_gateway import HttpLinkedServiceGateway
from interfaces.composition import Platform
from interfaces.counterparts import Counterparts
from tests.house.world import House, PairedDevice, Tenancy, opened, transaction

pytestmark = pytest.mark.asyncio(loop_scope="session")

ALI = b"the palm of ali at a breaker"
PATIENCE_S = 30.0
AT_ONCE = {"consecutive_failures": 1, "open_s": 3600, "open_max_s": 3600}


async def change(tenant: Tenancy, **routing: Any) -> None:
    path = f"/v1/linked-services/{tenant.service_id}"
    etag = (await tenant.api.get(path)).headers["etag"]
    changed = await tenant.api.patch(path, json=routing, headers={"if-match": etag})
    assert changed.status_code == 200, changed.text


async def take(tenant: Tenancy, mode: str, **said: Any) -> dict[str, Any]:
    path = f"/v1/linked-services/{tenant.service_id}/breaker"
    etag = (await tenant.api.get(path)).headers["etag"]
    body = {"mode": mode, "reason": "incident", **said}
    taken = await tenant.api.put(path, json=body, headers={"if-match": etag})
    assert taken.status_code == 200, taken.text
    return dict(taken.json())


async def look(tenant: Tenancy) -> dict[str, Any]:
    shown = await tenant.api.get(f"/v1/linked-services/{tenant.service_id}/breaker")
    assert shown.status_code == 200, shown.text
    return dict(shown.json())


async def pay(till: PairedDevice, **options: Any) -> str:
    """The reason, or `allow`."""
    answer = await till.http.post("/v1/device/transactions", json=transaction(ALI), **options)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["reason"] or answer.json()["decision"])


async def lane(house: House, **routing: Any) -> PairedDevice:
    tenant = await house.tenant()
    await change(tenant, breaker=AT_ONCE, **routing)
    till = await house.device(tenant)
    await house.person(till, house.mobile(), ALI)
    return till


async def failing(_: dict[str, Any]) -> tuple[int, bytes]:
    return 500, b""


async def until(found: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await found():  # noqa: ASYNC110 - another process does it
            await asyncio.sleep(0.05)


async def test_an_open_circuit_answers_without_a_word_to_the_product(house: House) -> None:
    till = await lane(house)
    house.product.script = failing
    assert await pay(till) == "product_5xx"
    asked = len(house.product.calls)
    assert [await pay(till) for _ in range(5)] == ["circuit_open"] * 5
    assert len(house.product.calls) == asked
    shown = await look(till.tenant)
    assert (shown["mode"], shown["state"], shown["openings"]) == ("auto", "open", 1)
    assert (shown["failures"]["product_5xx"], shown["failing_devices"]) == (1, 1)
    assert datetime.fromisoformat(shown["open_until"]) > datetime.now(UTC)

    async def audited() -> bool:
        found = await till.tenant.api.get("/v1/audit?action=linked_service_circuit_opened")
        items = found.json()["items"]
        return [f"lsvc_{each['subject_id']}" for each in items] == [till.tenant.service_id]

    await until(audited)


async def test_a_circuit_is_taken_in_hand_and_given_back(house: House) -> None:
    till = await lane(house)
    assert (await look(till.tenant))["state"] == "closed"
    forced = await take(till.tenant, "force_open", reason="maintenance")
    assert (forced["in_force"], forced["reason"], forced["state"]) == (
        *("force_open", "maintenance"),
        "closed",
    )
    assert await pay(till) == "circuit_open"
    assert house.product.calls == []
    await take(till.tenant, "auto", reason="recovery")
    assert await pay(till) == "allow"
    house.product.script = failing
    await take(till.tenant, "force_closed")
    assert [await pay(till) for _ in range(3)] == ["product_5xx"] * 3
    assert (await look(till.tenant))["state"] == "closed", "nothing is judged"
    await take(till.tenant, "observe")
    assert [await pay(till) for _ in range(3)] == ["product_5xx"] * 3
    assert (await look(till.tenant))["state"] == "open", "it judges, and stops nobody"
    await take(till.tenant, "auto")
    assert await pay(till) == "circuit_open"


async def test_what_was_said_ends_by_itself(house: House) -> None:
    till = await lane(house)
    until_then = datetime.now(UTC) + timedelta(minutes=5)
    said = await take(till.tenant, "force_open", until=until_then.isoformat())
    assert said["in_force"] == "force_open"
    house.clock.shift = timedelta(minutes=10)  # the token lives for fifteen
    shown = await look(till.tenant)
    assert (shown["mode"], shown["in_force"]) == ("force_open", "auto")


async def test_a_drill_is_an_outage_for_some_devices_and_says_so(house: House) -> None:
    till = await lane(house)
    other = await house.device(till.tenant)
    soon = datetime.now(UTC) + timedelta(minutes=30)
    await take(till.tenant, "drill", reason="rehearsal", until=soon.isoformat(), devices=[till.id])
    assert await pay(till) == "circuit_open"
    assert house.product.calls == []
    assert await pay(other) == "allow"
    tenant_id = till.tenant.tenant_id
    decided = [
        each.event
        for each in await house.platform.log.read(await house.end() - 40, 100)
        if each.tenant_id == tenant_id and each.event.NAME == "transaction.failed_closed"
    ]
    assert [getattr(each, "drill", None) for each in decided] == [True]


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"mode": "auto", "until": "2199-01-01T00:00:00Z"}, "until_invalid"),
        ({"mode": "observe", "until": "2020-01-01T00:00:00Z"}, "until_invalid"),
        ({"mode": "drill", "devices": [f"dev_{1:032x}"]}, "until_invalid"),
        ({"mode": "force_open", "devices": [f"dev_{1:032x}"]}, "devices_invalid"),
        ({"mode": "observe", "devices": ["till"]}, "devices_invalid"),
    ],
)
async def test_what_cannot_be_meant_is_refused(
    house: House, said: dict[str, Any], code: str
) -> None:
    tenant = await house.tenant()
    path = f"/v1/linked-services/{tenant.service_id}/breaker"
    body = {"reason": "other", **said}
    unconditional = await tenant.api.put(path, json=body)
    assert (unconditional.status_code, unconditional.json()["code"]) == (428, "if_match_required")
    refused = await tenant.api.put(path, json=body, headers={"if-match": "*"})
    assert (refused.status_code, refused.json()["code"]) == (422, code)
    stale = await tenant.api.put(
        path, json={"mode": "observe", "reason": "other"}, headers={"if-match": '"77"'}
    )
    assert (stale.status_code, stale.json()["code"]) == (412, "version_mismatch")


class Deaf(HttpLinkedServiceGateway):
    """The planted bug: a process that calls whatever an admin said."""

    async def authorize(self, call: AuthorizeCall) -> Authorized:
        return await super().authorize(msgspec.structs.replace(call, mode="auto"))


class DeafPlatform(Platform):
    def _outside(self) -> Counterparts:
        outside = super()._outside()
        heard = outside.products
        deaf = Deaf(heard.client, self.clock, self.breakers)
        return msgspec.structs.replace(outside, products=deaf)


@pytest.mark.parametrize("kind", [Platform, DeafPlatform])
async def test_what_was_said_in_one_process_holds_in_the_other(
    house: House, tmp_path: Path, kind: type[Platform]
) -> None:
    """As soon as its tail has heard of it, which takes less than a second. `DeafPlatform` shows
    that a process which does not listen is found."""
    till = await lane(house)
    dsn = house.platform.dsn
    async with opened(
        dsn,
        tmp_path,
        vendor=house.vendor,
        product=house.product,
        platform=kind,
        environ={"LINK_KEY_FILE": str(house.platform.settings.keys.file)},
    ) as other:
        there = PairedDevice(
            till.id,
            till.tenant,
            await other.client(other.device_url, verify=till.trust),
            till.trust,
            till.key_pem,
            other.device_url,
        )
        assert await pay(there) == "allow"
        await take(till.tenant, "force_open")
        assert await pay(till) == "circuit_open"
        said_at = await house.end()

        async def heard() -> bool:
            return other.platform.tail.position >= said_at

        await until(heard)
        assert await pay(there) == ("circuit_open" if kind is Platform else "allow")


async def test_what_a_shadow_policy_would_have_done_is_counted(house: House) -> None:
    till = await lane(house, fail_mode="closed", shadow={"fail_mode": "open"})
    house.product.script = failing
    assert [await pay(till) for _ in range(2)] == ["product_5xx", "circuit_open"]
    api, path = till.tenant.api, f"/v1/linked-services/{till.tenant.service_id}"
    told = await api.get(f"{path}/shadow", params={"min_position": await house.end()})
    assert told.status_code == 200, told.text
    found = told.json()
    assert (found["agree"], found["would_allow"], found["would_deny"]) == (0, 2, 0)
    (version,) = {each.pop("linked_service_version") for each in found["verdicts"]}
    assert (await api.get(path)).headers["etag"] == f'"{version}"'
    counted = {"decided": "deny", "would": "allow", "verdicts": 1}
    assert found["verdicts"] == [
        {**counted, "reason": reason} for reason in ("circuit_open", "product_5xx")
    ]
    later = await api.get(f"{path}/shadow", params={"since": "2199-01-01T00:00:00Z"})
    assert later.json() == {"agree": 0, "would_allow": 0, "would_deny": 0, "verdicts": []}
    refused = await api.get(f"{path}/shadow", params={"since": "yesterday"})
    assert (refused.status_code, refused.json()["code"]) == (400, "time_invalid")
