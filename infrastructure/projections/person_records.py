"""Where to look for what is known of a person: indexes of read models, when they are whole."""

from collections.abc import Collection, Sequence
from typing import Final, LiteralString
from uuid import UUID

from application.people.data_exports import Item
from domain.errors import Unavailable
from domain.events import DomainEvent
from domain.ids import TenantId, TransactionId, UserId
from infrastructure.projections.reads import LogEnd, TenantReads
from projections import accesses, transactions
from projections.read_model import PAGE_MAX

_BEGUN_WITH: Final[LiteralString] = """
    SELECT stream_id FROM events
    WHERE tenant_id = %s AND stream_version = 1 AND name = ANY(%s)
      AND convert_from(payload, 'UTF8')::jsonb #>> '{data,user_id}' = %s
    ORDER BY position
"""


class RecordsOfPerson:
    """`PersonRecords`. It waits until the read models have seen the whole log."""

    def __init__(self, reads: TenantReads, end: LogEnd) -> None:
        self._reads = reads
        self._end = end

    async def transactions(self, tenant_id: TenantId, user_id: UserId) -> Sequence[TransactionId]:
        await self._whole(tenant_id, transactions.READ_MODEL.name)
        found: list[TransactionId] = []
        after: int | None = None
        async with self._reads.scope(tenant_id) as connection:
            while True:
                page = await transactions.by_tenant(
                    connection, tenant_id, user_id=user_id, after=after, limit=PAGE_MAX
                )
                found += [row.transaction_id for row in page.rows]
                after = page.next
                if after is None:
                    return found

    async def accesses(self, tenant_id: TenantId, user_id: UserId) -> Sequence[Item]:
        await self._whole(tenant_id, accesses.READ_MODEL.name)
        found: list[Item] = []
        after: int | None = None
        async with self._reads.scope(tenant_id) as connection:
            while True:
                page = await accesses.by_user(
                    connection, tenant_id, user_id, after=after, limit=PAGE_MAX
                )
                found += [
                    Item(
                        source="access",
                        name="personal_data.accessed",
                        at=row.accessed_at,
                        value=row,
                    )
                    for row in page.rows
                ]
                after = page.next
                if after is None:
                    return found

    async def begun_with(
        self, tenant_id: TenantId, user_id: UserId, beginnings: Collection[type[DomainEvent]]
    ) -> Sequence[UUID]:
        """From the log itself: no read model knows all of them."""
        names = [each.NAME for each in beginnings]
        async with self._reads.scope(tenant_id) as connection:
            found = await connection.execute(_BEGUN_WITH, (tenant_id, names, str(user_id)))
            return [row[0] for row in await found.fetchall()]

    async def _whole(self, tenant_id: TenantId, name: str) -> None:
        if not await self._reads.wait(tenant_id, name, await self._end.position()):
            raise Unavailable("position_not_reached", retry_after_s=1)
