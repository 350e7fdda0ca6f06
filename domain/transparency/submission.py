"""What a witness is asked with: the size it knows, the way from there, and the checkpoint
(C2SP tlog-witness, `add-checkpoint`)."""

import base64

import msgspec

from domain.transparency.checkpoint import read_decimal, read_hash
from domain.transparency.merkle import PROOF_HASHES_MAX
from domain.transparency.note import NoteMalformed, SignedNote, read_note


class SubmissionMalformed(Exception):
    """The text is not the body of an add-checkpoint request."""


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """`proof` shows that the checkpoint continues the tree of `old_size` leaves."""

    old_size: int
    proof: tuple[bytes, ...]
    checkpoint: SignedNote

    def encode(self) -> str:
        hashes = (base64.b64encode(found).decode() for found in self.proof)
        return "\n".join([f"old {self.old_size}", *hashes, "", self.checkpoint.encode()])


def read_submission(text: str) -> Submission:
    """Raises SubmissionMalformed."""
    head, blank, note = text.partition("\n\n")
    first, *lines = head.split("\n")
    old_size = read_decimal(first.removeprefix("old "))
    if not blank or not first.startswith("old ") or old_size is None:
        raise SubmissionMalformed("the first line is: old, a space, a size")
    proof = [read_hash(line) for line in lines]
    if len(proof) > PROOF_HASHES_MAX or None in proof:
        raise SubmissionMalformed("a proof is at most 63 hashes, each a line of base64")
    try:
        checkpoint = read_note(note)
    except NoteMalformed as error:
        raise SubmissionMalformed(f"the checkpoint: {error}") from error
    return Submission(
        old_size=old_size,
        proof=tuple(found for found in proof if found is not None),
        checkpoint=checkpoint,
    )
