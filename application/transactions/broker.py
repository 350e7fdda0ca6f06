"""The broker: one device call, one decision, the same one for ever (004 §10.3).

A process manager in the seeds' sense: its state is the Transaction's stream and its steps run
inside the device's request. Two rules hold everything up. The intent is durable before a byte
leaves for the product, and the decision is durable before the device hears of it; the expected
version of the second append is the fence against anybody who took over meanwhile.
"""

import asyncio
import hashlib
from collections.abc import Awaitable
from datetime import datetime
from typing import Final

import msgspec

from application.permissions import require_device
from application.ports import (
    CanonicalJSON,
    Clock,
    CommitFailed,
    Commitments,
    EventLog,
    IdSource,
    ProductTexts,
    StaleStream,
    Streams,
)
from application.principals import DevicePrincipal
from application.transactions.asked import Asked, TransactionRequest
from application.transactions.attempt import Attempts
from application.transactions.product_texts import worded
from application.transactions.take_over import TakeOvers
from domain import device as d
from domain import tenant as t
from domain import transaction as x
from domain.errors import Conflict, Forbidden, Unauthenticated, Unavailable
from domain.events import StreamAppend
from domain.ids import TransactionId, transaction_id

JOIN_MAX_S: Final = 1.5
RELAYED_TRIES: Final = 3


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The decision for the device. `replayed` when it was taken by an earlier request."""

    answer: x.Answer
    transaction_id: TransactionId
    version: int
    replayed: bool
    received_at: datetime


class _Running(msgspec.Struct, frozen=True, kw_only=True):
    fingerprint: x.Fingerprint
    reply: "asyncio.Future[Reply]"


class Broker:
    def __init__(
        self,
        log: EventLog,
        streams: Streams,
        attempts: Attempts,
        take_overs: TakeOvers,
        canonical: CanonicalJSON,
        commitments: Commitments,
        texts: ProductTexts,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._streams = streams
        self._attempts = attempts
        self._take_overs = take_overs
        self._canonical = canonical
        self._commitments = commitments
        self._texts = texts
        self._clock = clock
        self._ids = ids
        self._running: dict[TransactionId, _Running] = {}

    async def transact(self, device: DevicePrincipal, request: TransactionRequest) -> Reply:
        """Answer a device, the same for ever under the same key.

        A duplicate that arrives while the first is running waits for its answer a little. Raises
        Invalid (`idempotency_key_reused`), Conflict (`request_in_progress`), Forbidden, and
        Unavailable (`palm_vendor_error`, `palm_vendor_timeout`, `commit_failed`), after which
        the same key may be tried again.
        """
        asked = await self._receive(device, request)
        running = self._running.get(asked.id)
        if running is not None:
            return await self._join(running, asked)
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._running[asked.id] = _Running(fingerprint=asked.fingerprint, reply=future)
        try:
            reply = await self._transact(asked)
        except CommitFailed as error:
            future.cancel()
            raise Unavailable("commit_failed", retry_after_s=1) from error
        except BaseException:
            future.cancel()
            raise
        else:
            future.set_result(reply)
            return reply
        finally:
            del self._running[asked.id]

    async def relayed(self, device: DevicePrincipal, reply: Reply) -> None:
        """Note that the answer was handed to the transport; nobody waits for this.

        Repeats are not noted. Raises CommitFailed and what else the log raises.
        """
        if reply.replayed:
            return
        relayed = x.TransactionRelayed(relayed_at=self._clock.now())
        version = reply.version
        for _ in range(RELAYED_TRIES):
            append = StreamAppend(
                tenant_id=device.tenant_id,
                stream_id=reply.transaction_id,
                expected_version=version,
                events=[relayed],
            )
            try:
                await self._log.append(device.origin(self._ids.uuid()), [append])
            except StaleStream:
                # A void that is quicker than the note, for instance: the answer was relayed all
                # the same.
                past = x.rebuild(await self._log.load(device.tenant_id, reply.transaction_id))
                if past is None or past.relayed:
                    return
                version = past.version
            else:
                return

    async def _receive(self, device: DevicePrincipal, request: TransactionRequest) -> Asked:
        started = self._clock.monotonic()
        state = await self._streams.state(device.tenant_id, device.device_id, d.rebuild)
        tenant = await self._streams.state(device.tenant_id, device.tenant_id, t.rebuild)
        if state is None or tenant is None:
            raise Unauthenticated("device_unknown")
        require_device(state, "transact", served=tenant.status == "active")
        if state.registered.bound_product is None:
            raise Forbidden("device_not_bound", "the device is bound to no product")
        context = self._canonical.canonical(request.context)
        name = transaction_id(device.device_id, request.idempotency_key)
        plain = _fingerprint(request, context)
        commit = self._commitments.commit
        return Asked(
            device=device,
            state=state,
            tenant=tenant,
            request=request,
            id=name,
            fingerprint=x.Fingerprint(
                await commit(device.tenant_id, name, "request", plain.encode()), plain
            ),
            context_commitment=await commit(device.tenant_id, name, "context", context),
            context=context,
            started=started,
            deadline_s=(request.deadline_ms or tenant.settings.default_deadline_ms) / 1000,
        )

    async def _join(self, running: _Running, asked: Asked) -> Reply:
        """Raises Conflict when the running request does not end soon, or ends without an answer."""
        if running.fingerprint == asked.fingerprint:
            patience = min(asked.deadline_s, JOIN_MAX_S)
            done, _ = await asyncio.wait((running.reply,), timeout=patience)
            if done and not running.reply.cancelled():
                return msgspec.structs.replace(running.reply.result(), replayed=True)
        return await self._repeat(asked)

    async def _transact(self, asked: Asked) -> Reply:
        past = x.rebuild(await self._log.load(asked.tenant.id, asked.id))
        if past is not None:
            x.check_same_request(past, asked.fingerprint)
            if past.decision is not None:
                return await self._reply(past, replayed=True)
            if past.intent is not None:
                return await self._fenced(
                    asked, self._take_overs.take_over(asked, past, past.intent)
                )
        return await self._fenced(asked, self._attempts.begin(asked, past))

    async def _fenced(self, asked: Asked, attempt: Awaitable[x.Transaction]) -> Reply:
        """The attempt's decision; if somebody else got in between, what the log says instead."""
        try:
            return await self._reply(await attempt, replayed=False)
        except StaleStream:
            return await self._repeat(asked)

    async def _repeat(self, asked: Asked) -> Reply:
        """What the log says of this key: its decision, or that somebody is at it."""
        past = x.rebuild(await self._log.load(asked.tenant.id, asked.id))
        if past is not None:
            x.check_same_request(past, asked.fingerprint)
            if past.decision is not None:
                return await self._reply(past, replayed=True)
        running = self._running.get(asked.id)
        if running is not None and running.fingerprint != asked.fingerprint:
            raise x.key_reused()
        raise Conflict("request_in_progress", retry_after_s=1)

    async def _reply(self, transaction: x.Transaction, *, replayed: bool) -> Reply:
        return Reply(
            answer=x.answer(await worded(self._texts, transaction)),
            transaction_id=transaction.id,
            version=transaction.version,
            replayed=replayed,
            received_at=transaction.received.received_at,
        )


def _fingerprint(request: TransactionRequest, context: bytes) -> str:
    """Of all that the answer may depend on; `seq` and the deadline are the transport's."""
    scan = request.scan
    said = (scan.sha256, scan.hand, scan.quality, scan.liveness, scan.captured_at, request.match)
    return hashlib.sha256(context + b"\0" + msgspec.json.encode(said)).hexdigest()
