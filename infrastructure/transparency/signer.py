"""Signs checkpoints: of trees that are committed, and that continue what was signed before.

It runs under the keeper's lock, in one process at a time. Whatever it is asked, it signs no tree
that is shorter than the last one signed, and none that the last one is not a prefix of; the
database refuses to keep such a checkpoint a second time (`refuse_contradiction`).
"""

from collections.abc import Sequence
from typing import Final, LiteralString

import structlog

from domain.ids import TenantId
from domain.transparency.checkpoint import Checkpoint
from domain.transparency.merkle import (
    ProofInvalid,
    check_consistency,
    consistency_spans,
    prove_consistency,
    root,
)
from domain.transparency.note import SignedNote, VerifierKey, sign_note
from domain.transparency.origin import origin_of
from infrastructure.database import Connection
from infrastructure.transparency.ed25519 import NoteSigner
from infrastructure.transparency.trees import read_tiles

_DUE: Final[LiteralString] = """
    SELECT tree.log_id, tree.size, signed.size, signed.root, signed.refused
    FROM public.transparency_trees tree
    LEFT JOIN public.transparency_checkpoints signed ON signed.log_id = tree.log_id
    WHERE tree.size > 0 AND tree.size IS DISTINCT FROM signed.size
        AND (%(logs)s::uuid[] IS NULL OR tree.log_id = ANY(%(logs)s))"""

_KEEP: Final[LiteralString] = """
    INSERT INTO public.transparency_checkpoints AS kept
        (log_id, size, root, note, final_size, final_note, final_at)
    VALUES (%(log_id)s, %(size)s, %(root)s, %(note)s,
        CASE WHEN %(final)s THEN %(size)s END, CASE WHEN %(final)s THEN %(note)s END,
        CASE WHEN %(final)s THEN now() END)
    ON CONFLICT (log_id) DO UPDATE SET
        size = excluded.size, root = excluded.root, note = excluded.note, signed_at = now(),
        refused = NULL,
        final_size = coalesce(excluded.final_size, kept.final_size),
        final_note = coalesce(excluded.final_note, kept.final_note),
        final_at = coalesce(excluded.final_at, kept.final_at)"""

_REFUSE: Final[LiteralString] = """
    UPDATE public.transparency_checkpoints SET refused = %s WHERE log_id = %s"""

_log = structlog.get_logger(__name__)


class CheckpointSigner:
    """`prefix` begins every origin. `final_at_once`: no witness needs to cosign."""

    def __init__(self, key: NoteSigner, prefix: str, *, final_at_once: bool) -> None:
        self._key = key
        self._prefix = prefix
        self._final_at_once = final_at_once

    async def sign(self, connection: Connection, logs: Sequence[TenantId] | None = None) -> int:
        """Sign what grew, of these logs or of all; how many were signed. One commit for all.

        A log that does not continue what was signed is refused, visibly, and left as it is.
        """
        signed = 0
        async with connection.transaction():
            cursor = await connection.execute(_DUE, {"logs": None if logs is None else list(logs)})
            for log_id, size, old_size, old_root, refused in await cursor.fetchall():
                try:
                    new_root = await self._continued(
                        connection, log_id, size, old_size or 0, old_root
                    )
                except (ProofInvalid, KeyError) as error:
                    await self._refuse(connection, log_id, refused, error)
                else:
                    await self._keep(connection, log_id, size, new_root)
                    signed += 1
        return signed

    async def _continued(
        self,
        connection: Connection,
        log_id: TenantId,
        size: int,
        old_size: int,
        old_root: bytes | None,
    ) -> bytes:
        """The root of the tree, which the signed one is a prefix of.

        Raises ProofInvalid, and KeyError for a tile that is not there.
        """
        if size < old_size:
            raise ProofInvalid(f"the tree has {size} leaves, {old_size} were signed")
        spans = [*consistency_spans(old_size, size), (0, size)]
        at = await read_tiles(connection, log_id, spans, size)
        new_root = root(size, at)
        if old_root is not None:
            proof = prove_consistency(old_size, size, at)
            check_consistency(old_size, old_root, size, new_root, proof)
        return new_root

    async def _keep(
        self, connection: Connection, log_id: TenantId, size: int, new_root: bytes
    ) -> None:
        origin = origin_of(self._prefix, log_id)
        body = Checkpoint(origin=origin, size=size, root=new_root).body()
        key = VerifierKey(origin, self._key.public_key)
        note = SignedNote(body, (sign_note(body, key, self._key.sign),)).encode()
        await connection.execute(
            _KEEP,
            {
                "log_id": log_id,
                "size": size,
                "root": new_root,
                "note": note,
                "final": self._final_at_once,
            },
        )

    async def _refuse(
        self, connection: Connection, log_id: TenantId, before: str | None, error: Exception
    ) -> None:
        why = f"{type(error).__name__}: {error}"
        if why != before:
            _log.error("checkpoint_refused", log_id=str(log_id), reason=why)
            await connection.execute(_REFUSE, (why, log_id))
