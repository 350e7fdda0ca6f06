"""Palms asked for at devices, over the API: enrolled, replaced, verified, confirmed."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.house.world import House, PairedDevice, Tenancy, scan

pytestmark = pytest.mark.asyncio(loop_scope="session")

WAIT = {"wait": 25}


async def with_a_scanner(house: House, palm: bytes) -> tuple[Tenancy, str, PairedDevice]:
    """A tenant, a person whose left palm is enrolled, and the person's own scanner."""
    tenant = await house.tenant()
    user_id = await house.person(await house.device(tenant), house.mobile(), palm)
    return tenant, user_id, await house.device(tenant, "personal_scanner", bound_user=user_id)


async def asked(tenant: Tenancy, path: str, **body: Any) -> dict[str, Any]:
    answered = await tenant.api.post(path, json=body)
    assert answered.status_code == 201, answered.text
    shown: dict[str, Any] = answered.json()
    assert answered.headers["location"] == f"/v1/challenges/{shown['id']}"
    return shown


async def polled(scanner: PairedDevice, wait: int = 0) -> list[dict[str, Any]]:
    answered = await scanner.http.get("/v1/device/challenges", params={"wait": wait})
    assert answered.status_code == 200, answered.text
    items: list[dict[str, Any]] = answered.json()["items"]
    return items


async def answer(
    scanner: PairedDevice, challenge: str, palm: bytes, attempt: int = 1
) -> httpx.Response:
    return await scanner.http.post(
        f"/v1/device/challenges/{challenge}/respond",
        json={"attempt": attempt, "scan": scan(palm)},
    )


async def test_whoever_waits_is_told_on_both_sides(house: House) -> None:
    """The scanner waits before it is asked, the backend before it is answered; of both the wait
    is longer than the test may take, so that neither is told by its end."""
    tenant, user_id, scanner = await with_a_scanner(house, b"ali's palm")
    waits = asyncio.ensure_future(polled(scanner, 25))
    challenge = await asked(
        tenant,
        "/v1/challenges",
        user_id=user_id,
        device_id=scanner.id,
        purpose="confirmation",
        message="Pay SAR 50.00 to Acme",
    )
    (offered,) = await waits
    assert (offered["id"], offered["message"]) == (challenge["id"], "Pay SAR 50.00 to Acme")
    path = f"/v1/challenges/{challenge['id']}"
    learns = asyncio.ensure_future(tenant.api.get(path, params=WAIT))
    missed = await answer(scanner, challenge["id"], b"somebody else's palm")
    assert (missed.json()["result"], missed.json()["attempts_left"]) == ("no_match", 2)
    matched = await answer(scanner, challenge["id"], b"ali's palm", 2)
    assert matched.json()["result"] == "match", matched.text
    learnt = (await learns).json()
    assert (learnt["status"], learnt["result"], learnt["attempts"]) == ("completed", "match", 2)
    assert learnt["confidence"] > 0.9
    again = await answer(scanner, challenge["id"], b"ali's palm", 2)
    assert again.json() == matched.json()
    late = await tenant.api.delete(path)
    assert (late.status_code, late.json()["code"]) == (409, "challenge_closed")


async def test_both_hands_are_enrolled_and_one_replaced_at_the_persons_scanner(
    house: House,
) -> None:
    tenant, user_id, scanner = await with_a_scanner(house, b"bea's left palm")
    common = {"user_id": user_id, "device_id": scanner.id}
    right = await asked(tenant, "/v1/enrollments", **common, hand="right")
    (offered,) = await polled(scanner)
    assert (offered["purpose"], offered["hand"]) == ("enrollment", "right")
    enrolled = await answer(scanner, right["id"], b"bea's right palm")
    assert enrolled.json()["result"] == "enrolled", enrolled.text
    taken = await tenant.api.post("/v1/enrollments", json={**common, "hand": "left"})
    assert (taken.status_code, taken.json()["code"]) == (409, "palm_already_enrolled")
    left = await asked(tenant, "/v1/enrollments", **common, hand="left", replace=True)
    anew = await answer(scanner, left["id"], b"bea's left palm, years later")
    assert anew.json()["result"] == "enrolled", anew.text
    position = {"min_position": str(await house.end())}
    palm = (
        await tenant.api.get(f"/v1/enrollments/{anew.json()['palm_ref']}", params=position)
    ).json()
    replaced = (await tenant.api.get(f"/v1/enrollments/{palm['replaces']}", params=position)).json()
    assert (palm["status"], palm["template"]) == ("completed", "kept")
    assert replaced["template"] in ("removing", "removed")
    listed = (
        await tenant.api.get("/v1/challenges", params={**position, "user_id": user_id})
    ).json()["items"]
    assert [(each["id"], each["result"], each["palm_ref"]) for each in listed] == [
        (left["id"], "enrolled", anew.json()["palm_ref"]),
        (right["id"], "enrolled", enrolled.json()["palm_ref"]),
    ]


async def test_a_scanner_is_asked_for_its_person_and_by_its_tenant_alone(house: House) -> None:
    (tenant, _, scanner), (others, stranger, _) = await asyncio.gather(
        with_a_scanner(house, b"carl's palm"), with_a_scanner(house, b"dora's palm")
    )
    till = await house.device(tenant)
    own = await house.person(till, house.mobile(), b"emil's palm")
    wanted = {"device_id": scanner.id, "purpose": "verification"}
    told = [
        (answered.status_code, answered.json()["code"])
        for answered in [
            await tenant.api.post("/v1/challenges", json={**wanted, "user_id": own}),
            await tenant.api.post("/v1/challenges", json={**wanted, "user_id": stranger}),
            await others.api.post("/v1/challenges", json={**wanted, "user_id": stranger}),
        ]
    ]
    assert told == [
        (409, "device_not_of_user"),
        (404, "user_not_found"),
        (404, "device_not_found"),
    ]
    refused = await till.http.get("/v1/device/challenges")
    assert (refused.status_code, refused.json()["code"]) == (403, "device_type_not_allowed")
