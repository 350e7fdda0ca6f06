"""The change of the device CA: each step once, each but the last taken back, nobody left unsaid."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from domain import device_ca as ca
from domain.errors import Conflict
from tests.builders import (
    device_ca_announced,
    device_ca_issuing_started,
    device_ca_regenerated,
    device_ca_retired,
    device_ca_rolled_back,
)
from tests.spec import RECORDED_AT, given, recorded

ANNOUNCED, ISSUING = device_ca_announced(), device_ca_issuing_started()
BACK = device_ca_rolled_back(authority=2, phase="announced", left_behind=0)
RETIRED = device_ca_retired(authority=1, left_behind=0)
REGENERATED = device_ca_regenerated()


def made(announced: Any) -> ca.MadeAuthority:
    return ca.MadeAuthority(
        authority=announced.authority,
        certificate_pem=announced.certificate_pem,
        fingerprint=announced.fingerprint,
        not_after=announced.not_after,
    )


def test_the_way_to_the_next_ca() -> None:
    given(ca.rebuild).when(ca.announce, made(ANNOUNCED)).then(ANNOUNCED)
    given(ca.rebuild, ANNOUNCED).when(ca.start_issuing, spread_s=3600).then(ISSUING)
    given(ca.rebuild, ANNOUNCED, ISSUING).when(ca.finalize, holders=0, force=False).then(RETIRED)


def test_who_is_trusted_at_each_step() -> None:
    steps = [ANNOUNCED, ISSUING, BACK, ISSUING, RETIRED]
    seen = [ca.rebuild(recorded(*steps[:count])).trusted for count in range(len(steps) + 1)]
    assert seen == [(1,), (1, 2), (2, 1), (1, 2), (2, 1), (2,)]
    after = ca.rebuild(recorded(*steps))
    assert (after.phase, after.retired, after.version) == ("standby", (1,), 5)


def test_a_step_out_of_turn_is_refused() -> None:
    for past, step, arguments in (
        ((ANNOUNCED,), ca.announce, (made(ANNOUNCED),)),
        ((ANNOUNCED, ISSUING), ca.announce, (made(ANNOUNCED),)),
    ):
        with pytest.raises(Conflict, match="rotation_under_way"):
            step(ca.rebuild(recorded(*past)), *arguments)
    state = ca.rebuild(recorded())
    with pytest.raises(Conflict, match="rotation_phase_wrong"):
        ca.start_issuing(state, spread_s=0)
    with pytest.raises(Conflict, match="rotation_phase_wrong"):
        ca.roll_back(state, holders=0, force=True)
    with pytest.raises(Conflict, match="rotation_phase_wrong"):
        ca.finalize(ca.rebuild(recorded(ANNOUNCED)), holders=0, force=True)


def test_nobody_is_left_behind_unless_it_is_said() -> None:
    issuing = ca.rebuild(recorded(ANNOUNCED, ISSUING))
    with pytest.raises(Conflict, match="devices_left_behind") as refused:
        ca.finalize(issuing, holders=2, force=False)
    assert refused.value.extra == {"left_behind": 2}
    assert ca.finalize(issuing, holders=2, force=True) == [device_ca_retired()]
    back = ca.rebuild(recorded(ANNOUNCED, ISSUING, BACK))
    with pytest.raises(Conflict, match="devices_left_behind"):
        ca.roll_back(back, holders=1, force=False)
    assert ca.roll_back(back, holders=1, force=True) == [device_ca_rolled_back()]


def test_taking_back_the_issuing_drops_nobody() -> None:
    issuing = given(ca.rebuild, ANNOUNCED, ISSUING)
    issuing.when(ca.roll_back, holders=40, force=False).then(BACK)


def test_devices_are_told_to_renew_each_at_a_moment_of_the_time_given() -> None:
    assert ca.rebuild(recorded()).renewal_from(UUID(int=5)) is None
    issuing = ca.rebuild(recorded(ANNOUNCED, ISSUING))
    moments = {issuing.renewal_from(UUID(int=number)) for number in range(0, 36_000, 10)}
    assert min(each for each in moments if each) == RECORDED_AT
    assert max(each for each in moments if each) <= RECORDED_AT + timedelta(seconds=3600)
    assert len(moments) > 3000


def test_a_regenerated_ca_leaves_no_other_to_believe() -> None:
    past = (ANNOUNCED, ISSUING, RETIRED)
    made_anew = ca.regenerate(ca.rebuild(recorded(*past)), made(REGENERATED))
    assert made_anew == [REGENERATED]
    state = ca.rebuild(recorded(*past, REGENERATED))
    assert (state.trusted, state.retired, state.distrusted) == ((3,), (), (1, 2))
