"""The example access control: it opens for whom it should, and writes down who tried."""

from collections.abc import AsyncGenerator, Generator

import httpx
import pytest

from examples.access.app import access_app
from examples.product_endpoint import ProductSettings
from tests.clients.product.platform_double import (
    DEVICE,
    ISSUER,
    TENANT,
    USER,
    PlatformDouble,
    audience,
    platform,
)
from tests.examples.products import authorize, code_of, product


@pytest.fixture
def double() -> Generator[PlatformDouble]:
    with platform() as opened:
        yield opened


@pytest.fixture
async def access(double: PlatformDouble) -> AsyncGenerator[httpx.AsyncClient]:
    settings = ProductSettings(jwks_url=double.url, issuer=ISSUER, audiences=(audience(),))
    async with product(access_app(settings)) as client:
        yield client


def at_gate(double: PlatformDouble, key: str, **context: object) -> dict[str, object]:
    return double.body(key, action="open", context=context)


async def grant(access: httpx.AsyncClient, gate: str) -> None:
    granted = await access.post(
        "/admin/grants", json={"tenant_id": TENANT, "user_id": USER, "gate": gate}
    )
    assert granted.status_code == 201


async def test_a_gate_opens_for_whom_it_was_granted(
    double: PlatformDouble, access: httpx.AsyncClient
) -> None:
    await grant(access, "north")
    opened = (await authorize(access, double, at_gate(double, "1", gate="north"))).json()
    refused = (await authorize(access, double, at_gate(double, "2", gate="south"))).json()
    assert (opened["decision"], opened["display_message"]) == ("allow", "Welcome")
    assert (refused["decision"], refused["reason_code"]) == ("deny", "no_access")
    log = (await access.get("/openings")).json()
    assert [(row["gate"], row["opened"]) for row in log] == [("north", True), ("south", False)]
    assert {row["user_id"] for row in log} == {USER}
    assert log[0]["reference_id"] == opened["reference_id"]


async def test_a_gate_without_a_name_is_its_device(
    double: PlatformDouble, access: httpx.AsyncClient
) -> None:
    await grant(access, DEVICE)
    assert (await authorize(access, double, at_gate(double, "1"))).json()["decision"] == "allow"


async def test_a_grant_for_every_gate_opens_every_gate_but_none_is_called_so(
    double: PlatformDouble, access: httpx.AsyncClient
) -> None:
    await grant(access, "*")
    opened = (await authorize(access, double, at_gate(double, "1", gate="any"))).json()
    star = (await authorize(access, double, at_gate(double, "2", gate="*"))).json()
    assert opened["decision"] == "allow"
    assert (star["decision"], star["reason_code"]) == ("deny", "gate_invalid")


async def test_a_withdrawn_grant_opens_nothing(
    double: PlatformDouble, access: httpx.AsyncClient
) -> None:
    await grant(access, "north")
    withdrawn = await access.request(
        "DELETE", "/admin/grants", json={"tenant_id": TENANT, "user_id": USER, "gate": "north"}
    )
    assert withdrawn.status_code == 204
    answer = (await authorize(access, double, at_gate(double, "1", gate="north"))).json()
    assert answer["decision"] == "deny"


async def test_a_retry_opens_once(double: PlatformDouble, access: httpx.AsyncClient) -> None:
    await grant(access, "north")
    body = at_gate(double, "1", gate="north")
    first = await authorize(access, double, body)
    again = await authorize(access, double, body)
    assert again.content == first.content
    assert again.headers["idempotent-replayed"] == "true"
    assert len((await access.get("/openings")).json()) == 1


async def test_a_payment_does_not_open_a_gate(
    double: PlatformDouble, access: httpx.AsyncClient
) -> None:
    response = await authorize(access, double, double.body(action="pay"))
    assert (response.status_code, code_of(response)) == (403, "action_not_allowed")
    assert (await access.get("/openings")).json() == []
