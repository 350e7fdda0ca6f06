"""The model that the protocol was checked with (reference broker.md, appendix), with the real code.

Every rule of it is needed: where it counts, switching it off breaks a promise. The search draws
the same histories in every run; `python -m tests.protocol` draws more, with every rule off in turn.
"""

from collections.abc import Generator

import pytest

from tests.protocol.ground import Ground, opened
from tests.protocol.histories import RULES, tell
from tests.protocol.machine import search
from tests.protocol.promises import Broken
from tests.protocol.scene import Plant, Scene


@pytest.fixture
def ground(database: str) -> Generator[Ground]:
    with opened(database) as ground:
        yield ground


def test_every_promise_holds_in_every_history(ground: Ground) -> None:
    search(ground, Plant(), examples=100)


def test_every_promise_holds_where_a_rule_counts(ground: Ground) -> None:
    for rule in RULES.values():
        ground.run(tell(Scene(ground.log, Plant()), rule.counts_in))


@pytest.mark.parametrize("name", RULES)
def test_a_rule_switched_off_breaks_a_promise(ground: Ground, name: str) -> None:
    rule = RULES[name]
    with pytest.raises(Broken) as found:
        ground.run(tell(Scene(ground.log, rule.off), rule.counts_in))
    assert found.value.promise in rule.breaks


def test_the_search_finds_a_rule_that_is_switched_off(ground: Ground) -> None:
    """It would be no proof otherwise; the long one looks for each of them."""
    rule = RULES["commit before answer"]
    with pytest.raises(Broken) as found:
        search(ground, rule.off, examples=100)
    assert found.value.promise in rule.breaks
