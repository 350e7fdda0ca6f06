"""How a stream becomes a state: left to right, one event at a time, nothing else."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from domain.events import Recorded

S = TypeVar("S")


class UnexpectedEvent(AssertionError):
    """An event stands in a stream of another kind, or before the event that begins it."""


def fold(evolve: Callable[[S | None, Recorded], S], past: Iterable[Recorded]) -> S | None:
    """The state after `past`; None when nothing has happened yet."""
    state: S | None = None
    for recorded in past:
        state = evolve(state, recorded)
    return state
