"""A person is found by mobile or e-mail by their own tenant only, and that is on record first."""

import pytest

from application.people.look_ups import PER_MINUTE, Address, LookUps
from application.people.personal_data_accesses import PersonalDataAccesses
from application.ports import CommitFailed
from domain.errors import Invalid, Malformed, NotFound, TooMany
from domain.ids import UserId
from domain.personal_data import PersonalDataAccessed
from tests.application.test_users import signed_up
from tests.application.world import BACKEND, MOBILE, OTHER_TENANT, World, raising


def look_ups(world: World) -> LookUps:
    accesses = PersonalDataAccesses(world.log, world.ids)
    return LookUps(world.identifiers(), accesses, world.limiter)


def accesses(world: World) -> list[PersonalDataAccessed]:
    return [
        each.event for each in world.log.read_now() if isinstance(each.event, PersonalDataAccessed)
    ]


async def found(world: World, field: Address, value: str) -> UserId:
    return await look_ups(world).find(BACKEND, field, value, "support", "CASE-7")


async def test_a_person_is_found_however_the_value_is_written_and_it_is_on_record() -> None:
    world = World()
    sara = await signed_up(world, mobile=MOBILE, email="Sara@Example.com")
    assert await found(world, "mobile", f" {MOBILE[:6]} {MOBILE[6:]} ") == sara.id
    assert await found(world, "email", "sara@example.com") == sara.id
    assert accesses(world) == [
        PersonalDataAccessed(
            user_id=sara.id,
            fields=(field,),
            purpose="support",
            operation="lookUpUser",
            reference="CASE-7",
        )
        for field in ("mobile", "email")
    ]
    assert MOBILE not in repr(world.log.read_now())


async def test_unknown_and_another_tenants_are_the_same_and_leave_nothing() -> None:
    world = World()
    await signed_up(world, mobile=MOBILE)
    elsewhere = BACKEND.__class__(
        tenant_id=OTHER_TENANT, actor=BACKEND.actor, correlation_id=BACKEND.correlation_id
    )
    events = len(world.log.read_now())
    for caller, mobile in ((elsewhere, MOBILE), (BACKEND, "+966507654321")):
        with pytest.raises(NotFound, match="user_not_found"):
            await look_ups(world).find(caller, "mobile", mobile, "support", None)
    assert len(world.log.read_now()) == events


async def test_who_was_erased_is_found_no_more() -> None:
    world = World()
    sara = await signed_up(world, mobile=MOBILE)
    await world.erasures().request(BACKEND, sara.id)
    with pytest.raises(NotFound, match="user_not_found"):
        await found(world, "mobile", MOBILE)


async def test_nothing_is_told_that_is_not_on_record() -> None:
    world = World()
    await signed_up(world, mobile=MOBILE)
    world.log.before(PersonalDataAccessed, raising(CommitFailed("away")))
    with pytest.raises(CommitFailed):
        await found(world, "mobile", MOBILE)


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [("mobile", "12", "mobile_invalid"), ("email", "nobody", "email_invalid")],
)
async def test_what_can_be_nobodys_is_refused(field: Address, value: str, code: str) -> None:
    with pytest.raises(Invalid, match=code):
        await found(World(), field, value)


async def test_a_reference_has_no_room_for_words() -> None:
    world = World()
    await signed_up(world, mobile=MOBILE)
    with pytest.raises(Malformed, match="access_reference_invalid"):
        await look_ups(world).find(BACKEND, "mobile", MOBILE, "support", "for Ms Sara")


async def test_a_tenant_cannot_try_a_range_of_numbers() -> None:
    world = World()
    for _ in range(PER_MINUTE):
        with pytest.raises(NotFound):
            await found(world, "mobile", MOBILE)
    with pytest.raises(TooMany, match="rate_limited"):
        await found(world, "mobile", MOBILE)
