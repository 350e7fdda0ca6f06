"""Linked services: one per product key, changed by who has seen them, deleted when unused
(004 §10.2)."""

from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest

from application.execute import Done
from application.principals import Caller
from application.tenants.linked_services import by_product_key
from domain import linked_service as ls
from domain.errors import Conflict, Invalid, NotFound, PreconditionFailed, Refusal
from domain.ids import LinkedServiceId
from tests import builders
from tests.application.turns import race
from tests.application.world import (
    BACKEND,
    OTHER_TENANT,
    PRODUCT_CLAIM,
    World,
)
from tests.builders import DEVICE, ROUTING, SERVICE
from tests.spec import STREAM, TENANT

KEY = "register-parking"
PARKING = msgspec.structs.replace(ROUTING, base_url="https://parking.example")

Registration = tuple[ls.LinkedService, Done]


async def register(
    world: World,
    product_key: str = "parking",
    routing: ls.Routing = PARKING,
    key: str | None = None,
    caller: Caller = BACKEND,
) -> Registration:
    return await world.linked_services().register(caller, product_key, routing, key)


def unchanged(routing: ls.Routing) -> ls.Routing:
    return routing


def slower(routing: ls.Routing) -> ls.Routing:
    return msgspec.structs.replace(routing, timeout_ms=1500)


async def change(
    world: World,
    to: Callable[[ls.Routing], ls.Routing] = unchanged,
    *,
    if_version: int | None = None,
    status: str | None = None,
) -> Registration:
    return await world.linked_services().change(BACKEND, SERVICE, if_version, to, status)


async def test_a_service_is_registered_together_with_its_key() -> None:
    world = World()
    world.trace.clear()
    service, done = await register(world)
    assert (service.product_key, service.routing, service.status) == ("parking", PARKING, "active")
    assert world.trace == ["committed claim.taken", "committed linked_service.registered"]
    assert done.position == len(world.log.read_now())
    assert world.egress.asked == ["https://parking.example"]
    found = await by_product_key(world.log, TENANT, "parking")
    assert found == service


async def test_a_product_key_is_one_services_within_its_tenant() -> None:
    world = World()
    with pytest.raises(Conflict, match="product_key_taken"):
        await register(world, "wallet")
    other = msgspec.structs.replace(BACKEND, tenant_id=OTHER_TENANT)
    service, _ = await register(world, "wallet", caller=other)
    assert service.id != SERVICE


async def test_a_repeat_under_the_same_key_is_the_same_service() -> None:
    world = World()
    first, done = await register(world, key=KEY)
    again, repeated = await register(world, key=KEY)
    assert again == first
    assert repeated.events == ()
    assert done.position is not None
    with pytest.raises(Invalid, match="idempotency_key_reused"):
        await register(world, "lockers", key=KEY)


async def test_one_registration_sent_twice_at_once_is_one_service_in_every_order() -> None:
    async def scene() -> tuple[World, list[Coroutine[Any, Any, Registration]]]:
        world = World()
        return world, [register(world, key=KEY) for _ in range(2)]

    async def check(world: World, first: object, second: object) -> None:
        assert isinstance(first, tuple), first
        assert isinstance(second, tuple), second
        assert first[0] == second[0]

    await race(scene, check, steps=8)


async def test_of_two_services_with_one_key_one_is_registered_in_every_order() -> None:
    async def scene() -> tuple[World, list[Coroutine[Any, Any, Registration]]]:
        world = World()
        return world, [register(world) for _ in range(2)]

    async def check(world: World, first: object, second: object) -> None:
        refused = [str(each) for each in (first, second) if isinstance(each, Refusal)]
        assert refused == ["product_key_taken"]
        names = [each.event.NAME for each in world.log.read_now()]
        assert names.count("linked_service.registered") == 2

    await race(scene, check, steps=8)


@pytest.mark.parametrize(
    ("product_key", "routing", "code"),
    [
        ("Parking", PARKING, "product_key_invalid"),
        ("parking", msgspec.structs.replace(PARKING, authorize_path="a/../b"), "path_invalid"),
        (
            "parking",
            msgspec.structs.replace(PARKING, base_url="https://10.0.0.1"),
            "url_forbidden",
        ),
    ],
)
async def test_what_makes_no_sense_or_must_not_be_called_is_not_registered(
    product_key: str, routing: ls.Routing, code: str
) -> None:
    world = World()
    world.egress.forbidden = {"https://10.0.0.1"}
    before = len(world.log.read_now())
    with pytest.raises(Invalid) as raised:
        await register(world, product_key, routing)
    assert raised.value.code == code
    assert len(world.log.read_now()) == before


