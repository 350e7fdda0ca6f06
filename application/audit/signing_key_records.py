"""Tells the log which signing keys were made and distrusted, so that the audit can show it.

Keys are made whether the log can be written or not; what it has not been told yet, whoever looks
next tells it. Doing it twice does nothing.
"""

from functools import partial
from typing import Final

from application.execute import execute
from application.ports import EventLog, IdSource
from application.ports.signing_keys import SigningKeyBook
from application.principals import Caller
from domain import signing_key as k
from domain.ids import PLATFORM

EVERY_S: Final = 60.0
ACTOR: Final = "system:signing_keys"


class SigningKeyRecords:
    def __init__(self, log: EventLog, book: SigningKeyBook, ids: IdSource) -> None:
        self._log = log
        self._book = book
        self._ids = ids

    async def round(self) -> None:
        """As what the platform does by itself. Raises what `record` raises."""
        correlation_id = self._ids.uuid()
        await self.record(Caller(tenant_id=PLATFORM, actor=ACTOR, correlation_id=correlation_id))

    async def record(self, caller: Caller) -> None:
        """Record what was not recorded yet, as of this caller's doing.

        Raises CommitFailed, StaleStream, psycopg.Error, PoolTimeout.
        """
        for family, kept in (await self._book.kept()).items():
            await execute(
                self._log,
                caller.origin(self._ids.uuid()),
                PLATFORM,
                k.stream_id(family),
                k.rebuild,
                partial(k.record, family=family, kept=kept),
            )
