"""Nobody is shown a person's values before it is written down who, which and what for."""

import pytest

from application.people.personal_data_accesses import PersonalDataAccesses
from domain.errors import Malformed
from domain.personal_data import PersonalDataAccessed
from tests.application.world import BACKEND, Killed, World, kill
from tests.builders import USER
from tests.spec import TENANT


async def test_an_access_is_durable_before_it_is_answered() -> None:
    world = World()
    accesses = PersonalDataAccesses(world.log, world.ids)
    position = await accesses.note(
        BACKEND,
        USER,
        fields=["mobile", "email", "mobile"],
        purpose="support",
        operation="exportPersonalData",
        reference="CASE-1",
    )
    recorded = world.log.read_now()[-1]
    assert recorded.position == position
    assert (recorded.tenant_id, recorded.actor) == (TENANT, BACKEND.actor)
    assert recorded.event == PersonalDataAccessed(
        user_id=USER,
        fields=("email", "mobile"),
        purpose="support",
        operation="exportPersonalData",
        reference="CASE-1",
    )


async def test_each_access_is_noted_and_two_at_once_do_not_wait_for_each_other() -> None:
    world = World()
    accesses = PersonalDataAccesses(world.log, world.ids)
    for _ in range(2):
        await accesses.note(BACKEND, USER, fields=["email"], purpose="support", operation="x")
    noted = [each for each in world.log.read_now() if isinstance(each.event, PersonalDataAccessed)]
    assert [each.version for each in noted] == [1, 1]
    assert len({each.stream_id for each in noted}) == 2


async def test_showing_nothing_is_no_access() -> None:
    world = World()
    before = world.log.read_now()
    accesses = PersonalDataAccesses(world.log, world.ids)
    noted = await accesses.note(BACKEND, USER, fields=[], purpose="support", operation="x")
    assert noted is None
    assert world.log.read_now() == before


@pytest.mark.parametrize("reference", ["", "Ali Hassan", "x" * 65, "+966501234567", "a@b", "é"])
async def test_a_reference_has_no_room_for_words_names_or_numbers(reference: str) -> None:
    world = World()
    before = world.log.read_now()
    with pytest.raises(Malformed) as raised:
        await PersonalDataAccesses(world.log, world.ids).note(
            BACKEND, USER, fields=["email"], purpose="support", operation="x", reference=reference
        )
    assert raised.value.code == "access_reference_invalid"
    assert world.log.read_now() == before


async def test_what_could_not_be_written_down_is_not_answered() -> None:
    world = World()
    world.log.before(PersonalDataAccessed, kill)
    with pytest.raises(Killed):
        await PersonalDataAccesses(world.log, world.ids).note(
            BACKEND, USER, fields=["email"], purpose="support", operation="x"
        )
    assert not any(isinstance(each.event, PersonalDataAccessed) for each in world.log.read_now())
