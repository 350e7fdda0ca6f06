"""What a read model shows is stated once for the same rows, and so is that they differ."""

import pytest

from domain.folding import UnexpectedEvent
from domain.projection import rebuild, state
from tests.builders import (
    device_registered,
    projection_digested,
    projection_diverged,
)
from tests.spec import given, recorded


def test_rows_are_stated_for_the_first_time() -> None:
    found = projection_digested()
    given(rebuild).when(state, found).then(found)


def test_the_same_rows_are_not_stated_again_however_far_the_log_is() -> None:
    again = projection_digested(position=900)
    given(rebuild, projection_digested()).when(state, again).then_nothing()


def test_other_rows_or_another_version_are_stated() -> None:
    others = projection_digested(position=900, tables=())
    given(rebuild, projection_digested()).when(state, others).then(others)
    newer = projection_digested(position=41 + 1, version=2)
    given(rebuild, projection_digested()).when(state, newer).then(newer)


def test_rows_of_an_earlier_position_are_not_stated_after_those_of_a_later() -> None:
    """A read model that a crash of the database took back tells nothing new."""
    earlier = projection_digested(position=40, tables=())
    given(rebuild, projection_digested()).when(state, earlier).then_nothing()


def test_a_difference_is_stated_once_and_another_one_again() -> None:
    found, differs = projection_digested(), projection_diverged()
    given(rebuild).when(state, found, differs).then(found, differs)
    given(rebuild, found, differs).when(state, found, differs).then_nothing()
    elsewhere = projection_diverged(difference="missing")
    given(rebuild, found, differs).when(state, found, elsewhere).then(elsewhere)


def test_a_difference_that_was_mended_and_comes_back_is_stated_again() -> None:
    found, differs = projection_digested(), projection_diverged()
    mended = projection_digested(position=50, tables=())
    again = projection_digested(position=60)
    given(rebuild, found, differs, mended).when(state, again, differs).then(again, differs)


def test_an_event_of_another_kind_is_no_projections() -> None:
    with pytest.raises(UnexpectedEvent):
        rebuild(recorded(device_registered()))
