"""Lines of refresh tokens in memory: one caller at a time decides, as the row's lock has it."""

from collections.abc import Callable, Sequence

import msgspec

from application.ports import Clock
from domain.ids import TenantId, UserId, UserSessionId
from domain.user_session import EndReason, Exchange, Line
from tests.application.memory_log import Hook


class Lines:
    def __init__(self, clock: Clock, pause: Hook) -> None:
        self._clock = clock
        self._pause = pause
        self.kept: dict[tuple[TenantId, UserSessionId], Line] = {}

    async def open(self, tenant_id: TenantId, line: Line, at_most: int) -> Sequence[UserSessionId]:
        await self._pause()
        others = await self.of_user(tenant_id, line.user_id)
        self.kept[tenant_id, line.session_id] = line
        for old in others[at_most - 1 :]:
            self.kept[tenant_id, old.session_id] = msgspec.structs.replace(
                old, ended_at=line.created_at, ended_by="session_limit_reached"
            )
        return [old.session_id for old in others[at_most - 1 :]]

    async def find(self, tenant_id: TenantId, session_id: UserSessionId) -> Line | None:
        return self.kept.get((tenant_id, session_id))

    async def exchange(
        self,
        tenant_id: TenantId,
        session_id: UserSessionId,
        decide: Callable[[Line], Exchange],
    ) -> Exchange | None:
        await self._pause()
        line = self.kept.get((tenant_id, session_id))
        if line is None:
            return None
        decided = decide(line)
        self.kept[tenant_id, session_id] = decided.line
        return decided

    async def of_user(self, tenant_id: TenantId, user_id: UserId) -> Sequence[Line]:
        return [
            line
            for (tenant, _), line in reversed(self.kept.items())
            if tenant == tenant_id and line.user_id == user_id and line.alive(self._clock.now())
        ]

    async def end(
        self, tenant_id: TenantId, session_id: UserSessionId, reason: EndReason
    ) -> Line | None:
        await self._pause()
        line = self.kept.get((tenant_id, session_id))
        if line is not None and line.ended_at is None:
            line = msgspec.structs.replace(line, ended_at=self._clock.now(), ended_by=reason)
            self.kept[tenant_id, session_id] = line
        return line

    async def forget(self, tenant_id: TenantId, user_id: UserId) -> None:
        for key, line in list(self.kept.items()):
            if key[0] == tenant_id and line.user_id == user_id:
                del self.kept[key]
