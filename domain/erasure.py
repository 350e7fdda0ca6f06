"""Erasure of a person: a saga whose steps are facts, each said once its effect is complete.

    requested ─▶ access_ended ─▶ keys_destroyed ─▶ templates_removed ─▶ completed
                                                └─▶ templates_pending ─▲

Every effect may be done twice, so a crash between an effect and its event costs nothing. From
the first event on the person is recognised nowhere: it is one commit with the user's own. Keys
go before the templates, which are up to the vendor; what needs the values to be found goes
before the keys.
"""

import re
from collections.abc import Iterable, Sequence
from typing import ClassVar, Final, Literal
from uuid import UUID, uuid5

import msgspec

from domain.errors import Malformed
from domain.events import DomainEvent, Recorded
from domain.folding import UnexpectedEvent, fold
from domain.ids import PalmRef, TenantId, UserId

ErasureStep = Literal["access", "keys", "templates", "completion"]
Technique = Literal[
    "key_destruction", "ciphertext_deletion", "salt_deletion", "template_deletion_by_vendor"
]
"""How data was destroyed: what a record of destruction asks for (PDPL art. 18)."""

_REFERENCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/#-]{0,63}", re.ASCII)


class ErasureRequested(DomainEvent, frozen=True, kw_only=True):
    """A person is to be erased. `reference` is the case at the caller's, such as a ticket."""

    NAME: ClassVar[str] = "erasure.requested"
    user_id: UserId
    consents_withdrawn: tuple[str, ...]
    reference: str | None = None


class ErasureAccessEnded(DomainEvent, frozen=True, kw_only=True):
    """No one-time code and no enrolment grant of the person is left."""

    NAME: ClassVar[str] = "erasure.access_ended"


class ErasureKeysDestroyed(DomainEvent, frozen=True, kw_only=True):
    """The person's key is gone, and with it every value, ciphertext and salt under it."""

    NAME: ClassVar[str] = "erasure.keys_destroyed"


class ErasureTemplatesPending(DomainEvent, frozen=True, kw_only=True):
    """The vendor may still have these palms. Said again only when they become others."""

    NAME: ClassVar[str] = "erasure.templates_pending"
    palms: tuple[PalmRef, ...]


class ErasureTemplatesRemoved(DomainEvent, frozen=True, kw_only=True):
    """The vendor has no template of the person any more."""

    NAME: ClassVar[str] = "erasure.templates_removed"


class ErasureCompleted(DomainEvent, frozen=True, kw_only=True):
    """Nothing of the person is left but what names nobody."""

    NAME: ClassVar[str] = "erasure.completed"
    techniques: tuple[Technique, ...]


ErasureEvent = (
    ErasureRequested
    | ErasureAccessEnded
    | ErasureKeysDestroyed
    | ErasureTemplatesPending
    | ErasureTemplatesRemoved
    | ErasureCompleted
)

TECHNIQUES: Final[tuple[Technique, ...]] = (
    "key_destruction",
    "ciphertext_deletion",
    "salt_deletion",
    "template_deletion_by_vendor",
)


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """`next_step` is what is to be done now, None when all is done."""

    id: UUID
    tenant_id: TenantId
    version: int
    requested: ErasureRequested
    next_step: ErasureStep | None = "access"
    pending: tuple[PalmRef, ...] = ()

    @property
    def status(self) -> Literal["running", "pending", "completed"]:
        """`pending` while the vendor is to delete what it has."""
        if self.next_step is None:
            return "completed"
        return "pending" if self.pending else "running"


def erasure_id(user_id: UserId) -> UUID:
    """A person is erased once: who comes back is somebody else."""
    return uuid5(user_id, "erasure")


def request(
    erasure: Erasure | None, user_id: UserId, consents: Sequence[str], reference: str | None
) -> list[ErasureEvent]:
    """Asking again changes nothing. Raises Malformed (`erasure_reference_invalid`)."""
    if reference is not None and _REFERENCE.fullmatch(reference) is None:
        raise Malformed("erasure_reference_invalid", "1 to 64 of A-Z, a-z, 0-9, . _ / # and -")
    if erasure is not None:
        return []
    return [
        ErasureRequested(
            user_id=user_id, consents_withdrawn=tuple(sorted(consents)), reference=reference
        )
    ]


def end_access(erasure: Erasure) -> list[ErasureEvent]:
    return [ErasureAccessEnded()] if erasure.next_step == "access" else []


def destroy_keys(erasure: Erasure) -> list[ErasureEvent]:
    return [ErasureKeysDestroyed()] if erasure.next_step == "keys" else []


def settle_templates(erasure: Erasure, outstanding: Sequence[PalmRef]) -> list[ErasureEvent]:
    """What the vendor may still have decides whether this step is done."""
    if erasure.next_step != "templates":
        return []
    left = tuple(sorted(outstanding))
    if not left:
        return [ErasureTemplatesRemoved()]
    return [] if left == erasure.pending else [ErasureTemplatesPending(palms=left)]


def complete(erasure: Erasure) -> list[ErasureEvent]:
    done = erasure.next_step == "completion"
    return [ErasureCompleted(techniques=TECHNIQUES)] if done else []


def evolve(erasure: Erasure | None, recorded: Recorded) -> Erasure:
    event = recorded.event
    if isinstance(event, ErasureRequested) and erasure is None:
        return Erasure(
            id=recorded.stream_id,
            tenant_id=recorded.tenant_id,
            version=recorded.version,
            requested=event,
        )
    if erasure is None:
        raise UnexpectedEvent(event)
    replace = msgspec.structs.replace
    erasure = replace(erasure, version=recorded.version)
    match event:
        case ErasureAccessEnded():
            return replace(erasure, next_step="keys")
        case ErasureKeysDestroyed():
            return replace(erasure, next_step="templates")
        case ErasureTemplatesPending():
            return replace(erasure, pending=event.palms)
        case ErasureTemplatesRemoved():
            return replace(erasure, next_step="completion", pending=())
        case ErasureCompleted():
            return replace(erasure, next_step=None)
        case other:
            raise UnexpectedEvent(other)


def rebuild(past: Iterable[Recorded]) -> Erasure | None:
    return fold(evolve, past)
