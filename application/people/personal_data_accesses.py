"""Showing personal data is itself a fact, durable before the values leave us (003 §3.3)."""

from collections.abc import Sequence

from application.ports import EventLog, IdSource
from application.principals import Caller
from domain import personal_data as pd
from domain.events import StreamAppend
from domain.ids import UserId
from domain.personal_data import AccessPurpose


class PersonalDataAccesses:
    def __init__(self, log: EventLog, ids: IdSource) -> None:
        self._log = log
        self._ids = ids

    async def note(
        self,
        caller: Caller,
        user_id: UserId,
        *,
        fields: Sequence[str],
        purpose: AccessPurpose,
        operation: str,
        reference: str | None = None,
    ) -> int | None:
        """Write down who is about to be shown which fields of whom; call it before showing them.

        The position of the event, None when `fields` is empty. Raises Malformed
        (`access_reference_invalid`), CommitFailed: then nothing may be shown.
        """
        events = pd.access(user_id, fields, purpose, operation, reference)
        if not events:
            return None
        append = StreamAppend(
            tenant_id=caller.tenant_id,
            stream_id=self._ids.uuid(),
            expected_version=0,
            events=events,
        )
        appended = await self._log.append(caller.origin(self._ids.uuid()), [append])
        return appended.last_position
