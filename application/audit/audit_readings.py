"""Reading the audit is itself a fact, at most one a minute for each client and way of reading."""

from collections import OrderedDict
from contextlib import suppress
from datetime import datetime
from typing import Final

from application.ports import Clock, EventLog, IdSource, StaleStream
from application.principals import Caller
from domain.audit import AuditRead, ReadingKind, minute_of
from domain.events import StreamAppend
from domain.ids import TenantId, audit_reading_id

REMEMBERED_MAX: Final = 4096

_Key = tuple[TenantId, str, ReadingKind]


class AuditReadings:
    def __init__(self, log: EventLog, clock: Clock, ids: IdSource) -> None:
        self._log = log
        self._clock = clock
        self._ids = ids
        self._noted: OrderedDict[_Key, datetime] = OrderedDict()

    async def note(self, caller: Caller, kind: ReadingKind) -> None:
        """Write down that the caller reads; call it before the first line leaves.

        Says nothing when this minute has it already. Raises CommitFailed: then nothing may be
        shown.
        """
        minute = minute_of(self._clock.now())
        key = (caller.tenant_id, caller.actor, kind)
        if self._noted.get(key) == minute:
            return
        append = StreamAppend(
            tenant_id=caller.tenant_id,
            stream_id=audit_reading_id(caller.tenant_id, caller.actor, kind, minute),
            expected_version=0,
            events=[AuditRead(kind=kind, minute=minute)],
        )
        # Another request, or another process, may have noted this minute.
        with suppress(StaleStream):
            await self._log.append(caller.origin(self._ids.uuid()), [append])
        self._remember(key, minute)

    def _remember(self, key: _Key, minute: datetime) -> None:
        self._noted[key] = minute
        self._noted.move_to_end(key)
        if len(self._noted) > REMEMBERED_MAX:
            self._noted.popitem(last=False)
