"""The proof of an event is given once it is there; what is nobody's and another's look alike."""

from uuid import uuid4

import pytest

from application.audit.event_proofs import EventProofs
from application.ports.transparency import LogIdentity, SignedCheckpoint
from domain.errors import NotFound, Unavailable
from domain.ids import TenantId
from domain.transparency.tiles import Tile
from tests.application.hand_clock import HandClock

LOG = TenantId(uuid4())


class Logs:
    """A log whose first event is under a checkpoint after so many looks, a second apart."""

    def __init__(self, clock: HandClock, looks: int) -> None:
        self._clock = clock
        self.left = looks

    async def leaf_index(self, log_id: TenantId, event_id: str) -> int | None:
        return 0 if (log_id, event_id) == (LOG, "1") else None

    async def proof(self, log_id: TenantId, index: int, *, final: bool = False) -> str | None:
        if (log_id, index) != (LOG, 0):
            return None
        self._clock.advance(1)
        self.left -= 1
        return f"proof, final: {final}" if self.left < 0 else None

    def identity(self, log_id: TenantId) -> LogIdentity:
        raise AssertionError(log_id)

    async def checkpoint(self, log_id: TenantId, *, final: bool = False) -> SignedCheckpoint | None:
        raise AssertionError(log_id, final)

    async def tile(self, log_id: TenantId, tile: Tile) -> bytes | None:
        raise AssertionError(log_id, tile)

    async def consistency(self, log_id: TenantId, old: int, new: int) -> tuple[bytes, ...] | None:
        raise AssertionError(log_id, old, new)


def proofs(looks: int) -> EventProofs:
    clock = HandClock()
    return EventProofs(Logs(clock, looks), clock)


async def test_a_proof_that_is_there() -> None:
    assert await proofs(0).of_event(LOG, "1") == "proof, final: False"
    assert await proofs(0).of_event(LOG, "1", final=True) == "proof, final: True"
    assert await proofs(0).of_leaf(LOG, 0) == "proof, final: False"


async def test_a_proof_that_is_waited_for() -> None:
    assert await proofs(3).of_event(LOG, "1") == "proof, final: False"


async def test_a_proof_that_does_not_come() -> None:
    with pytest.raises(Unavailable, match="position_not_reached"):
        await proofs(100).of_event(LOG, "1")


async def test_what_is_not_in_the_log() -> None:
    for log_id, event_id in ((LOG, "2"), (TenantId(uuid4()), "1"), (LOG, "")):
        with pytest.raises(NotFound, match="event_not_found"):
            await proofs(0).of_event(log_id, event_id)
    for index in (1, -1, 2**70):
        with pytest.raises(NotFound, match="event_not_found"):
            await proofs(0).of_leaf(LOG, index)
