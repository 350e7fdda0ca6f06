"""Decided transactions of a stretch of the log, judged again (`domain.what_if`)."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Final, get_args
from uuid import UUID

import msgspec

from application.ports import EventLog, LogHistory
from domain import device as d
from domain import transaction as x
from domain.events import Recorded
from domain.ids import DeviceId, TenantId, TransactionId
from domain.what_if import Verdict, What, judged_again

EVENTS_MAX: Final = 20_000
"""How many events one evaluation reads; a longer stretch is gone through in several."""
_PAGE: Final = 1000
_DECISIONS: Final = get_args(x.Decision)


class Flip(msgspec.Struct, frozen=True, kw_only=True):
    """One transaction that would have ended otherwise."""

    transaction_id: TransactionId
    position: int
    decided_at: datetime
    device_id: DeviceId
    device_type: d.DeviceType
    recorded: x.Decision
    policy_version: int | None
    verdict: Verdict


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """What came of the decisions after one position and up to another.

    `read_to` is how far it came: beyond it nothing was judged. Counts are by device type.
    """

    evaluated: Counter[d.DeviceType]
    flipped: Counter[d.DeviceType]
    not_evaluable: int
    effects: Counter[str]
    flips: Sequence[Flip]
    read_to: int


class Evaluations:
    def __init__(self, log: EventLog, past: LogHistory) -> None:
        self._log = log
        self._past = past

    async def evaluate(
        self,
        tenant_id: TenantId,
        what: What,
        *,
        after: int,
        up_to: int,
        limit: int,
        device_type: d.DeviceType | None = None,
    ) -> Evaluation:
        """Judge again, until the stretch ends, `limit` flips are found or enough was read."""
        evaluated: Counter[d.DeviceType] = Counter()
        flipped: Counter[d.DeviceType] = Counter()
        effects: Counter[str] = Counter()
        not_evaluable = 0
        flips: list[Flip] = []
        read_to, stop = after, False
        types: dict[DeviceId, d.DeviceType] = {}
        begun: dict[UUID, list[Recorded]] = {}
        for _ in range(EVENTS_MAX // _PAGE):
            page = await self._past.events(tenant_id, after=read_to, up_to=up_to, limit=_PAGE)
            read_to = page.read_to
            for recorded in page.events:
                past = _gathered(begun, recorded)
                if not isinstance(recorded.event, _DECISIONS):
                    continue
                transaction = await self._decided(recorded, past)
                if transaction.received.simulated:
                    continue  # No palm was compared, and no device is behind it.
                kind = await self._type(tenant_id, transaction.received.device_id, types)
                if device_type not in (None, kind):
                    continue
                evaluated[kind] += 1
                verdict = judged_again(what, transaction)
                not_evaluable += not verdict.evaluable
                if verdict.effect is None:
                    continue
                flipped[kind] += 1
                effects[verdict.effect] += 1
                flips.append(_flip(recorded, transaction, kind, verdict))
                if len(flips) == limit:
                    read_to, stop = recorded.position, True
                    break
            if stop or read_to >= up_to or not page.events:
                break
        return Evaluation(
            evaluated=evaluated,
            flipped=flipped,
            not_evaluable=not_evaluable,
            effects=effects,
            flips=flips,
            read_to=read_to,
        )

    async def _decided(self, decision: Recorded, past: Sequence[Recorded]) -> x.Transaction:
        """The transaction as its decision left it; loaded when it began before the stretch."""
        if not past or past[0].version != 1:
            stream = await self._log.load(decision.tenant_id, decision.stream_id)
            past = [each for each in stream if each.version <= decision.version]
        transaction = x.rebuild(past)
        assert transaction is not None, "a decision follows a beginning"
        return transaction

    async def _type(
        self, tenant_id: TenantId, device_id: DeviceId, known: dict[DeviceId, d.DeviceType]
    ) -> d.DeviceType:
        if device_id not in known:
            device = d.rebuild(await self._log.load(tenant_id, device_id))
            assert device is not None, "a transaction was asked for by a device"
            known[device_id] = device.registered.type
        return known[device_id]


def _gathered(begun: dict[UUID, list[Recorded]], recorded: Recorded) -> Sequence[Recorded]:
    """What has been seen of the event's transaction; forgotten with its decision."""
    event = recorded.event
    if isinstance(event, _DECISIONS):
        return [*begun.pop(recorded.stream_id, []), recorded]
    if isinstance(event, x.TransactionReceived) or recorded.stream_id in begun:
        begun.setdefault(recorded.stream_id, []).append(recorded)
        if isinstance(event, x.TransactionRelayed):
            del begun[recorded.stream_id]
    return ()


def _flip(
    decision: Recorded, transaction: x.Transaction, kind: d.DeviceType, verdict: Verdict
) -> Flip:
    event = transaction.decision
    assert event is not None, "it was decided"
    compared = event if isinstance(event, x.TransactionNotRecognized) else transaction.identified
    return Flip(
        transaction_id=transaction.id,
        position=decision.position,
        decided_at=event.decided_at,
        device_id=transaction.received.device_id,
        device_type=kind,
        recorded=event,
        policy_version=compared.policy_version if compared is not None else None,
        verdict=verdict,
    )
