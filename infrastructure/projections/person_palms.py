"""Where to look for what the vendor has of a person: the index of enrolments, when it is whole."""

from collections.abc import Sequence

from domain.errors import Unavailable
from domain.ids import PalmRef, TenantId, UserId
from infrastructure.projections.reads import LogEnd, TenantReads
from projections import enrollments
from projections.read_model import PAGE_MAX


class EnrollmentsOfPerson:
    """`PersonPalms`: says where to look, and the streams say what is so.

    A command asks a read model here, because no stream of a person knows the enrolments that
    never came to anything. It waits until the read model has seen the whole log.
    """

    def __init__(self, reads: TenantReads, end: LogEnd) -> None:
        self._reads = reads
        self._end = end

    async def of_person(self, tenant_id: TenantId, user_id: UserId) -> Sequence[PalmRef]:
        end = await self._end.position()
        if not await self._reads.wait(tenant_id, enrollments.READ_MODEL.name, end):
            raise Unavailable("position_not_reached", retry_after_s=1)
        found: list[PalmRef] = []
        after: int | None = None
        async with self._reads.scope(tenant_id) as connection:
            while True:
                page = await enrollments.by_tenant(
                    connection, tenant_id, user_id=user_id, after=after, limit=PAGE_MAX
                )
                found += [row.palm_ref for row in page.rows]
                after = page.next
                if after is None:
                    return found
