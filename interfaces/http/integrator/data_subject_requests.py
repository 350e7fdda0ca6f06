"""`/v1/users/{id}/dsr`: what is held about a person, and erasing it with a receipt (000)."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from application.people.data_exports import DataExport, Source
from application.people.erasures import ErasureReport
from application.principals import Manager
from domain.erasure import ErasureCompleted, Technique
from domain.ids import UserId, wire
from interfaces.http.json_body import StrictJSON
from interfaces.http.parameters import (
    ApprovalHeader,
    Cursor,
    Limit,
    MinPosition,
    cursor,
    opaque,
    path_id,
    reading,
)
from interfaces.http.refusals import APPROVAL, BODY, PAGE, WRITE, merged
from interfaces.http.services import Services
from projections import erasures as view
from projections.erasures import ErasureStatus

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]

USER: Final = "usr"
NOT_FOUND: Final = "user_not_found"
NO_ERASURE: Final = "erasure_not_found"

Reference = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
StatusFilter = Annotated[ErasureStatus | None, QueryParameter(name="status")]


class DataSubjectRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`reference` names the case at your own, such as a ticket's number: no words."""

    reference: Reference | None = None


class ErasureStep(msgspec.Struct, frozen=True, kw_only=True):
    """One event of the erasure, and the position at which the log has it."""

    step: str
    at: datetime
    position: int


class ErasureShown(msgspec.Struct, frozen=True, kw_only=True):
    """`pending_palms` are those that the palm vendor may still have; it is asked again."""

    user_id: FromPath[str]
    status: Literal["running", "pending", "completed"]
    reference: str | None
    pending_palms: list[str]
    steps: list[ErasureStep]


class ErasureListed(msgspec.Struct, frozen=True, kw_only=True):
    user_id: FromPath[str]
    status: ErasureStatus
    reference: str | None
    pending_palms: list[str]
    requested_at: datetime
    completed_at: datetime | None


class ErasurePage(msgspec.Struct, frozen=True, kw_only=True):
    items: list[ErasureListed]
    next: str | None


class ProvedStep(msgspec.Struct, frozen=True, kw_only=True):
    """`proof` is a C2SP tlog-proof, verifiable offline against the tenant's log."""

    step: str
    at: datetime
    position: int
    proof: str


class ErasureCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """That the person was erased, by which techniques, with a proof of each step."""

    user_id: FromPath[str]
    erased_at: datetime
    techniques: list[Technique]
    steps: list[ProvedStep]


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is held about the person. `source` says where: the vault, or a stream."""

    source: Source
    name: str
    id: str | None
    at: datetime | None
    value: Any


class DataExported(msgspec.Struct, frozen=True, kw_only=True):
    """Everything held about a person, with its sources."""

    user_id: FromPath[str]
    exported_at: datetime
    reference: str | None
    items: list[Held]


def erasure_shown(user_id: UserId, report: ErasureReport) -> ErasureShown:
    erasure = report.erasure
    return ErasureShown(
        user_id=wire(USER, user_id),
        status=erasure.status,
        reference=erasure.requested.reference,
        pending_palms=[wire("plm", palm) for palm in erasure.pending],
        steps=[
            ErasureStep(
                step=step.event.NAME.partition(".")[2], at=step.recorded_at, position=step.position
            )
            for step in report.steps
        ],
    )


def _exported(services: Services, user_id: UserId, export: DataExport) -> DataExported:
    return DataExported(
        user_id=wire(USER, user_id),
        exported_at=services.clock.now(),
        reference=export.reference,
        items=[
            Held(
                source=item.source,
                name=item.name,
                id=item.id,
                at=item.at,
                value=msgspec.to_builtins(item.value),
            )
            for item in export.items
        ],
    )


@post(
    "/v1/users/{user_id:str}/dsr/access",
    operation_id="exportPersonalData",
    tags=["Data-subject requests"],
    summary="Everything held about a person, with its sources; noted as an access",
    status_code=200,
    dto=StrictJSON[DataSubjectRequest],
    return_dto=None,
    permission="dsr.read",
    request_max_body_size=65_536,
    refusals=merged(
        BODY,
        WRITE,
        {400: ("access_reference_invalid",), 404: (NOT_FOUND,), 503: ("position_not_reached",)},
    ),
)
async def export(
    user_id: FromPath[str],
    data: JSONBody[DataSubjectRequest],
    integrator: Integrator,
    services: Given,
) -> DataExported:
    user = UserId(path_id(USER, user_id, NOT_FOUND))
    held = await services.data_exports.export(integrator, user, data.reference)
    return _exported(services, user, held)


@post(
    "/v1/users/{user_id:str}/dsr/erasure",
    operation_id="erasePerson",
    tags=["Data-subject requests"],
    summary="Erase a person; asked again, it says how far that is",
    status_code=202,
    dto=StrictJSON[DataSubjectRequest],
    return_dto=None,
    permission="dsr.write",
    request_max_body_size=65_536,
    refusals=merged(
        BODY, WRITE, APPROVAL, {400: ("erasure_reference_invalid",), 404: (NOT_FOUND,)}
    ),
)
async def erase(
    user_id: FromPath[str],
    data: JSONBody[DataSubjectRequest],
    integrator: Integrator,
    services: Given,
    approval: ApprovalHeader = None,
) -> ErasureShown:
    del approval  # declared for OpenAPI; the door read it
    user = UserId(path_id(USER, user_id, NOT_FOUND))
    return erasure_shown(user, await services.erasures.request(integrator, user, data.reference))


@get(
    "/v1/users/{user_id:str}/dsr/erasure",
    operation_id="getErasure",
    tags=["Data-subject requests"],
    summary="How far a person's erasure is",
    permission="dsr.read",
    refusals={404: (NO_ERASURE,)},
)
async def show(user_id: FromPath[str], integrator: Integrator, services: Given) -> ErasureShown:
    user = UserId(path_id(USER, user_id, NO_ERASURE))
    return erasure_shown(user, await services.erasures.get(integrator.tenant_id, user))


@get(
    "/v1/users/{user_id:str}/dsr/erasure/certificate",
    operation_id="getErasureCertificate",
    tags=["Data-subject requests"],
    summary="The receipt of a completed erasure: its steps, each with a tlog-proof",
    permission="dsr.read",
    refusals={
        404: (NO_ERASURE,),
        409: ("erasure_not_completed",),
        503: ("position_not_reached",),
    },
)
async def certificate(
    user_id: FromPath[str], integrator: Integrator, services: Given
) -> ErasureCertificate:
    user = UserId(path_id(USER, user_id, NO_ERASURE))
    report = await services.erasures.completed(integrator.tenant_id, user)
    *_, last = report.steps
    assert isinstance(last.event, ErasureCompleted), "the completed step is the last one"
    return ErasureCertificate(
        user_id=wire(USER, user),
        erased_at=last.recorded_at,
        techniques=list(last.event.techniques),
        steps=[
            ProvedStep(
                step=step.event.NAME.partition(".")[2],
                at=step.recorded_at,
                position=step.position,
                proof=await services.event_proofs.of_event(
                    integrator.tenant_id, str(step.position)
                ),
            )
            for step in report.steps
        ],
    )


@get(
    "/v1/erasures",
    operation_id="listErasures",
    tags=["Data-subject requests"],
    summary="The tenant's erasures; `status=pending` waits for the palm vendor",
    permission="dsr.read",
    refusals=PAGE,
)
async def index(
    integrator: Integrator,
    services: Given,
    status: StatusFilter = None,
    page: Cursor = None,
    limit: Limit = 50,
    min_position: MinPosition = None,
) -> ErasurePage:
    after = cursor(page)
    async with reading(services, integrator.tenant_id, view.READ_MODEL, min_position) as connection:
        found = await view.by_tenant(
            connection, integrator.tenant_id, status=status, after=after, limit=limit
        )
    items = [
        ErasureListed(
            user_id=wire(USER, row.user_id),
            status=row.status,
            reference=row.reference,
            pending_palms=[wire("plm", palm) for palm in row.pending],
            requested_at=row.requested_at,
            completed_at=row.completed_at,
        )
        for row in found.rows
    ]
    return ErasurePage(items=items, next=opaque(found.next))


HANDLERS = (export, erase, show, certificate, index)
