"""Whoever hangs keeps nobody else waiting: shares of a worker's places."""

from collections import Counter
from collections.abc import Iterable
from typing import Final
from uuid import UUID, uuid5

from application.ports import DeliveryPolicy
from infrastructure.delivery.outbox import LOOKED_AT_MAX, Leased, Outbox
from infrastructure.delivery.places import Taken, free
from tests.infrastructure.delivery.told import SHOP, change
from tests.projections.stage import OTHER_TENANT, Stage
from tests.spec import TENANT

PLACES: Final = DeliveryPolicy(in_flight_max=6, per_destination_max=2)
_OWED: Final = """
    INSERT INTO deliveries (id, tenant_id, kind, destination, lane, event_id, event, stream_id,
                            stream_version, position, recorded_at, state, due_at)
    SELECT gen_random_uuid(), '{tenant}', 'tell', '{where}', gen_random_uuid(), gen_random_uuid(),
           'device.registered', gen_random_uuid(), 1, n, now(), 'pending',
           now() - interval '1 h' + n * interval '1 ms' + {later} * interval '1 s'
    FROM generate_series(1, {count}) AS n"""
_FAILS: Final = """
    INSERT INTO delivery_destinations (kind, destination, tenant_id, failing_since)
    VALUES ('tell', '{where}', '{tenant}', now())"""


def shop(number: int) -> UUID:
    return uuid5(SHOP, str(number))


async def owe(
    stage: Stage, where: UUID, count: int, *, later: int = 0, tenant: UUID = TENANT
) -> None:
    """So many deliveries are due at a destination, `later` ones after the others."""
    await change(stage, _OWED.format(where=where, count=count, later=later, tenant=tenant))


async def fail(stage: Stage, where: UUID, *, tenant: UUID = TENANT) -> None:
    await change(stage, _FAILS.format(where=where, tenant=tenant))


async def claim(stage: Stage, taken: Iterable[Taken] = ()) -> list[Taken]:
    """What a worker takes that has so many in flight already, in no order."""
    places = free(PLACES, taken)
    assert places is not None
    return [_taken(each) for each in await Outbox(stage.projector).claim("tell", places, 60.0)]


def _taken(leased: Leased) -> Taken:
    given = leased.delivery
    return Taken(given.tenant_id, given.destination, given.failing_since is not None)


def test_shares_are_counted_over_all_that_is_in_flight() -> None:
    hangs, quick = Taken(TENANT, shop(1), True), Taken(OTHER_TENANT, shop(2), False)
    given = free(PLACES, [hangs, quick, quick])
    assert given is not None
    assert (given["limit"], given["per_tenant"], given["failing_room"]) == (3, 3, 2)
    assert (given["full"], given["crowded"]) == ([shop(2)], [])
    given = free(PLACES, [hangs] * 3)
    assert given is not None
    assert (given["crowded"], given["failing_room"]) == ([TENANT], 0)
    assert free(PLACES, [quick] * 6) is None
    alone = free(DeliveryPolicy(in_flight_max=1), [])
    assert alone is not None
    assert (alone["per_tenant"], alone["failing_room"]) == (1, 1)


async def test_one_that_fails_has_one_place_and_hides_nobody_behind_its_backlog(
    stage: Stage,
) -> None:
    """Seen to fail without the look at `busy`: the second claim then found only those that are
    owed to the shop that hangs, and took nothing."""
    await owe(stage, shop(1), LOOKED_AT_MAX + 1)
    await fail(stage, shop(1))
    await owe(stage, shop(2), 3, later=60)
    hangs = await claim(stage)
    assert hangs == [Taken(TENANT, shop(1), True)]
    assert await claim(stage, hangs) == [Taken(TENANT, shop(2), False)] * 2


async def test_those_that_fail_have_half_of_the_places_together(stage: Stage) -> None:
    """Seen to fail without `failing_room`: four shops that hang then had four of six places."""
    for number, tenant in enumerate((TENANT, OTHER_TENANT) * 2):
        await owe(stage, shop(number), 2, tenant=tenant)
        await fail(stage, shop(number), tenant=tenant)
    await owe(stage, shop(9), 1, later=60, tenant=OTHER_TENANT)
    taken = await claim(stage)
    assert Counter(each.failing for each in taken) == {True: 3, False: 1}
    assert await claim(stage, taken) == []


async def test_a_tenant_has_half_of_the_places_however_many_are_slow(stage: Stage) -> None:
    """Seen to fail without `per_tenant`: whatever was due first was all of one tenant."""
    for number in range(5):
        await owe(stage, shop(number), 1)
    await owe(stage, shop(9), 1, later=60, tenant=OTHER_TENANT)
    taken = await claim(stage)
    assert Counter(each.tenant_id for each in taken) == {TENANT: 3, OTHER_TENANT: 1}
    assert await claim(stage, taken) == []


async def test_a_free_place_goes_to_whoever_has_the_fewest(stage: Stage) -> None:
    """Seen to fail where the oldest came first, whosever it was."""
    await owe(stage, shop(1), 2)
    await owe(stage, shop(2), 1, later=60)
    busy = [
        Taken(TENANT, shop(1), False),
        *(Taken(OTHER_TENANT, shop(number), False) for number in range(5, 9)),
    ]
    assert await claim(stage, busy) == [Taken(TENANT, shop(2), False)]
