"""A device that is on: it sends heartbeats, and does what it is told once, however often told."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal
from uuid import uuid4

import msgspec

REMEMBERED: Final = 1000
"""A command may come again until its result has arrived, and never later than 30 days."""

Result = Literal["done", "failed", "rejected"]
Send = Callable[[bytes], Awaitable[bytes]]
"""Sends the body of a heartbeat and returns the answer's, or raises."""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    kind: str
    message: str | None
    expires_at: datetime


class HeartbeatAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the device was told; members that we do not know are left alone."""

    counted: bool
    missed: int | None
    clock_offset_ms: int
    next_heartbeat_s: int
    locked: bool
    server_time: datetime
    certificate_not_after: datetime
    renew_after: datetime
    commands: list[Command]


class Operation:
    """One run of a device, from power-on. `locked`, `showing` and `restarts` are what a person in
    front of it would see."""

    def __init__(
        self, send: Send, renew: Callable[[], Awaitable[None]], reported: Mapping[str, Any]
    ) -> None:
        """`renew` gets the device a new certificate; a command may ask for it, and the time."""
        self._send = send
        self._renew = renew
        self._reported = dict(reported)
        self._boot_id = uuid4().hex
        self._seq = 0
        self._done: dict[str, tuple[Result, str | None]] = {}
        self._to_tell: list[str] = []
        self.locked = False
        self.showing: str | None = None
        self.restarts = 0

    async def beat(self) -> HeartbeatAnswer:
        """Send one heartbeat with what was done since the last one, and do what it answers.

        Results are told again until a heartbeat that had them was answered. Raises what `send`
        raises; the number of a heartbeat whose answer was lost is not used again.
        """
        self._seq += 1
        telling = list(self._to_tell)
        body = {
            "seq": self._seq,
            "boot_id": self._boot_id,
            "device_time": datetime.now(UTC),
            **self._reported,
            "command_results": [self._result(each) for each in telling],
        }
        answer = msgspec.json.decode(
            await self._send(msgspec.json.encode(body)), type=HeartbeatAnswer
        )
        self._to_tell = [each for each in self._to_tell if each not in telling]
        self.locked = answer.locked
        for command in answer.commands:
            if command.id not in self._done:
                self._done[command.id] = await self._do(command)
            self._to_tell.append(command.id)
        if answer.server_time >= answer.renew_after:
            await self._renew()
        while len(self._done) > REMEMBERED:
            del self._done[next(iter(self._done))]
        return answer

    async def _do(self, command: Command) -> tuple[Result, str | None]:
        match command.kind:
            case "lock" | "unlock":
                self.locked = command.kind == "lock"
            case "restart":
                self.restarts += 1
                self._boot_id, self._seq = uuid4().hex, 0
            case "rotate_cert":
                await self._renew()
            case "show_message":
                self.showing = command.message
            case "identify" | "update_config" | "sync_library":
                pass  # a light that blinks, a file that is fetched: nothing that can be seen here
            case _:
                return "rejected", "not_supported"
        return "done", None

    def _result(self, command_id: str) -> dict[str, str]:
        status, detail = self._done[command_id]
        return {"id": command_id, "status": status} | ({"detail": detail} if detail else {})
