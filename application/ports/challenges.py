"""How a challenge finds its device, and its answer whoever waits for it."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol
from uuid import UUID

from domain.ids import DeviceId, PalmChallengeId, TenantId


class Bell(Protocol):
    """Rings for one waiter when something happened that it waits for, in whatever process."""

    @property
    def superseded(self) -> bool:
        """Whether somebody else waits for the same, alone."""
        ...

    @property
    def closed(self) -> bool:
        """Whether nobody may wait any more: the process ends, or too many wait already."""
        ...

    async def rung(self, within_s: float) -> None:
        """Return when it has rung since the last time, or after `within_s`."""
        ...


class Bells(Protocol):
    def listen(self, key: UUID, *, alone: bool = False) -> AbstractContextManager[Bell]:
        """A bell for a device (it is asked something) or a challenge (it moved).

        `alone` ends whoever waits for the same in this process.
        """
        ...


class OpenChallenges(Protocol):
    async def of_device(
        self, tenant_id: TenantId, device_id: DeviceId
    ) -> Sequence[PalmChallengeId]:
        """Those that have not ended, as of the end of the log; the streams say what is so.

        Raises Unavailable (`position_not_reached`).
        """
        ...
