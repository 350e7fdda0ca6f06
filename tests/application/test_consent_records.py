"""What people agree to and withdraw by themselves or through a backend, and what counts then."""

from collections.abc import Mapping
from typing import Any

import pytest

from application.people.consent_records import ConsentRecords
from application.people.consents import Agreement
from application.principals import UserPrincipal
from domain import user as u
from domain.errors import Conflict, Forbidden, Invalid, NotFound
from domain.ids import ConsentId, UserSessionId
from tests import builders
from tests.application.world import BACKEND, OTHER_USER, World
from tests.spec import CORRELATION, STREAM, TENANT

PERSON = UserPrincipal(
    tenant_id=TENANT,
    actor="user:usr_1",
    correlation_id=CORRELATION,
    user_id=OTHER_USER,
    session_id=UserSessionId(STREAM),
    authenticated_at=builders.NOW,
)
MARKETING = Agreement(consent_type="marketing", version="2", locale="en")


class Plain:
    """Signs nothing, so that the claims can be read."""

    def __init__(self) -> None:
        self.signed: list[Mapping[str, Any]] = []

    def sign(self, claims: Mapping[str, Any]) -> str:
        self.signed.append(claims)
        return "signed"


def world_of() -> World:
    world = World()
    world.given(OTHER_USER, builders.user_signed_up())
    return world


async def published(world: World, version: str, digest: str) -> None:
    await world.consent_types().publish(BACKEND, "marketing", version, {"en": digest})


async def test_who_agrees_agrees_to_the_words_that_are_in_force() -> None:
    world = world_of()
    await published(world, "1", "00" * 32)
    await published(world, "2", "7e" * 32)
    old = Agreement(consent_type="marketing", version="1", locale="en")
    other = Agreement(consent_type="marketing", version="2", locale="en", text_sha256="00" * 32)
    with pytest.raises(Conflict, match="consent_version_outdated"):
        await world.consents().grant_for(PERSON, OTHER_USER, old, "app")
    with pytest.raises(Invalid, match="consent_text_mismatch"):
        await world.consents().grant_for(PERSON, OTHER_USER, other, "app")
    granted, _ = await world.consents().grant_for(PERSON, OTHER_USER, MARKETING, "app")
    again, done = await world.consents().grant_for(PERSON, OTHER_USER, MARKETING, "app")
    assert (again.consent_id, again.repeated, done.position) == (granted.consent_id, True, None)
    (record,) = await records(world).of_user(TENANT, OTHER_USER)
    assert (record.text_sha256, record.granted_by, record.method) == (
        "7e" * 32,
        PERSON.actor,
        "app",
    )


def records(world: World, signer: Plain | None = None) -> ConsentRecords:
    return ConsentRecords(world.log, signer or Plain(), world.clock)


async def test_each_purpose_is_withdrawn_by_itself_and_the_past_stays_on_record() -> None:
    world = world_of()
    await world.consents().grant_for(BACKEND, OTHER_USER, agreed("analytics"), "paper")
    for _ in range(2):
        await world.consents().grant_for(PERSON, OTHER_USER, agreed("marketing"), "app")
        await world.consents().withdraw(BACKEND, OTHER_USER, "marketing")
    found = await records(world).of_user(TENANT, OTHER_USER)
    assert [(each.consent_type, each.withdrawn_by) for each in found] == [
        ("analytics", None),
        ("marketing", BACKEND.actor),
        ("marketing", BACKEND.actor),
    ]
    repeated = await world.consents().withdraw(BACKEND, OTHER_USER, "marketing")
    assert repeated.position is None
    for nothing in ("never_asked", "analytic"):
        with pytest.raises(NotFound, match="consent_not_found"):
            await world.consents().withdraw(BACKEND, OTHER_USER, nothing)


def agreed(consent_type: str) -> Agreement:
    return Agreement(consent_type=consent_type, version="1", locale="en")


async def test_a_receipt_says_what_was_agreed_to_and_how_it_ended() -> None:
    world, signer = world_of(), Plain()
    granted, _ = await world.consents().grant_for(PERSON, OTHER_USER, agreed("marketing"), "web")
    await world.consents().withdraw(PERSON, OTHER_USER, "marketing")
    receipt = await records(world, signer).receipt(TENANT, OTHER_USER, granted.consent_id)
    assert receipt == "signed"
    (claims,) = signer.signed
    assert claims["pii_processing"]["purposes"][0]["purpose"] == "marketing"
    assert [each["event_state"] for each in claims["event_history"]] == [
        "consent_given",
        "consent_withdrawn",
    ]
    assert claims["event_history"][1]["event"].endswith(":3")
    with pytest.raises(NotFound, match="consent_not_found"):
        await records(world).receipt(TENANT, OTHER_USER, ConsentId(STREAM))


async def test_of_a_palm_the_setting_says_which_version_is_in_force() -> None:
    world = world_of()
    types = world.consent_types()
    with pytest.raises(Conflict, match="consent_version_outdated"):
        await types.publish(BACKEND, u.PALM_ENROLLMENT, "9", {})
    await types.publish(BACKEND, u.PALM_ENROLLMENT, "1", {"en": "7e" * 32})
    world.settings(consent_version="2")
    new = Agreement(consent_type=u.PALM_ENROLLMENT, version="2", locale="en")
    granted, _ = await world.consents().grant_for(PERSON, OTHER_USER, new, "app")
    assert not granted.repeated


async def test_who_is_suspended_may_withdraw_and_agrees_to_nothing() -> None:
    world = world_of()
    await world.consents().grant_for(PERSON, OTHER_USER, agreed("marketing"), "app")
    world.given(OTHER_USER, builders.user_suspended())
    with pytest.raises(Forbidden, match="user_suspended"):
        await world.consents().grant_for(BACKEND, OTHER_USER, agreed("analytics"), "paper")
    done = await world.consents().withdraw(BACKEND, OTHER_USER, "marketing")
    assert done.position is not None
