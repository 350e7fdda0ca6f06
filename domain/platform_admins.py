"""The Platform Admins who may come in, as one stream: so that there is always one of them.

Two who remove each other at the same moment append to it at the same version, and the log lets one
of them.
"""

from collections.abc import Iterable
from typing import ClassVar, Final
from uuid import UUID

import msgspec

from domain.errors import Conflict
from domain.events import DomainEvent, Recorded
from domain.folding import UnexpectedEvent, fold
from domain.ids import OperatorId

STREAM: Final = UUID("5b0d6f3e-7c51-5f0a-9a62-3d1e8c4b7a90")


class PlatformAdminAdded(DomainEvent, frozen=True, kw_only=True):
    """One more of them may come in."""

    NAME: ClassVar[str] = "platform_admin.added"
    operator_id: OperatorId


class PlatformAdminTaken(DomainEvent, frozen=True, kw_only=True):
    """One of them may not come in any more, and another is left."""

    NAME: ClassVar[str] = "platform_admin.taken"
    operator_id: OperatorId


PlatformAdminEvent = PlatformAdminAdded | PlatformAdminTaken


class PlatformAdmins(msgspec.Struct, frozen=True, kw_only=True):
    version: int = 0
    ids: frozenset[OperatorId] = frozenset()


def add(admins: PlatformAdmins | None, operator_id: OperatorId) -> list[PlatformAdminEvent]:
    if admins is not None and operator_id in admins.ids:
        return []
    return [PlatformAdminAdded(operator_id=operator_id)]


def take(admins: PlatformAdmins | None, operator_id: OperatorId) -> list[PlatformAdminEvent]:
    """Raises Conflict (`last_platform_admin`)."""
    if admins is None or operator_id not in admins.ids:
        return []
    if len(admins.ids) == 1:
        raise Conflict("last_platform_admin", "somebody has to be left who can let others in")
    return [PlatformAdminTaken(operator_id=operator_id)]


def evolve(admins: PlatformAdmins | None, recorded: Recorded) -> PlatformAdmins:
    ids = frozenset[OperatorId]() if admins is None else admins.ids
    match recorded.event:
        case PlatformAdminAdded(operator_id=operator_id):
            return PlatformAdmins(version=recorded.version, ids=ids | {operator_id})
        case PlatformAdminTaken(operator_id=operator_id):
            return PlatformAdmins(version=recorded.version, ids=ids - {operator_id})
        case other:
            raise UnexpectedEvent(other)


def rebuild(past: Iterable[Recorded]) -> PlatformAdmins | None:
    return fold(evolve, past)
