"""A deletion goes on by itself, and none keeps another waiting."""

from collections.abc import Sequence
from uuid import UUID

from application.ports import PalmVendorFailed
from application.tenants.deletions import SETTLED_AFTER, TENANTS_AT_ONCE, TenantDeletions
from domain import erasure as r
from domain import tenant as t
from domain import user as u
from domain.ids import TenantId, UserId
from tests import builders
from tests.application.world import World
from tests.builders import USER
from tests.spec import TENANT


class Stores:
    def __init__(self) -> None:
        self.destroyed: list[TenantId] = []

    async def destroy(self, tenant_id: TenantId) -> None:
        self.destroyed.append(tenant_id)


class Leaving:
    """What the read models say, from the log. `asked` names the tenants that had a turn."""

    def __init__(self, world: World, tenants: Sequence[TenantId]) -> None:
        self._world = world
        self._tenants = sorted(tenants)
        self.asked: list[TenantId] = []

    async def deleting(self, after: TenantId, limit: int) -> Sequence[TenantId]:
        left = [
            each
            for each in self._tenants
            if each > after and not isinstance(self._world.events(each)[-1], t.TenantDeleted)
        ]
        return left[:limit]

    async def to_erase(self, tenant_id: TenantId, limit: int) -> Sequence[UserId]:
        self.asked.append(tenant_id)
        of_it = [USER] if tenant_id == TENANT and not self._world.events(r.erasure_id(USER)) else []
        return of_it[:limit]

    async def anybody(self, tenant_id: TenantId) -> bool:
        return tenant_id == TENANT and u.UserErased() not in self._world.events(USER)


def deleting(world: World, *others: TenantId) -> tuple[TenantDeletions, Leaving, Stores]:
    world.given(TENANT, builders.tenant_suspended(), builders.tenant_deletion_started())
    for each in others:
        began = (
            builders.tenant_created(),
            builders.tenant_suspended(),
            builders.tenant_deletion_started(),
        )
        world.given(each, *began, tenant_id=each)
    leaving, stores = Leaving(world, (TENANT, *others)), Stores()

    def interrupted(tenant_id: TenantId, error: Exception) -> None:
        raise AssertionError(tenant_id) from error

    deletions = TenantDeletions(
        world.log, world.erasures(), leaving, stores, world.clock, world.ids, interrupted
    )
    return deletions, leaving, stores


async def test_a_vendor_that_fails_is_asked_by_the_erasures_alone() -> None:
    """Seen to fail where each round asked for everybody again: the vendor heard of it each time."""
    world = World()
    deletions, _, stores = deleting(world)
    world.palms.delete_raises = PalmVendorFailed("palm_vendor_error")
    await deletions.round()
    world.clock.advance(SETTLED_AFTER.total_seconds())
    assert world.log.trace.count("vendor delete") == 1
    for _ in range(3):
        assert await deletions.round() == 0
    assert world.log.trace.count("vendor delete") == 1
    assert stores.destroyed == []


async def test_tenants_that_wait_keep_no_other_waiting() -> None:
    """Seen to fail where each round began with the oldest: the eleventh never had a turn."""
    world = World()
    world.palms.delete_raises = PalmVendorFailed("palm_vendor_error")
    others = [TenantId(UUID(int=2**100 + n)) for n in range(TENANTS_AT_ONCE + 5)]
    deletions, leaving, stores = deleting(world, *others)
    await deletions.round()
    await deletions.round()
    assert set(leaving.asked) == {TENANT, *others}
    world.clock.advance(SETTLED_AFTER.total_seconds())
    assert await deletions.round() + await deletions.round() == len(others)
    assert set(stores.destroyed) == set(others)
