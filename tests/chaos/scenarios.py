"""The scenarios beside the kills: which faults, how often, on which ground, and what they need."""

from collections.abc import Mapping
from typing import Final

import msgspec

from infrastructure.embedded.redis import redis_program
from tests.chaos import grounds
from tests.chaos.grounds import GroundKind
from tests.chaos.planted import Fault


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """`faults` come in turn, `trials` times in all. With `line`, the parties misbehave instead."""

    faults: tuple[Fault, ...] = ()
    trials: int
    platforms: int = 1
    line: bool = False
    ground: GroundKind = "plain"
    redis: bool = False

    def missing(self) -> str | None:
        """Why it is left out here; None when it is not."""
        if (self.redis or self.platforms > 1) and redis_program() is None:
            return "no Redis, which several processes need"
        return grounds.missing(self.ground)


SCENARIOS: Final[Mapping[str, Kind]] = {
    "cuts": Kind(faults=("cut",), trials=75),
    "freezes": Kind(faults=("freeze",), trials=10, platforms=2),
    "redis": Kind(faults=("redis_killed", "redis_flushed", "redis_frozen"), trials=15, redis=True),
    "counterparts": Kind(trials=24, line=True),
    "fsync": Kind(faults=("fsync",), trials=20, ground="failing_fsync"),
    "disk": Kind(faults=("disk",), trials=5, ground="small_disk"),
}
"""A trial of `cuts` loses 10 to 19 answers, so 75 of them lose more than 1,000."""
