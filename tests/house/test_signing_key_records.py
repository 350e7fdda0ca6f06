"""Whoever runs the platform reads in its audit which signing keys were made, and by whom."""

import pytest

from domain.ids import PLATFORM
from infrastructure.keys.signing_key_keeper import CONSENT_RECEIPTS, FAMILIES
from interfaces.cli.session import caller
from tests.house.world import House

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_rotation_by_hand_stands_in_the_platforms_audit(house: House) -> None:
    platform = house.platform
    await platform.key_records.round()
    kid = await platform.signing.rotate(CONSENT_RECEIPTS)
    by_hand = caller(PLATFORM)
    await platform.key_records.record(by_hand)
    client = await house.client(house.public_url)
    client.headers["authorization"] = f"Bearer {await house.token(PLATFORM)}"
    end = await house.end()
    answer = await client.get(
        "/v1/audit", params={"action": "signing_key_made", "limit": 200, "min_position": end}
    )
    assert answer.status_code == 200, answer.text
    rows = answer.json()["items"]
    assert {row["facts"]["family"] for row in rows} == set(FAMILIES)
    (row,) = [row for row in rows if row["facts"]["kid"] == kid]
    assert row["facts"]["family"] == CONSENT_RECEIPTS
    assert row["severity"] == "high"
    assert row["actor"] == by_hand.actor
