"""Where to look for what a device is asked: the index of challenges, when it is whole."""

from collections.abc import Sequence
from typing import Final

from domain.errors import Unavailable
from domain.ids import DeviceId, PalmChallengeId, TenantId
from infrastructure.projections.reads import LogEnd, TenantReads
from projections import palm_challenges

SHOWN_MAX: Final = 20


class ReadModelOpenChallenges:
    """`OpenChallenges`: says where to look, and the streams say what is so.

    It waits until the read model has seen the whole log, so that a device that begins to wait just
    after it was asked is told.
    """

    def __init__(self, reads: TenantReads, end: LogEnd) -> None:
        self._reads = reads
        self._end = end

    async def of_device(
        self, tenant_id: TenantId, device_id: DeviceId
    ) -> Sequence[PalmChallengeId]:
        end = await self._end.position()
        if not await self._reads.wait(tenant_id, palm_challenges.READ_MODEL.name, end):
            raise Unavailable("position_not_reached", retry_after_s=1)
        async with self._reads.scope(tenant_id) as connection:
            return await palm_challenges.open_of(connection, tenant_id, device_id, SHOWN_MAX)
