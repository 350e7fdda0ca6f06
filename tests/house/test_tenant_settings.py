"""`/v1/tenant/settings`: read, changed under its ETag, in force at once, and readable as it was."""

import pytest

from domain.tenant import TenantSettings
from tests.house.world import House

pytestmark = pytest.mark.asyncio(loop_scope="session")

SETTINGS = "/v1/tenant/settings"


async def test_a_tenant_changes_its_settings_and_they_are_obeyed_and_remembered(
    house: House,
) -> None:
    tenant = await house.tenant()
    before = await tenant.api.get(SETTINGS)
    assert before.status_code == 200, before.text
    match = {"if-match": before.headers["etag"]}
    changed = await tenant.api.patch(
        SETTINGS,
        json={"allowed_countries": ["AE"], "match_policy": {"margin": 0.1}},
        headers=match,
    )
    assert changed.status_code == 200, changed.text
    assert changed.json()["allowed_countries"] == ["AE"]
    assert (
        changed.json()["match_policy"]["margin"],
        changed.json()["match_policy"]["version"],
    ) == (
        0.1,
        2,
    )
    late = await tenant.api.patch(SETTINGS, json={"kyc_required": True}, headers=match)
    assert (late.status_code, late.json()["code"]) == (412, "version_mismatch")
    blind = await tenant.api.patch(SETTINGS, json={"kyc_required": True})
    assert (blind.status_code, blind.json()["code"]) == (428, "if_match_required")

    till = await house.device(tenant)
    abroad = await till.http.post("/v1/device/signup", json={"mobile": house.mobile()})
    assert (abroad.status_code, abroad.json()["code"]) == (422, "mobile_country_not_allowed")

    past = (await tenant.api.get(f"{SETTINGS}/versions")).json()["items"]
    assert [(each["version"], each["changed"]) for each in past] == [
        (1, []),
        (2, ["match_policy", "allowed_countries"]),
    ]
    then = await tenant.api.get(SETTINGS, params={"as_of": past[0]["position"]})
    assert then.json() == before.json()
    first = (await tenant.api.get(f"{SETTINGS}/versions", params={"limit": 1})).json()
    rest = await tenant.api.get(f"{SETTINGS}/versions", params={"cursor": first["next"]})
    assert [first["items"][0], *rest.json()["items"]] == past
    assert rest.json()["next"] is None


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"palm_modell": "small"}, 400, "invalid_request"),
        ({"kyc_required": None}, 400, "invalid_request"),
        ({"access_token_s": 59}, 400, "invalid_request"),
        ({"match_policy": {"minimum": [2, 0, 0, 0]}}, 400, "invalid_request"),
        ({"match_policy": {"margins": 0.5}}, 400, "invalid_request"),
        ({"session_idle_days": 200}, 422, "settings_invalid"),
    ],
)
async def test_a_setting_that_makes_no_sense_changes_nothing(
    house: House, body: dict[str, object], status: int, code: str
) -> None:
    tenant = await house.tenant()
    before = await tenant.api.get(SETTINGS)
    answered = await tenant.api.patch(
        SETTINGS, json=body, headers={"if-match": before.headers["etag"]}
    )
    assert (answered.status_code, answered.json()["code"]) == (status, code)
    after = await tenant.api.get(SETTINGS)
    assert (after.headers["etag"], after.json()) == (before.headers["etag"], before.json())


async def test_the_schema_says_of_every_setting_what_it_does_and_what_it_is_by_default(
    house: House,
) -> None:
    tenant = await house.tenant()
    told = (await tenant.api.get(f"{SETTINGS}/schema")).json()["schema"]
    described = told["$defs"]["TenantSettings"]["properties"]
    assert set(described) == set(TenantSettings.__struct_fields__)
    defaults = (await tenant.api.get(SETTINGS)).json()
    assert {name: each["default"] for name, each in described.items()} == defaults
    assert all(each["description"] for each in described.values())
