"""The example products are asked wrongly over real HTTP, with real keys, and let nobody in."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar

from examples.access.app import access_app
from examples.product_endpoint import ProductSettings
from examples.wallet.app import wallet_app
from examples.wallet.money import Money
from tests.examples.products import product
from tests.house.world import House, Tenancy, plain

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENCE_S = 100.0


def ca_file(house: House, folder: Path) -> str:
    path = folder / "ca.pem"
    path.write_text(house.platform.authority.ca_bundle_pem())
    return str(path)


@asynccontextmanager
async def served(
    house: House, folder: Path, build: Callable[[ProductSettings], Litestar]
) -> AsyncGenerator[tuple[str, httpx.AsyncClient]]:
    """A product on loopback that trusts this platform; its address, and its operator's door."""
    settings = ProductSettings(
        jwks_url=f"{house.public_url}/.well-known/jwks.json",
        issuer=house.platform.settings.issuer,
        cafile=ca_file(house, folder),
    )
    app = build(settings)
    async with product(app) as operator, plain(app) as url:
        yield url, operator


async def registered(
    tenant: Tenancy, url: str, key: str, operator: httpx.AsyncClient, **fields: Any
) -> dict[str, Any]:
    made = await tenant.api.post(
        "/v1/linked-services",
        json={
            "product_key": key,
            "base_url": url,
            "void_path": "/void",
            "advice_path": "/advice",
            "timeout_ms": 10_000,
            **fields,
        },
    )
    assert made.status_code == 201, made.text
    known = await operator.post("/admin/audiences", json={"audience": made.json()["audience"]})
    assert known.status_code == 201, known.text
    return dict(made.json())


async def certified(
    tenant: Tenancy, service_id: str, action: str, context: dict[str, Any]
) -> dict[str, Any]:
    asked = {"action": action, "context": context}
    begun = await tenant.api.post(f"/v1/linked-services/{service_id}/certify", json=asked)
    assert begun.status_code == 202, begun.text
    async with asyncio.timeout(PATIENCE_S):
        while True:
            shown = (await tenant.api.get(begun.headers["location"])).json()
            if shown["status"] != "running":
                return dict(shown)
            await asyncio.sleep(0.1)


def faults(shown: dict[str, Any]) -> dict[str, str]:
    return {each["case"]: each["found"] for each in shown["cases"] if each["verdict"] != "passed"}


async def test_the_example_wallet_gets_the_best_grade(house: House, tmp_path: Path) -> None:
    tenant = await house.tenant()
    context = {"amount": "1.00", "currency": "SAR"}
    opening = Money(100_00, "SAR")
    async with served(house, tmp_path, lambda given: wallet_app(given, opening)) as (url, operator):
        service = await registered(tenant, url, "purse", operator)
        shown = await certified(tenant, service["id"], "pay", context)
        assert (faults(shown), shown["grade"]) == ({}, "A")
        assert (await operator.get("/charges")).json() == [], "what was tried is given back"
    assert "linked_service.certified" in await house.events(tenant)


async def test_the_example_access_control_gets_the_best_grade(house: House, tmp_path: Path) -> None:
    tenant = await house.tenant()
    async with served(house, tmp_path, access_app) as (url, operator):
        service = await registered(tenant, url, "doors", operator)
        shown = await certified(tenant, service["id"], "open", {"gate": "north"})
        assert (faults(shown), shown["grade"]) == ({}, "A")


async def test_a_product_that_checks_nothing_is_caught_and_only_writers_see_how(
    house: House,
) -> None:
    """The house's scripted product allows whatever comes."""
    tenant = await house.tenant()
    shown = await certified(tenant, tenant.service_id, "pay", {})
    assert shown["grade"] == "F"
    caught = faults(shown)
    assert {"alg_none", "wrong_signature", "expired", "replayed_jti", "no_assertion"} <= set(caught)
    assert set(caught.values()) >= {"answered_allow", "no_void_path"}
    lines = {each["case"]: each["curl"] for each in shown["cases"]}
    assert lines["alg_none"][0].startswith("curl -sS -i -X POST ")
    reader = await house.token(tenant.tenant_id, "linked_services:read")
    path = f"/v1/linked-services/{tenant.service_id}/certification"
    cut = (await tenant.api.get(path, headers={"authorization": f"Bearer {reader}"})).json()
    assert cut["grade"] == "F"
    assert all(each["curl"] == [] for each in cut["cases"])
    again = await tenant.api.get(path)
    assert again.headers["cache-control"] == "no-store"
