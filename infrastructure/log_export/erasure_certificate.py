"""Is this certificate of an erasure true? Answered from an export, a key, and nothing else.

Every step has its own proof, under a checkpoint that the log signed. The export gives the leaf that
the proof is about; the proof says that the signed log has it. What the leaves say must then add up
to the whole erasure of the person whom the certificate names.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

import msgspec

from domain.erasure import ErasureCompleted, erasure_id, rebuild
from domain.events import Recorded
from domain.folding import UnexpectedEvent
from domain.ids import UserId, parse
from domain.transparency.leaf import LeafMalformed, recorded
from domain.transparency.merkle import ProofInvalid
from domain.transparency.note import NoteMalformed, NoteUnverified
from domain.transparency.proof import TlogProofMalformed, check_proof, read_proof
from domain.transparency.tiles import BundleMalformed
from infrastructure.event_log.mapper import EventMapper, UnknownEvent
from infrastructure.log_export.directory import CHECKPOINT, ExportDirectory
from infrastructure.log_export.proving import CannotProve, NoSuchEvent, at_position
from infrastructure.log_export.verification import Trust
from infrastructure.transparency.ed25519 import verify as ed25519

Reason = Literal[
    "certificate_malformed",
    "step_not_in_export",
    "proof_invalid",
    "step_differs",
    "erasure_incomplete",
]

MEANINGS: Final[dict[Reason, str]] = {
    "certificate_malformed": "this is no certificate of an erasure",
    "step_not_in_export": "the export has no event at this step's position; export again",
    "proof_invalid": "the step's proof is not one of this log's",
    "step_differs": "the log has something else at this position than the certificate says",
    "erasure_incomplete": "the steps are not the whole erasure of this person",
}


class CertificateVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """`bad_step` is the position of the first step that does not hold, where it is one step's."""

    ok: bool
    user_id: str | None = None
    erased_at: datetime | None = None
    steps: int = 0
    bad_step: int | None = None
    reason: Reason | None = None


class _Step(msgspec.Struct, frozen=True):
    step: str
    at: datetime
    position: int
    proof: str


class _Certificate(msgspec.Struct, frozen=True):
    user_id: str
    erased_at: datetime
    techniques: tuple[str, ...]
    steps: tuple[_Step, ...]


class _Refused(Exception):
    def __init__(self, reason: Reason, position: int | None = None) -> None:
        self.reason: Reason = reason
        self.position = position
        super().__init__(reason)


def check_certificate(
    directory: ExportDirectory, trust: Trust, mapper: EventMapper, certificate: bytes
) -> CertificateVerdict:
    """Raises NotAnExport, CannotProve when the export itself cannot be read or believed."""
    size = _size(directory, trust)
    told: _Certificate | None = None
    try:
        told = _read(certificate)
        _check_whole(told, [_proved(directory, size, trust, mapper, step) for step in told.steps])
    except _Refused as refused:
        return _verdict(told, refused)
    return _verdict(told, None)


def _verdict(told: _Certificate | None, refused: _Refused | None) -> CertificateVerdict:
    return CertificateVerdict(
        ok=refused is None,
        user_id=None if told is None else told.user_id,
        erased_at=None if told is None else told.erased_at,
        steps=0 if told is None else len(told.steps),
        bad_step=None if refused is None else refused.position,
        reason=None if refused is None else refused.reason,
    )


def _size(directory: ExportDirectory, trust: Trust) -> int:
    directory.check_there()
    text = directory.read(CHECKPOINT)
    if text is None:
        raise CannotProve("there is no checkpoint")
    try:
        return trust.opened(text).size
    except (NoteMalformed, NoteUnverified) as error:
        raise CannotProve(str(error)) from error


def _read(certificate: bytes) -> _Certificate:
    try:
        return msgspec.json.decode(certificate, type=_Certificate)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _Refused("certificate_malformed") from error


def _proved(
    directory: ExportDirectory, size: int, trust: Trust, mapper: EventMapper, step: _Step
) -> Recorded:
    """The event of a step, once the log's key has vouched for it."""
    try:
        _, leaf, event = at_position(directory, size, step.position)
        check_proof(
            read_proof(step.proof),
            leaf,
            trust.log_key,
            ed25519,
            witnesses=trust.witnesses,
            witnesses_required=trust.witnesses_required,
        )
        found = recorded(event, mapper.decode(event.name, event.payload))
    except NoSuchEvent as error:
        raise _Refused("step_not_in_export", step.position) from error
    except (TlogProofMalformed, ProofInvalid, NoteMalformed, NoteUnverified) as error:
        raise _Refused("proof_invalid", step.position) from error
    except (LeafMalformed, BundleMalformed, UnknownEvent, msgspec.MsgspecError) as error:
        raise CannotProve(str(error)) from error
    if event.name != f"erasure.{step.step}" or event.recorded_at != step.at:
        raise _Refused("step_differs", step.position)
    return found


def _check_whole(told: _Certificate, steps: Sequence[Recorded]) -> None:
    """That the steps are this person's erasure, from the request to its end, none left out."""
    user_id = parse("usr", told.user_id)
    if user_id is None or not steps:
        raise _Refused("certificate_malformed")
    stream_id = erasure_id(UserId(user_id))
    for step in steps:
        if step.stream_id != stream_id:
            raise _Refused("step_differs", step.position)
    last = steps[-1].event
    if [step.version for step in steps] != list(range(1, len(steps) + 1)):
        raise _Refused("erasure_incomplete")
    try:
        erasure = rebuild(steps)
    except UnexpectedEvent as error:
        raise _Refused("erasure_incomplete") from error
    if erasure is None or erasure.status != "completed" or not isinstance(last, ErasureCompleted):
        raise _Refused("erasure_incomplete")
    if told.techniques != last.techniques or told.erased_at != steps[-1].recorded_at:
        raise _Refused("step_differs", steps[-1].position)