async def test_a_change_says_which_fields_and_is_checked_again() -> None:
    world = World()
    service, done = await change(world, slower, if_version=1)
    assert (service.version, service.routing.timeout_ms) == (2, 1500)
    assert world.events(SERVICE)[-1] == ls.LinkedServiceChanged(
        routing=slower(ROUTING), changed=("timeout_ms",)
    )
    assert world.egress.asked == [ROUTING.base_url]
    assert done.position == len(world.log.read_now())


async def test_a_change_to_what_it_is_says_nothing() -> None:
    world = World()
    service, done = await change(world, status="active")
    assert (service.version, done.events, done.position) == (1, [], None)


async def test_a_service_is_suspended_and_resumed_with_its_change_in_one_commit() -> None:
    world = World()
    service, _ = await change(world, slower, status="suspended")
    assert (service.status, service.version) == ("suspended", 3)
    service, _ = await change(world, status="suspended")
    assert service.version == 3
    service, _ = await change(world, status="active")
    assert (service.status, service.version) == ("active", 4)
    assert world.names(SERVICE)[1:] == [
        "linked_service.changed",
        "linked_service.suspended",
        "linked_service.resumed",
    ]


async def test_an_address_that_must_not_be_called_is_not_changed_to() -> None:
    world = World()
    world.egress.forbidden = {"https://10.0.0.1"}
    with pytest.raises(Invalid, match="url_forbidden"):
        await change(
            world, lambda routing: msgspec.structs.replace(routing, base_url="https://10.0.0.1")
        )
    with pytest.raises(Invalid, match="path_invalid"):
        await change(
            world, lambda routing: msgspec.structs.replace(routing, authorize_path="//evil")
        )
    assert len(world.events(SERVICE)) == 1


async def test_who_has_seen_an_older_version_changes_and_deletes_nothing() -> None:
    world = World()
    await change(world, slower)
    with pytest.raises(PreconditionFailed, match="version_mismatch"):
        await change(world, if_version=1, status="suspended")
    with pytest.raises(PreconditionFailed, match="version_mismatch"):
        await world.linked_services().delete(BACKEND, SERVICE, 1)
    assert len(world.events(SERVICE)) == 2


async def test_a_change_that_meets_another_builds_on_it() -> None:
    """Two people change different fields at once: nobody's change is lost."""
    world = World()

    async def the_other() -> None:
        await change(world, lambda routing: msgspec.structs.replace(routing, fail_mode="open"))

    world.log.before(ls.LinkedServiceChanged, the_other)
    service, _ = await change(world, slower)
    assert (service.routing.timeout_ms, service.routing.fail_mode) == (1500, "open")


async def test_a_deleted_service_is_gone_and_its_key_free() -> None:
    world = World()
    world.trace.clear()
    await world.linked_services().delete(BACKEND, SERVICE, 1)
    assert world.trace == ["committed claim.released", "committed linked_service.deleted"]
    assert await by_product_key(world.log, TENANT, "wallet") is None
    service, _ = await register(world, "wallet")
    assert service.id != SERVICE
    assert world.names(PRODUCT_CLAIM) == ["claim.taken", "claim.released", "claim.taken"]


async def test_a_service_that_devices_are_bound_to_stays() -> None:
    world = World()
    world.bound_devices.of[TENANT, "wallet"] = 3
    with pytest.raises(Conflict) as raised:
        await world.linked_services().delete(BACKEND, SERVICE, None)
    assert (raised.value.code, raised.value.extra) == ("devices_bound", {"count": 3})
    assert len(world.events(SERVICE)) == 1


async def test_a_service_deleted_meanwhile_is_not_found() -> None:
    world = World()

    async def the_other() -> None:
        await world.linked_services().delete(BACKEND, SERVICE, None)

    world.log.before(ls.LinkedServiceDeleted, the_other)
    with pytest.raises(NotFound):
        await world.linked_services().delete(BACKEND, SERVICE, None)


@pytest.mark.parametrize("service_id", [LinkedServiceId(STREAM), LinkedServiceId(DEVICE), SERVICE])
async def test_unknown_foreign_deleted_and_other_things_ids_all_look_the_same(
    service_id: LinkedServiceId,
) -> None:
    world = World()
    world.given(STREAM, builders.linked_service_registered(), tenant_id=OTHER_TENANT)
    world.given(SERVICE, builders.linked_service_deleted())
    services = world.linked_services()
    for asked in (
        services.get(TENANT, service_id),
        services.change(BACKEND, service_id, None, unchanged, None),
        services.delete(BACKEND, service_id, None),
    ):
        with pytest.raises(NotFound) as raised:
            await asked
        assert raised.value.code == "linked_service_not_found"


async def test_a_key_that_nobody_has_stands_for_nothing() -> None:
    world = World()
    assert await by_product_key(world.log, TENANT, "parking") is None
    assert await by_product_key(world.log, OTHER_TENANT, "wallet") is None
