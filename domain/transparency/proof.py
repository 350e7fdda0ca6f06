"""`tlog-proof@v1`: a leaf's index, its path to the root, and the checkpoint, in one text that can
be checked without asking anybody (C2SP tlog-proof)."""

import base64
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from domain.transparency.checkpoint import (
    Checkpoint,
    CheckpointMalformed,
    read_base64,
    read_checkpoint,
    read_decimal,
    read_hash,
)
from domain.transparency.merkle import (
    PROOF_HASHES_MAX,
    ProofInvalid,
    check_inclusion,
    leaf_hash,
)
from domain.transparency.note import (
    Ed25519Verify,
    NoteMalformed,
    NoteUnverified,
    SignedNote,
    VerifierKey,
    read_note,
    verify_note,
)

HEADER: Final = "c2sp.org/tlog-proof@v1"


class TlogProofMalformed(Exception):
    """The text is not a tlog-proof."""


class TlogProof(msgspec.Struct, frozen=True, kw_only=True):
    """`checkpoint` is the whole signed note. `extra` is for the application; nobody signed it."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: SignedNote
    extra: bytes | None = None

    def encode(self) -> str:
        lines = [HEADER]
        if self.extra is not None:
            lines.append(f"extra {base64.b64encode(self.extra).decode()}")
        lines.append(f"index {self.index}")
        lines.extend(base64.b64encode(found).decode() for found in self.path)
        return "\n".join([*lines, "", self.checkpoint.encode()])


def read_proof(text: str) -> TlogProof:
    """Raises TlogProofMalformed."""
    head, blank, note = text.partition("\n\n")
    lines = head.split("\n")
    if not blank or lines.pop(0) != HEADER:
        raise TlogProofMalformed(f"a proof begins with {HEADER}")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = read_base64(lines.pop(0).removeprefix("extra "))
        if extra is None:
            raise TlogProofMalformed("the extra line is not base64")
    line = lines.pop(0) if lines else ""
    index = read_decimal(line.removeprefix("index "))
    path = [read_hash(line) for line in lines]
    if not line.startswith("index ") or index is None:
        raise TlogProofMalformed("there is no index line")
    if len(path) > PROOF_HASHES_MAX or None in path:
        raise TlogProofMalformed("a path is at most 63 hashes, each a line of base64")
    try:
        checkpoint = read_note(note)
    except NoteMalformed as error:
        raise TlogProofMalformed(f"the checkpoint: {error}") from error
    return TlogProof(
        index=index,
        path=tuple(found for found in path if found is not None),
        checkpoint=checkpoint,
        extra=extra,
    )


def check_proof(
    proof: TlogProof,
    leaf: bytes,
    log_key: VerifierKey,
    verify: Ed25519Verify,
    *,
    witnesses: Iterable[VerifierKey] = (),
    witnesses_required: int = 0,
) -> Checkpoint:
    """The checkpoint under which the leaf stands, signed by the log and by enough witnesses.

    The origin must be the log key's name. Raises ProofInvalid, NoteUnverified.
    """
    checkpoint = open_checkpoint(proof.checkpoint, log_key, verify, witnesses, witnesses_required)
    check_inclusion(proof.index, checkpoint.size, leaf_hash(leaf), proof.path, checkpoint.root)
    return checkpoint


def open_checkpoint(
    note: SignedNote,
    log_key: VerifierKey,
    verify: Ed25519Verify,
    witnesses: Iterable[VerifierKey] = (),
    witnesses_required: int = 0,
) -> Checkpoint:
    """What a checkpoint says, once the log's signature and enough cosignatures hold.

    Two cosignatures of one witness key count once, whatever names it goes by. Raises
    NoteUnverified, also for a text that is signed and yet no checkpoint of this log.
    """
    signed = verify_note(note, [log_key, *witnesses], verify)
    if log_key not in signed:
        raise NoteUnverified("the log did not sign this")
    cosigned = {key.public_key for key in signed if key != log_key}
    if len(cosigned) < witnesses_required:
        raise NoteUnverified(f"{len(cosigned)} witnesses cosigned, {witnesses_required} must")
    try:
        checkpoint = read_checkpoint(note.text)
    except CheckpointMalformed as error:
        raise NoteUnverified(f"what is signed is no checkpoint: {error}") from error
    if checkpoint.origin != log_key.name:
        raise NoteUnverified("the checkpoint is another log's")
    return checkpoint


def encode_hashes(hashes: Sequence[bytes]) -> str:
    """A line of base64 for each hash, as proofs are written in C2SP's texts."""
    return "".join(f"{base64.b64encode(found).decode()}\n" for found in hashes)


__all__ = [
    "HEADER",
    "ProofInvalid",
    "TlogProof",
    "TlogProofMalformed",
    "check_proof",
    "encode_hashes",
    "open_checkpoint",
    "read_proof",
]
