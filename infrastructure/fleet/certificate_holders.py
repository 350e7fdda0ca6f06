"""Who speaks with certificates of which device CA, from the read model, for the whole platform."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, LiteralString

from application.ports import Clock
from application.ports.pki import CertificateHolder
from domain.errors import Unavailable
from infrastructure.database import Pool
from infrastructure.projections.reads import WAIT_S, LogEnd, Positions
from projections import device_certificates as view

_HALTED: Final[LiteralString] = "SELECT 1 FROM projection_halts WHERE name = %s LIMIT 1"


class ReadModelCertificateHolders:
    """`application.ports.pki.CertificateHolders`, and `TrustHolders` of `server_certificates`.

    A guard rail and no invariant: who is counted too little is not dropped for good, but recovers.
    """

    def __init__(self, projector: Pool, positions: Positions, end: LogEnd, clock: Clock) -> None:
        self._projector = projector
        self._positions = positions
        self._end = end
        self._clock = clock

    async def counts(self) -> Mapping[int, int]:
        await self._fresh()
        async with self._projector.connection() as connection:
            return await view.counts(connection, self._clock.now())

    async def certified_before(self, since: datetime) -> int:
        await self._fresh()
        async with self._projector.connection() as connection:
            return await view.certified_before(connection, since, self._clock.now())

    async def of_others(self, authority: int, limit: int) -> Sequence[CertificateHolder]:
        async with self._projector.connection() as connection:
            rows = await view.holders_of_others(connection, authority, self._clock.now(), limit)
        return [
            CertificateHolder(
                tenant_id=row.tenant_id,
                device_id=row.device_id,
                authority=row.authority,
                not_after=row.not_after,
            )
            for row in rows
        ]

    async def _fresh(self) -> None:
        name = view.READ_MODEL.name
        reached = await self._positions.wait(await self._end.position(), name, WAIT_S)
        async with self._projector.connection() as connection:
            halted = await (await connection.execute(_HALTED, (name,))).fetchone()
        if not reached or halted is not None:
            raise Unavailable("position_not_reached", retry_after_s=1)
