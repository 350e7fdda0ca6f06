"""The decision of a witness: cosign, or say why not (C2SP tlog-witness, `add-checkpoint`)."""

import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from domain.transparency.checkpoint import Checkpoint, CheckpointMalformed, read_checkpoint
from domain.transparency.merkle import ProofInvalid, check_consistency
from domain.transparency.note import (
    COSIGNATURE_V1,
    NoteUnverified,
    VerifierKey,
    cosign,
    verify_note,
)
from domain.transparency.submission import Submission, SubmissionMalformed, read_submission
from examples.witness.memory import Memory
from infrastructure.transparency.ed25519 import NoteSigner, verify

TEXT: Final = "text/plain; charset=utf-8"
TREE_SIZE: Final = "text/x.tlog.size"

_PLATFORM: Final = "/platform"


class Answer(msgspec.Struct, frozen=True):
    """What goes back over HTTP."""

    status: int
    body: str
    content_type: str = TEXT


class Witness:
    """`logs` are the keys of the logs it knows. The key of a platform's own log stands for every
    log of that platform: they are signed with one key, each under its own origin."""

    def __init__(
        self,
        name: str,
        key: NoteSigner,
        logs: Sequence[VerifierKey],
        memory: Memory,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._key = key
        self.verifier_key = VerifierKey(name, key.public_key, COSIGNATURE_V1)
        self._logs = {log.name: log for log in logs}
        self._memory = memory
        self._clock = clock

    def add_checkpoint(self, text: str) -> Answer:
        """Cosign what continues the last checkpoint that was cosigned of its log."""
        try:
            submission = read_submission(text)
            checkpoint = read_checkpoint(submission.checkpoint.text)
        except (SubmissionMalformed, CheckpointMalformed) as error:
            return Answer(400, f"{error}\n")
        log = self._log(checkpoint.origin)
        if log is None:
            return Answer(404, "this log is not known here\n")
        try:
            verify_note(submission.checkpoint, [log], verify)
        except NoteUnverified as error:
            return Answer(403, f"{error}\n")
        if submission.old_size > checkpoint.size:
            return Answer(400, "the old size is larger than the checkpoint's\n")
        with self._memory.locked():
            refusal = self._continues(submission, checkpoint)
            if refusal is not None:
                return refusal
            self._memory.remember(checkpoint.origin, checkpoint.size, checkpoint.root)
        body = submission.checkpoint.text
        return Answer(
            200, cosign(body, self.verifier_key, int(self._clock()), self._key.sign).line()
        )

    def _continues(self, submission: Submission, checkpoint: Checkpoint) -> Answer | None:
        """None when it does."""
        size, root = self._memory.seen(checkpoint.origin)
        if submission.old_size != size:
            return Answer(409, f"{size}\n", TREE_SIZE)
        if checkpoint.size == size and checkpoint.root != root:
            return Answer(409, f"{size}\n", TREE_SIZE)
        try:
            check_consistency(size, root, checkpoint.size, checkpoint.root, submission.proof)
        except ProofInvalid as error:
            return Answer(422, f"{error}\n")
        return None

    def _log(self, origin: str) -> VerifierKey | None:
        known = self._logs.get(origin)
        if known is not None:
            return known
        prefix, _, rest = origin.partition("/tenants/")
        platform = self._logs.get(prefix + _PLATFORM)
        if platform is None or not rest or "/" in rest:
            return None
        return VerifierKey(origin, platform.public_key)
