"""A decision names the very events that it rested on, also when they have been overtaken since."""

from typing import Any

import msgspec

from application.transactions.explanation import Determinant, Explanations
from domain import transaction as x
from domain.events import Recorded
from domain.matching import MatchPolicy
from tests import builders
from tests.application.world import World, transaction
from tests.builders import DEVICE, PALM, SERVICE, USER
from tests.spec import TENANT


async def explained(world: World, past: list[Recorded] | None = None) -> dict[str, Determinant]:
    past = past or world.log.stream(transaction())
    found = await Explanations(world.log).determined_by(TENANT, past)
    assert len({each.what for each in found}) == len(found)
    return {each.what: each for each in found}


def told(found: dict[str, Determinant]) -> dict[str, tuple[Any, ...]]:
    return {
        what: (each.event.stream_id, each.event.event.NAME, each.event.version, each.basis)
        for what, each in found.items()
    }


async def test_every_stream_that_was_read_is_named_with_the_event_that_counts() -> None:
    world = World()
    world.settings(match_policy=MatchPolicy(version=2, margin=0.02))
    world.settings(match_policy=MatchPolicy(version=2, margin=0.02), device_receives_user_id=True)
    await world.transact()
    assert told(await explained(world)) == {
        "device_binding": (DEVICE, "device.registered", 1, "recorded"),
        "certificate": (DEVICE, "device.paired", 3, "recorded"),
        "tenant_settings": (TENANT, "tenant.settings_changed", 3, "recorded"),
        "match_policy": (TENANT, "tenant.settings_changed", 3, "recorded"),
        "person": (USER, "user.signed_up", 1, "recorded"),
        "consent": (USER, "user.consent_granted", 2, "recorded"),
        "palm": (PALM, "enrollment.completed", 2, "position"),
        "linked_service": (SERVICE, "linked_service.registered", 1, "recorded"),
    }


async def test_what_happened_afterwards_changes_no_explanation() -> None:
    world = World()
    await world.transact()
    before = told(await explained(world))
    world.settings(consent_required=False)
    world.routing(timeout_ms=100)
    world.given(USER, builders.user_consent_withdrawn(), builders.user_suspended())
    world.given(DEVICE, builders.device_revoked())
    assert told(await explained(world)) == before


async def test_each_is_read_as_of_the_last_event_that_had_been_seen() -> None:
    world = World()
    await world.transact()
    found = await explained(world)
    palm_added = world.log.stream(USER)[2]
    assert found["person"].read_as_of == found["consent"].read_as_of == palm_added.position
    assert found["person"].event.position < palm_added.position


async def test_a_service_that_could_not_be_asked_is_named_by_what_took_it_away() -> None:
    world = World()
    world.given(SERVICE, builders.linked_service_suspended())
    await world.transact()
    assert told(await explained(world))["linked_service"] == (
        SERVICE,
        "linked_service.suspended",
        2,
        "recorded",
    )


async def test_a_transaction_of_an_older_release_is_explained_by_its_position() -> None:
    """Its events name no version; what was recorded after them still does not count."""
    world = World()
    await world.transact()
    world.given(USER, builders.user_suspended())
    older = [
        msgspec.structs.replace(recorded, event=_without_versions(recorded.event))
        for recorded in world.log.stream(transaction())
    ]
    found = told(await explained(world, older))
    assert found["person"] == (USER, "user.signed_up", 1, "position")
    assert found["device_binding"] == (DEVICE, "device.registered", 1, "position")
    assert found["linked_service"] == (SERVICE, "linked_service.registered", 1, "recorded")


def _without_versions(event: Any) -> Any:
    match event:
        case x.TransactionReceived():
            return msgspec.structs.replace(event, device_version=0, tenant_version=0)
        case x.TransactionIdentified():
            return msgspec.structs.replace(event, user_version=0)
        case _:
            return event


async def test_nobody_recognised_rests_on_device_and_policy_alone() -> None:
    world = World()
    world.palms.enrolled.clear()
    await world.transact()
    assert set(await explained(world)) == {
        "device_binding",
        "certificate",
        "tenant_settings",
        "match_policy",
    }
