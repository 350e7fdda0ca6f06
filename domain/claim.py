"""Claim: one stream per unique thing, so that uniqueness is decided by the commit itself.

The stream's id is computed from what must be unique (`domain.ids.claim_id`). Whoever appends
the first event at version 1 holds it; a second append at the same version is refused by the
log, together with everything else in that submission.
"""

from collections.abc import Iterable
from typing import ClassVar, Final
from uuid import UUID

import msgspec

from domain.events import DomainEvent, Recorded
from domain.folding import UnexpectedEvent, fold
from domain.ids import ClaimId, TenantId

PRODUCT_KEY: Final = "product_key"
MOBILE: Final = "mobile"
EMAIL: Final = "email"
EXTERNAL_ID: Final = "external_id"
PALM_HAND: Final = "palm_hand"
DEVICE_KEY: Final = "device_key"
OPERATOR_EMAIL: Final = "operator_email"


class ClaimTaken(DomainEvent, frozen=True, kw_only=True):
    """A unique thing now belongs to `owner`."""

    NAME: ClassVar[str] = "claim.taken"
    kind: str
    owner: UUID


class ClaimReleased(DomainEvent, frozen=True, kw_only=True):
    """A unique thing is free again."""

    NAME: ClassVar[str] = "claim.released"
    kind: str


ClaimEvent = ClaimTaken | ClaimReleased


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    id: ClaimId
    tenant_id: TenantId
    version: int
    owner: UUID | None


def evolve(claim: Claim | None, recorded: Recorded) -> Claim:
    match recorded.event:
        case ClaimTaken() as event:
            holder: UUID | None = event.owner
        case ClaimReleased() if claim is not None:
            holder = None
        case other:
            raise UnexpectedEvent(other)
    return Claim(
        id=ClaimId(recorded.stream_id),
        tenant_id=recorded.tenant_id,
        version=recorded.version,
        owner=holder,
    )


def rebuild(past: Iterable[Recorded]) -> Claim | None:
    return fold(evolve, past)
