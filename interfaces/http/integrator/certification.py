"""`/v1/linked-services/{id}/certify`: whether a product checks what it must (broker.md §5.2)."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from application.permissions import may
from application.principals import Manager
from application.tenants.certifications import Reported
from domain.certification import MINOR, CaseName, Grade, Run, Verdict, tester
from domain.ids import wire
from interfaces.http.context import bounded
from interfaces.http.json_body import StrictJSON
from interfaces.http.parameters import path_id
from interfaces.http.positions import positioned
from interfaces.http.refusals import BODY, WRITE, merged
from interfaces.http.services import Services

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]

PREFIX: Final = "lsvc"
NOT_FOUND: Final = "linked_service_not_found"
NOT_KEPT: Final = {"cache-control": "no-store"}

Action = Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_.-]{0,62}$")]
RunStatus = Literal["running", "completed", "interrupted"]


class CertificationAsked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """With which action, and which context, the product is asked."""

    action: Action
    context: dict[str, Any] = {}


class CaseShown(msgspec.Struct, frozen=True, kw_only=True):
    """One case. `curl` has the requests of one that failed, ready to be pasted into a shell: their
    assertions were made for this answer and are good for a minute. Only whoever may change linked
    services is shown them."""

    case: CaseName
    verdict: Verdict
    found: str
    minor: bool
    curl: list[str]


class EarlierRun(msgspec.Struct, frozen=True, kw_only=True):
    started_at: datetime
    status: RunStatus
    grade: Grade | None


class CertificationShown(msgspec.Struct, frozen=True, kw_only=True):
    """The last run. A: everything holds. B: everything that applies, without a void endpoint.
    C: something minor fails. F: the product lets somebody in whom it should not, or does one thing
    twice. `stale`: the registration has changed since.

    `test_user_id` is whom the product was asked about: nobody, ever. Give that person what it
    takes to be allowed and take it away again, or some cases show less than they could.
    """

    linked_service_id: str
    test_user_id: str
    action: str
    status: RunStatus
    grade: Grade | None
    stale: bool
    started_at: datetime
    finished_at: datetime | None
    cases: list[CaseShown]
    earlier: list[EarlierRun]


@post(
    "/v1/linked-services/{service_id:str}/certify",
    operation_id="certifyLinkedService",
    tags=["Linked services"],
    summary="Try whether a product refuses what it must",
    description="Some 45 requests to the product's own endpoints, one by one, within 90 s. Look "
    "at what Location names for the result.",
    dto=StrictJSON[CertificationAsked],
    return_dto=None,
    permission="linked_services.write",
    status_code=202,
    request_max_body_size=16_384,
    refusals=merged(
        BODY,
        WRITE,
        {
            400: ("context_too_large", "context_too_deep"),
            404: (NOT_FOUND,),
            409: ("certification_running",),
            422: ("action_not_allowed", "action_invalid"),
            429: ("rate_limited",),
        },
    ),
)
async def certify(
    service_id: FromPath[str],
    data: JSONBody[CertificationAsked],
    integrator: Integrator,
    services: Given,
) -> Response[CertificationShown]:
    found = path_id(PREFIX, service_id, NOT_FOUND)
    service, done = await services.certifications.start(
        integrator, found, data.action, bounded(data.context)
    )
    report = await services.certifications.report(integrator.tenant_id, found)
    location = f"/v1/linked-services/{wire(PREFIX, service.id)}/certification"
    return Response(
        _shown(report, services, integrator), headers={"location": location, **positioned(done)}
    )


@get(
    "/v1/linked-services/{service_id:str}/certification",
    operation_id="getCertification",
    tags=["Linked services"],
    summary="What the last certification of a product found",
    permission="linked_services.read",
    refusals={404: (NOT_FOUND, "certification_not_found")},
)
async def show(
    service_id: FromPath[str], integrator: Integrator, services: Given
) -> Response[CertificationShown]:
    found = path_id(PREFIX, service_id, NOT_FOUND)
    report = await services.certifications.report(integrator.tenant_id, found)
    return Response(_shown(report, services, integrator), headers=NOT_KEPT)


def _shown(report: Reported, services: Services, integrator: Manager) -> CertificationShown:
    now = services.clock.now()
    last, writes = report.runs[-1], may(integrator, "linked_services.write")
    certified = last.certified
    return CertificationShown(
        linked_service_id=wire(PREFIX, report.service.id),
        test_user_id=wire("usr", tester(report.service.id)),
        action=last.started.action,
        status=last.status(now),
        grade=None if certified is None else certified.grade,
        stale=last.started.service_version != report.service.version,
        started_at=last.started.started_at,
        finished_at=None if certified is None else certified.finished_at,
        cases=[
            CaseShown(
                case=each.case,
                verdict=each.verdict,
                found=each.found,
                minor=each.case in MINOR,
                curl=list(report.curls.get(each.case, ())) if writes else [],
            )
            for each in (() if certified is None else certified.results)
        ],
        earlier=[_earlier(each, now) for each in reversed(report.runs[:-1])],
    )


def _earlier(run: Run, now: datetime) -> EarlierRun:
    return EarlierRun(
        started_at=run.started.started_at,
        status=run.status(now),
        grade=None if run.certified is None else run.certified.grade,
    )


HANDLERS = (certify, show)
