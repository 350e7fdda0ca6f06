"""The device's journal: what became of the answers it was given (reference broker.md §3.4).

Only the device knows whether a gate opened. An allow that it never showed is undone at the
product; an allow of which nothing is ever heard is left alone, since the person may have passed.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from functools import partial

import msgspec

from application.admission import admitted
from application.execute import retrying
from application.ports import Clock, EventLog, IdSource, ProductTexts, Streams
from application.principals import DevicePrincipal
from application.transactions.product_texts import worded
from domain import transaction as x
from domain.errors import NotFound, Unavailable
from domain.events import StreamAppend
from domain.ids import TransactionId, transaction_id


class JournalEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a device's journal, under the key of the transaction. `at` is its own clock."""

    idempotency_key: str
    outcome: x.Shown
    at: datetime


class Journaled(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken. `undecided` and `unknown` are keys: the first to be sent again later."""

    accepted: int
    voided: Sequence[TransactionId]
    undecided: Sequence[str]
    unknown: Sequence[str]


class Journal:
    def __init__(
        self,
        log: EventLog,
        streams: Streams,
        texts: ProductTexts,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._streams = streams
        self._texts = texts
        self._clock = clock
        self._ids = ids

    async def record(self, device: DevicePrincipal, entries: Sequence[JournalEntry]) -> Journaled:
        """Take the entries, those of one key in their order; the same again change nothing.

        Raises Unauthenticated, Forbidden (`device_type_not_allowed`), CommitFailed.
        """
        await admitted(self._streams, device, "journal")
        by_key: dict[str, list[JournalEntry]] = {}
        for entry in entries:
            by_key.setdefault(entry.idempotency_key, []).append(entry)
        # Together, so that they share commits.
        states = await asyncio.gather(*(self._take_all(device, of) for of in by_key.values()))
        taken = dict(zip(by_key, states, strict=True))
        known = {key: state for key, state in taken.items() if state is not None}
        decided = {key: state for key, state in known.items() if state.decision is not None}
        return Journaled(
            accepted=sum(len(by_key[key]) for key in decided),
            voided=[each.id for each in decided.values() if each.void_requested is not None],
            undecided=[key for key in known if key not in decided],
            unknown=[key for key in taken if key not in known],
        )

    async def _take_all(
        self, device: DevicePrincipal, entries: Sequence[JournalEntry]
    ) -> x.Transaction | None:
        """The transaction after all entries of one key; None when there is none."""
        state: x.Transaction | None = None
        for entry in entries:
            state = await retrying(partial(self._take, device, entry))
        return state

    async def _take(self, device: DevicePrincipal, entry: JournalEntry) -> x.Transaction | None:
        stream = transaction_id(device.device_id, entry.idempotency_key)
        transaction = x.rebuild(await self._log.load(device.tenant_id, stream))
        if transaction is None:
            return None
        now = self._clock.now()
        # In the same commit, so that an attempt which stood still meanwhile cannot begin any more.
        events = x.give_up(transaction, now)
        for closed in events:
            transaction = msgspec.structs.replace(transaction, decision=closed)
        if transaction.decision is None:
            return transaction
        events += x.acknowledge(transaction, entry.outcome, entry.at, now)
        if events:
            append = StreamAppend(
                tenant_id=device.tenant_id,
                stream_id=stream,
                expected_version=transaction.version,
                events=events,
            )
            await self._log.append(device.origin(self._ids.uuid()), [append])
            transaction = x.rebuild(await self._log.load(device.tenant_id, stream))
        return transaction

    async def look_up(self, device: DevicePrincipal, key: str) -> x.Transaction:
        """The device's transaction under this key, for one that restarted before its answer.

        What its product wrote is open.

        Raises NotFound (`transaction_not_found`), Unavailable (`palm_vendor_error`,
        `palm_vendor_timeout`) when the vendor failed and the key may be sent again, and Conflict
        (`idempotency_key_expired`) when it may not any more.
        """
        await admitted(self._streams, device, "journal")
        stream = transaction_id(device.device_id, key)
        transaction = x.rebuild(await self._log.load(device.tenant_id, stream))
        if transaction is None:
            raise NotFound("transaction_not_found")
        if x.never_decided(transaction, self._clock.now()):
            raise x.key_expired()
        if transaction.decision is None and transaction.vendor_failed is not None:
            raise Unavailable(transaction.vendor_failed.reason, retry_after_s=1)
        return await worded(self._texts, transaction)
