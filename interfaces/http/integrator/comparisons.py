"""`/v1/verifications` and `/v1/identifications`: palms compared for a backend (003 §3.8)."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from application.palms.comparisons import Compared
from application.principals import Manager
from domain.comparison import ComparisonReason, ComparisonResult
from domain.errors import NotFound
from domain.ids import UserId, parse, wire
from interfaces.http.device.scan import ScanBody, read_scan
from interfaces.http.json_body import StrictJSON
from interfaces.http.parameters import IdempotencyKey, header_key, path_id
from interfaces.http.positions import HEADER
from interfaces.http.refusals import BODY, KEY, SCAN, WRITE, Refusals, merged
from interfaces.http.services import Services

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]

USER: Final = "usr"
VERIFICATION: Final = "ver"
IDENTIFICATION: Final = "idn"
SCAN_BODY_BYTES: Final = 2 * 1024 * 1024 + 65_536

COMPARED: Final[Refusals] = {
    409: ("palm_type_not_allowed",),
    422: ("low_quality", "liveness_failed"),
    429: ("rate_limited",),
    503: ("palm_vendor_error", "palm_vendor_timeout"),
}


class NewVerification(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    user_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    scan: ScanBody


class NewIdentification(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    scan: ScanBody


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the palm was this person's at that moment: metadata, not a signed proof.

    `confidence`, 0 to 1, comes with a match only.
    """

    id: str
    user_id: str
    status: Literal["completed"]
    result: ComparisonResult
    reason: ComparisonReason | None
    confidence: float | None
    policy_version: int
    compared_at: datetime


class Identification(msgspec.Struct, frozen=True, kw_only=True):
    """Whose palm it was at that moment: metadata, not a signed proof.

    `user_id` and `confidence`, 0 to 1, come with a match only.
    """

    id: str
    status: Literal["completed"]
    result: ComparisonResult
    reason: ComparisonReason | None
    user_id: str | None
    confidence: float | None
    policy_version: int
    compared_at: datetime


def _verification(compared: Compared) -> Verification:
    completed = compared.completed
    assert completed.user_id is not None, "somebody was named"
    return Verification(
        id=wire(VERIFICATION, compared.id),
        user_id=wire(USER, completed.user_id),
        status="completed",
        result=completed.result,
        reason=completed.reason,
        confidence=compared.confidence,
        policy_version=completed.policy_version,
        compared_at=completed.compared_at,
    )


def _identification(compared: Compared) -> Identification:
    completed = compared.completed
    named = completed.user_id if completed.result == "match" else None
    return Identification(
        id=wire(IDENTIFICATION, compared.id),
        status="completed",
        result=completed.result,
        reason=completed.reason,
        user_id=None if named is None else wire(USER, named),
        confidence=compared.confidence,
        policy_version=completed.policy_version,
        compared_at=completed.compared_at,
    )


def _headers(compared: Compared, location: str) -> dict[str, str]:
    position = {} if compared.position is None else {HEADER: str(compared.position)}
    return {"location": location, "cache-control": "no-store", **position}


@post(
    "/v1/verifications",
    operation_id="verifyPalm",
    tags=["Comparisons"],
    summary="Compare a palm with the palms of one person (1:1)",
    dto=StrictJSON[NewVerification],
    return_dto=None,
    permission="verifications.write",
    request_max_body_size=SCAN_BODY_BYTES,
    refusals=merged(BODY, KEY, SCAN, WRITE, COMPARED, {404: ("user_not_found",)}),
)
async def verify(
    request: Request[Any, Any, Any],
    data: JSONBody[NewVerification],
    integrator: Integrator,
    services: Given,
    idempotency_key: IdempotencyKey = None,
) -> Response[Verification]:
    del idempotency_key  # declared for OpenAPI; read from the raw headers to see a second one
    scan = read_scan(data.scan)
    user_id = parse(USER, data.user_id)
    if user_id is None:
        raise NotFound("user_not_found")
    compared = await services.comparisons.verify(
        integrator, UserId(user_id), scan, header_key(request)
    )
    shown = _verification(compared)
    return Response(shown, headers=_headers(compared, f"/v1/verifications/{shown.id}"))


@get(
    "/v1/verifications/{verification_id:str}",
    operation_id="getVerification",
    tags=["Comparisons"],
    summary="One verification",
    permission="verifications.read",
    refusals={404: ("verification_not_found",)},
)
async def show_verification(
    verification_id: FromPath[str], integrator: Integrator, services: Given
) -> Verification:
    found = path_id(VERIFICATION, verification_id, "verification_not_found")
    return _verification(await services.comparisons.verification(integrator.tenant_id, found))


@post(
    "/v1/identifications",
    operation_id="identifyPalm",
    tags=["Comparisons"],
    summary="Find whose palm it is (1:N)",
    dto=StrictJSON[NewIdentification],
    return_dto=None,
    permission="identifications.write",
    request_max_body_size=SCAN_BODY_BYTES,
    refusals=merged(BODY, KEY, SCAN, WRITE, COMPARED),
)
async def identify(
    request: Request[Any, Any, Any],
    data: JSONBody[NewIdentification],
    integrator: Integrator,
    services: Given,
    idempotency_key: IdempotencyKey = None,
) -> Response[Identification]:
    del idempotency_key  # declared for OpenAPI; read from the raw headers to see a second one
    scan = read_scan(data.scan)
    compared = await services.comparisons.identify(integrator, scan, header_key(request))
    shown = _identification(compared)
    return Response(shown, headers=_headers(compared, f"/v1/identifications/{shown.id}"))


@get(
    "/v1/identifications/{identification_id:str}",
    operation_id="getIdentification",
    tags=["Comparisons"],
    summary="One identification",
    permission="identifications.read",
    refusals={404: ("identification_not_found",)},
)
async def show_identification(
    identification_id: FromPath[str], integrator: Integrator, services: Given
) -> Identification:
    found = path_id(IDENTIFICATION, identification_id, "identification_not_found")
    return _identification(await services.comparisons.identification(integrator.tenant_id, found))


HANDLERS = (verify, show_verification, identify, show_identification)
