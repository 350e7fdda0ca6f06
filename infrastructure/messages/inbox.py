"""The development inbox: codes that nobody sends are kept where the CLI can read them.

It is a file of JSON lines, and not a table: the code and the destination stand here in the
clear, which nothing in the database or its backups ever may, and `tail -f` and the CLI can read
it with no server running. The file is readable by its owner only.
"""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import structlog

from application.ports import Clock
from domain.errors import Unavailable
from infrastructure.messages import wording

FILE_NAME: Final = "messages.jsonl"

log: Final = structlog.stdlib.get_logger(__name__)


class InboxMessage(msgspec.Struct, frozen=True, kw_only=True):
    """What would have been sent. `sent_at` is RFC 3339 in UTC."""

    destination: str
    code: str
    text: str
    sent_at: str


class Inbox:
    """`OtpSender` for development, and the reader of what it took in."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._path = directory / FILE_NAME
        self._clock = clock

    async def send(self, destination: str, code: str, locale: str) -> None:
        """Append one line. Raises Unavailable (`otp_not_sent`) when the file cannot be written."""
        reason = await self._taken_in(destination, code, wording.text(code, locale))
        if reason is not None:
            log.error("otp_not_sent", channel="inbox", reason=reason)
            raise Unavailable("otp_not_sent")

    async def letter(self, destination: str, subject: str, text: str, code: str) -> None:
        """Append one line. Raises Unavailable (`mail_not_sent`) when the file cannot be written."""
        reason = await self._taken_in(destination, code, f"{subject}\n\n{text}")
        if reason is not None:
            log.error("mail_not_sent", channel="inbox", reason=reason)
            raise Unavailable("mail_not_sent")

    async def _taken_in(self, destination: str, code: str, text: str) -> str | None:
        """None, or the kind of failure."""
        message = InboxMessage(
            destination=destination,
            code=code,
            text=text,
            sent_at=self._clock.now().isoformat(),
        )
        return await asyncio.to_thread(self._append, msgspec.json.encode(message) + b"\n")

    def read(self, destination: str) -> InboxMessage | None:
        """The latest message for a destination, or None."""
        latest = None
        for message in self.messages():
            if message.destination == destination:
                latest = message
        return latest

    def messages(self) -> Iterator[InboxMessage]:
        """Every message in the order of arrival; none when there is no file yet.

        A last line without its end is a message still being written, and not one yet.
        """
        if not self._path.exists():
            return
        with self._path.open("rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    yield msgspec.json.decode(line, type=InboxMessage)

    def _append(self, line: bytes) -> str | None:
        """Write in one call, so that processes never mix their lines; why not, if it failed."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
            try:
                written = os.write(descriptor, line)
            finally:
                os.close(descriptor)
        except OSError as error:
            return type(error).__name__
        return None if written == len(line) else "short_write"
