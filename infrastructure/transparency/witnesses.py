"""Asks witnesses to cosign (C2SP tlog-witness): a checkpoint that enough of them saw is final.

A witness signs only what continues the last it saw of a log, so nobody can be shown another
history than the witnesses were.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, LiteralString, Protocol

import msgspec
import structlog

from domain.ids import TenantId
from domain.transparency.checkpoint import read_decimal
from domain.transparency.merkle import consistency_spans, prove_consistency
from domain.transparency.note import (
    NoteMalformed,
    NoteUnverified,
    Signature,
    SignedNote,
    VerifierKey,
    read_note,
    read_signatures,
    verify_note,
)
from domain.transparency.submission import Submission
from infrastructure.database import Connection, Pool
from infrastructure.outbound.http_exchange import Answer, OutboundFailed
from infrastructure.transparency.ed25519 import verify
from infrastructure.transparency.trees import read_tiles

_ANSWER_BYTES_MAX: Final = 65_536
LOGS_MAX: Final = 64
_ROUNDS_AT_ONCE: Final = 4

_DUE: Final[LiteralString] = """
    SELECT log_id, size, note FROM public.transparency_checkpoints
    WHERE size > coalesce(final_size, 0) AND refused IS NULL
      AND (%(after)s::uuid IS NULL OR log_id > %(after)s)
    ORDER BY log_id LIMIT %(limit)s"""

_KNOWN: Final[LiteralString] = """
    SELECT witness, size FROM public.transparency_witnesses WHERE log_id = %s"""

_NOTE_KNOWN: Final[LiteralString] = """
    INSERT INTO public.transparency_witnesses (log_id, witness, size) VALUES (%s, %s, %s)
    ON CONFLICT (log_id, witness) DO UPDATE SET size = excluded.size"""

_FINAL: Final[LiteralString] = """
    UPDATE public.transparency_checkpoints
    SET final_size = %(size)s, final_note = %(note)s, final_at = now()
    WHERE log_id = %(log_id)s AND coalesce(final_size, 0) < %(size)s AND size >= %(size)s"""

_log = structlog.get_logger(__name__)


class Requester(Protocol):
    """The part of `OutboundClient` that is used here."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        deadline_s: float,
        max_bytes: int,
    ) -> Answer: ...


class Witness(msgspec.Struct, frozen=True, kw_only=True):
    """Its key, of type 0x04, and its submission prefix, without a slash at the end."""

    key: VerifierKey
    url: str


class WitnessRefused(Exception):
    """No cosignature came of it: not reached, refused, or an answer that is none."""


class Cosigner:
    """Has the newest checkpoints of all logs cosigned. `run` never returns by itself; cancel it.

    It runs in the process that keeps the log. `required` cosignatures make a checkpoint final.
    """

    def __init__(
        self,
        pool: Pool,
        http: Requester,
        witnesses: Sequence[Witness],
        *,
        required: int,
        every_s: float = 1.0,
        deadline_s: float = 5.0,
        logs_max: int = LOGS_MAX,
    ) -> None:
        self._pool = pool
        self._http = http
        self._witnesses = witnesses
        self._required = required
        self._every_s = every_s
        self._deadline_s = deadline_s
        self._failing: dict[str, str] = {}
        self._logs_max = logs_max
        self._after: TenantId | None = None

    async def run(self) -> None:
        while True:
            await self.round()
            await asyncio.sleep(self._every_s)

    async def round(self) -> int:
        """Ask for the next checkpoints that are not final; how many became so. One that no
        witness cosigns keeps none of the others waiting: each round goes on after the last log of
        the round before. Raises psycopg.Error."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_DUE, {"after": self._after, "limit": self._logs_max})
            due = await cursor.fetchall()
        self._after = due[-1][0] if len(due) == self._logs_max else None
        places = asyncio.Semaphore(_ROUNDS_AT_ONCE)

        async def one(log_id: TenantId, size: int, note: str) -> bool:
            async with places:
                return await self._cosign(log_id, size, read_note(note))

        return sum(await asyncio.gather(*(one(*row) for row in due)))

    async def _cosign(self, log_id: TenantId, size: int, note: SignedNote) -> bool:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_KNOWN, (log_id,))
            known: dict[str, int] = dict(await cursor.fetchall())
        answers = await asyncio.gather(
            *(
                self._ask(log_id, size, note, witness, known.get(witness.key.name, 0))
                for witness in self._witnesses
            )
        )
        cosignatures = [found for found in answers if found is not None]
        if len(cosignatures) < self._required:
            return False
        whole = SignedNote(note.text, (*note.signatures, *cosignatures)).encode()
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                _FINAL, {"log_id": log_id, "size": size, "note": whole}
            )
        return cursor.rowcount == 1

    async def _ask(
        self, log_id: TenantId, size: int, note: SignedNote, witness: Witness, known: int
    ) -> Signature | None:
        name = witness.key.name
        try:
            try:
                found = await self._submit(log_id, size, note, witness, min(known, size))
            except _OtherSize as other:
                if other.size > size:
                    raise WitnessRefused(f"it has seen {other.size} leaves of {size}") from other
                found = await self._submit(log_id, size, note, witness, other.size)
        except (WitnessRefused, _OtherSize) as error:
            if self._failing.get(name) != str(error):
                _log.warning("witness_refused", witness=name, log_id=str(log_id), reason=str(error))
            self._failing[name] = str(error)
            return None
        self._failing.pop(name, None)
        async with self._pool.connection() as connection:
            await connection.execute(_NOTE_KNOWN, (log_id, name, size))
        return found

    async def _submit(
        self, log_id: TenantId, size: int, note: SignedNote, witness: Witness, old_size: int
    ) -> Signature:
        """Raises WitnessRefused, _OtherSize."""
        async with self._pool.connection() as connection:
            proof = await _consistency(connection, log_id, old_size, size)
        submission = Submission(old_size=old_size, proof=proof, checkpoint=note)
        try:
            answer = await self._http.request(
                "POST",
                f"{witness.url}/add-checkpoint",
                headers={"content-type": "text/plain; charset=utf-8"},
                body=submission.encode().encode(),
                deadline_s=self._deadline_s,
                max_bytes=_ANSWER_BYTES_MAX,
            )
        except OutboundFailed as error:
            raise WitnessRefused(error.kind) from error
        if answer.status == 409:
            other = read_decimal(answer.body.decode("ascii", "replace").removesuffix("\n"))
            if other is not None and other != old_size:
                raise _OtherSize(other)
        if answer.status != 200:
            raise WitnessRefused(f"status {answer.status}")
        return _cosignature(answer.body, note, witness)


class _OtherSize(Exception):
    """The witness has seen another number of leaves than we thought."""

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(f"it has seen {size} leaves")


async def _consistency(
    connection: Connection, log_id: TenantId, old_size: int, size: int
) -> tuple[bytes, ...]:
    spans = consistency_spans(old_size, size)
    at = await read_tiles(connection, log_id, spans, size)
    return tuple(prove_consistency(old_size, size, at))


def _cosignature(body: bytes, note: SignedNote, witness: Witness) -> Signature:
    """The line of the witness's key. Raises WitnessRefused when there is none that holds."""
    try:
        lines = SignedNote(note.text, read_signatures(body.decode()))
        verify_note(lines, [witness.key], verify)
    except (UnicodeDecodeError, NoteMalformed, NoteUnverified) as error:
        raise WitnessRefused(f"no cosignature of its key: {error}") from error
    found = lines.by(witness.key)
    assert found is not None, "verified just now"
    return found
