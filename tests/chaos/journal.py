"""Files of JSON lines that survive their writer: what the unkilled processes saw, on the disk."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class Answered(msgspec.Struct, frozen=True, tag="answered"):
    """A device had an answer to its key. `sends` counts how often it had sent the request.

    `again` when the device already had an answer and asked only to see whether it still holds.
    `ms` is how long this sending took, `at` when it was answered (of time.time()).
    """

    device: str
    key: str
    sends: int
    replayed: bool
    again: bool
    body: str
    ms: float = 0.0
    at: float = 0.0


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """A device was told that there is no answer now; it asks again later with the same key."""

    device: str
    key: str
    sends: int
    status: int
    code: str
    ms: float = 0.0
    at: float = 0.0


class GaveUp(msgspec.Struct, frozen=True, tag="gave_up"):
    """A device lost its connection before the answer and never sent this key again.

    It asks later what became of it, and shows that or says in its journal that it did not.
    """

    device: str
    key: str


class Journaled(msgspec.Struct, frozen=True, tag="journaled"):
    """The platform took the device's word about what became of an answer."""

    device: str
    key: str
    outcome: str


Seen = Answered | Refused | GaveUp | Journaled
"""What the devices write down."""


class Called(msgspec.Struct, frozen=True, tag="called"):
    """The product was asked; on disk before it does anything about it."""

    transaction: str
    key: str
    jti: str
    attempt: int


class Charged(msgspec.Struct, frozen=True, tag="charged"):
    """The product did it; on disk before it answers. Once for each key, as it is idempotent.

    The last two are what it writes to the person, which the answer to the device must hold.
    """

    transaction: str
    key: str
    display_message: str = ""
    reference_id: str | None = None


class Voided(msgspec.Struct, frozen=True, tag="voided"):
    """The product undid it, or will refuse a key that it never saw; on disk before it answers."""

    transaction: str
    key: str
    status: str


Done = Called | Charged | Voided
"""What the product writes down."""


class Journal:
    """Appends lines; `write` returns when the line is on the disk. Writers share an fsync."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._flusher: asyncio.Task[None] | None = None

    async def write(self, line: msgspec.Struct) -> None:
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((msgspec.json.encode(line) + b"\n", written))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())
        await written

    async def _flush(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            await asyncio.to_thread(self._to_disk, b"".join(line for line, _ in batch))
            for _, written in batch:
                if not written.done():
                    written.set_result(None)

    def _to_disk(self, lines: bytes) -> None:
        while lines:
            lines = lines[os.write(self._file, lines) :]
        os.fdatasync(self._file)


class JournalReader(Generic[T]):
    """Reads what has been added since the last time; a line half written waits for the next."""

    def __init__(self, path: Path, kind: type[T] | object) -> None:
        self._path = path
        self._offset = 0
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(kind)  # pyright: ignore[reportArgumentType] - a union is no type object to pyright

    def read(self) -> Sequence[T]:
        """New lines in order; none while there is no file."""
        if not self._path.exists():
            return ()
        with self._path.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        return self._decoder.decode_lines(whole)
