"""Tells whose presence has turned, and ends commands that ran out: the worker's, by the clock."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final, TypeVar

from application.ports import Clock, EventLog, IdSource, StaleStream
from application.ports.fleet import OpenCommands, PresenceBook, Turned, Waiting
from domain import device as d
from domain import device_command as dc
from domain import presence as p
from domain.events import Origin, StreamAppend

ACTOR: Final = "system:fleet_monitor"
PER_ROUND: Final = 1000
AT_ONCE: Final = 64

T = TypeVar("T")


class FleetMonitor:
    """`round` is meant for `infrastructure/rounds.py`; done twice at once, it tells once."""

    def __init__(
        self,
        log: EventLog,
        book: PresenceBook,
        commands: OpenCommands,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._book = book
        self._commands = commands
        self._clock = clock
        self._ids = ids
        self._since: datetime | None = None

    async def round(self) -> int:
        """How many devices and commands were looked at.

        Silence counts from the first round of this process: before, the platform itself may have
        been away. Raises CommitFailed and what the ports raise; what was not told is found again.
        """
        now = self._clock.now()
        since = self._since = self._since or now
        turned = await self._book.turned(now, since, PER_ROUND)
        overdue = await self._commands.overdue(now, PER_ROUND)
        await _each(turned, self._tell)
        await _each(overdue, self._expire)
        return len(turned) + len(overdue)

    async def _tell(self, turned: Turned) -> None:
        tenant_id, device_id = turned.tenant_id, turned.device_id
        device = d.rebuild(await self._log.load(tenant_id, device_id))
        if device is None or device.status != "active":
            await self._book.forget(turned)
            return
        stream = p.presence_id(device_id)
        presence = p.rebuild(await self._log.load(tenant_id, stream))
        events = p.tell(presence, device_id, turned.heard, offline=turned.offline)
        version = 0 if presence is None else presence.version
        await self._append(
            StreamAppend(
                tenant_id=tenant_id, stream_id=stream, expected_version=version, events=events
            )
        )
        await self._book.told(turned)

    async def _expire(self, waiting: Waiting) -> None:
        past = await self._log.load(waiting.tenant_id, waiting.command_id)
        command = dc.rebuild(past)
        if command is not None:
            await self._append(
                StreamAppend(
                    tenant_id=waiting.tenant_id,
                    stream_id=waiting.command_id,
                    expected_version=command.version,
                    events=dc.expire(command, self._clock.now()),
                )
            )

    async def _append(self, append: StreamAppend) -> None:
        if append.events:
            fresh = self._ids.uuid()
            origin = Origin(actor=ACTOR, correlation_id=fresh, command_id=fresh)
            with suppress(StaleStream):  # somebody else has told it
                await self._log.append(origin, [append])


async def _each(found: Sequence[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Together, so that they share commits; what one of them met is raised after the others."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(each: T) -> None:
        async with places:
            await work(each)

    for ended in await asyncio.gather(*(one(each) for each in found), return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended
