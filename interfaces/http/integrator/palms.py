"""`/v1/users/{user_id}/palms`: which palms a person has, and taking one away."""

from datetime import datetime
from typing import Final, Literal

import msgspec
from litestar import Response, delete, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from application.palms.palm_removals import Palm
from application.principals import Manager
from domain.enrollment import Attestation, RemovalDelay
from domain.ids import PalmRef, UserId, wire
from domain.palm import Hand, PalmRemovalReason
from interfaces.http.parameters import path_id
from interfaces.http.positions import positioned
from interfaces.http.refusals import WRITE, merged
from interfaces.http.services import Services

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]

USER: Final = "usr"
PALM: Final = "plm"
NOT_FOUND: Final = "palm_not_found"


class PalmStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A palm of a person, as of now.

    From `removing` on nobody is recognised by it. `removal_delayed_by` says why the vendor still
    has the template; it is tried again. At `removed_position` of the log stands what the vendor
    answered: `deleted`, or `absent` when it had none. Of a vendor that never answered,
    `attested` says what whoever runs the platform stands for, and `attested_under` where the
    written proof is.
    """

    palm_ref: str
    user_id: str
    hand: Hand
    status: Literal["enrolled", "removing", "removed"]
    enrolled_at: datetime
    removal_reason: PalmRemovalReason | None
    removal_started_at: datetime | None
    removal_delayed_by: RemovalDelay | None
    removed_at: datetime | None
    removed_position: int | None
    vendor_answer: Literal["deleted", "absent"] | None
    attested: Attestation | None
    attested_under: str | None


class PalmList(msgspec.Struct, frozen=True, kw_only=True):
    items: list[PalmStatus]


def _shown(palm: Palm) -> PalmStatus:
    return PalmStatus(
        palm_ref=wire(PALM, palm.palm_ref),
        user_id=wire(USER, palm.user_id),
        hand=palm.hand,
        status=palm.status,
        enrolled_at=palm.enrolled_at,
        removal_reason=palm.removal_reason,
        removal_started_at=palm.removal_started_at,
        removal_delayed_by=palm.removal_delayed_by,
        removed_at=palm.removed_at,
        removed_position=palm.removed_position,
        vendor_answer=palm.vendor_answer,
        attested=palm.attested,
        attested_under=palm.attested_under,
    )


@get(
    "/v1/users/{user_id:str}/palms",
    operation_id="listPalms",
    tags=["Users"],
    summary="The palms by which a person is recognised, and those that are about to go",
    permission="users.read",
    refusals={404: ("user_not_found",)},
)
async def index(user_id: FromPath[str], integrator: Integrator, services: Given) -> PalmList:
    user = UserId(path_id(USER, user_id, "user_not_found"))
    palms = await services.palm_removals.of(integrator.tenant_id, user)
    return PalmList(items=[_shown(palm) for palm in palms])


@get(
    "/v1/users/{user_id:str}/palms/{palm_ref:str}",
    operation_id="getPalm",
    tags=["Users"],
    summary="One palm of a person, also when it has been removed",
    permission="users.read",
    refusals={404: (NOT_FOUND,)},
)
async def show(
    user_id: FromPath[str], palm_ref: FromPath[str], integrator: Integrator, services: Given
) -> PalmStatus:
    user, palm = _named(user_id, palm_ref)
    return _shown(await services.palm_removals.get(integrator.tenant_id, user, palm))


@delete(
    "/v1/users/{user_id:str}/palms/{palm_ref:str}",
    operation_id="removePalm",
    tags=["Users"],
    summary="Take a palm away from a person: refused at once, destroyed at the vendor soon",
    permission="palms.write",
    status_code=202,
    refusals=merged(WRITE, {404: (NOT_FOUND,)}),
)
async def remove(
    user_id: FromPath[str], palm_ref: FromPath[str], integrator: Integrator, services: Given
) -> Response[PalmStatus]:
    user, ref = _named(user_id, palm_ref)
    palm, done = await services.palm_removals.start(integrator, user, ref, "requested")
    return Response(_shown(palm), status_code=202, headers={} if done is None else positioned(done))


def _named(user_id: str, palm_ref: str) -> tuple[UserId, PalmRef]:
    return (
        UserId(path_id(USER, user_id, NOT_FOUND)),
        PalmRef(path_id(PALM, palm_ref, NOT_FOUND)),
    )


HANDLERS = (index, show, remove)
