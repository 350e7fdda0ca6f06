"""`/v1/enrollments` and `/v1/challenges`: a palm asked for at a device, and what came of it.

No picture passes here: palms come from devices, and the answer is metadata (003 §3.1, §3.8).
"""

import math
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from application.palms.challenges import Wanted
from application.principals import Manager
from domain.ids import DeviceId, UserId, wire
from domain.palm import Hand
from domain.palm_challenge import (
    ChallengePurpose,
    ChallengeReason,
    ChallengeResult,
    ChallengeStatus,
    DeclineReason,
    PalmChallenge,
)
from interfaces.http.admission import waiting
from interfaces.http.integrator.enrollments import UserFilter
from interfaces.http.json_body import StrictJSON
from interfaces.http.parameters import (
    Cursor,
    IdempotencyKey,
    Limit,
    MinPosition,
    cursor,
    header_key,
    opaque,
    path_id,
    query_id,
    reading,
)
from interfaces.http.positions import HEADER, positioned
from interfaces.http.refusals import BODY, KEY, PAGE, WRITE, Refusals, merged
from interfaces.http.services import Services
from projections import palm_challenges as view

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]

PREFIX: Final = "pch"
NOT_FOUND: Final = "challenge_not_found"

WireId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Message = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
ExpiresIn = Annotated[int, msgspec.Meta(ge=30, le=600)]
Wait = Annotated[
    int,
    QueryParameter(
        name="wait", ge=0, le=25, description="for how many seconds to wait for its end"
    ),
]

ASKED: Final[Refusals] = {
    403: ("user_suspended", "user_erased"),
    404: ("user_not_found", "device_not_found"),
    409: ("device_not_active", "device_not_of_user"),
    422: ("message_invalid",),
    429: ("rate_limited",),
}


class NewEnrollment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose palm is to be enrolled, and where: at the person's own scanner, or at a counter where
    you know who stands. With `replace` the palm takes the place of the one of this hand."""

    user_id: WireId
    device_id: WireId
    hand: Hand
    replace: bool = False
    message: Message | None = None
    expires_in: ExpiresIn = 300


class NewChallenge(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person's own scanner is to ask for. A `confirmation` agrees to the `message`."""

    user_id: WireId
    device_id: WireId
    purpose: Literal["verification", "confirmation"]
    message: Message | None = None
    expires_in: ExpiresIn = 60


class ChallengeShown(msgspec.Struct, frozen=True, kw_only=True):
    """A challenge: metadata, and not a signed proof.

    `reason` and `hints` are of the last attempt, or say why the device declined; `confidence`,
    0 to 1, comes with a match only. `palm_ref` is the palm that was enrolled or that matched.
    """

    id: str
    user_id: str
    device_id: str
    purpose: ChallengePurpose
    hand: Hand | None
    replace: bool
    status: ChallengeStatus
    attempts: int
    result: ChallengeResult | None
    reason: ChallengeReason | DeclineReason | None
    hints: tuple[str, ...]
    confidence: float | None
    palm_ref: str | None
    opened_at: datetime
    expires_at: datetime
    delivered_at: datetime | None
    ended_at: datetime | None


class ChallengePage(msgspec.Struct, frozen=True, kw_only=True):
    items: list[ChallengeShown]
    next: str | None


def _confidence(result: ChallengeResult | None, scores: tuple[float, ...] | None) -> float | None:
    if result != "match" or not scores:
        return None
    return round(math.fsum(scores) / len(scores), 4)


def _shown(challenge: PalmChallenge) -> ChallengeShown:
    opened, outcome, completed = challenge.opened, challenge.outcome, challenge.completed
    result = None if completed is None else completed.result
    palm_ref = None if completed is None else completed.palm_ref
    declined = challenge.decline_reason
    return ChallengeShown(
        id=wire(PREFIX, challenge.id),
        user_id=wire("usr", opened.user_id),
        device_id=wire("dev", opened.device_id),
        purpose=opened.purpose,
        hand=opened.hand,
        replace=opened.replace,
        status=challenge.status,
        attempts=challenge.attempt,
        result=result,
        reason=declined or (None if outcome is None else outcome.reason),
        hints=() if outcome is None or declined is not None else outcome.hints,
        confidence=None if outcome is None else _confidence(result, outcome.scores),
        palm_ref=None if palm_ref is None else wire("plm", palm_ref),
        opened_at=challenge.opened_at,
        expires_at=opened.expires_at,
        delivered_at=challenge.delivered_at,
        ended_at=challenge.ended_at,
    )


def _row(row: view.PalmChallengeRow) -> ChallengeShown:
    return ChallengeShown(
        id=wire(PREFIX, row.challenge_id),
        user_id=wire("usr", row.user_id),
        device_id=wire("dev", row.device_id),
        purpose=row.purpose,
        hand=row.hand,
        replace=row.replace,
        status=row.status,
        attempts=row.attempt,
        result=row.result,
        reason=row.reason,
        hints=row.hints,
        confidence=_confidence(row.result, row.scores),
        palm_ref=None if row.palm_ref is None else wire("plm", row.palm_ref),
        opened_at=row.opened_at,
        expires_at=row.expires_at,
        delivered_at=row.delivered_at,
        ended_at=row.ended_at,
    )


async def _open(
    request: Request[Any, Any, Any],
    data: NewEnrollment | NewChallenge,
    integrator: Manager,
    services: Services,
) -> Response[ChallengeShown]:
    enrollment = data if isinstance(data, NewEnrollment) else None
    wanted = Wanted(
        user_id=UserId(path_id("usr", data.user_id, "user_not_found")),
        device_id=DeviceId(path_id("dev", data.device_id, "device_not_found")),
        purpose="enrollment" if isinstance(data, NewEnrollment) else data.purpose,
        expires_in_s=data.expires_in,
        hand=None if enrollment is None else enrollment.hand,
        replace=enrollment is not None and enrollment.replace,
        message=data.message,
    )
    challenge, position = await services.challenges.open(integrator, wanted, header_key(request))
    headers = {"location": f"/v1/challenges/{wire(PREFIX, challenge.id)}"}
    if position is not None:
        headers[HEADER] = str(position)
    return Response(_shown(challenge), headers=headers)


@post(
    "/v1/enrollments",
    operation_id="requestEnrollment",
    tags=["Enrollments"],
    summary="Have a person's palm enrolled at a device; the answer is the challenge to follow",
    dto=StrictJSON[NewEnrollment],
    return_dto=None,
    permission="enrollments.write",
    request_max_body_size=8192,
    refusals=merged(
        BODY,
        KEY,
        WRITE,
        ASKED,
        {403: ("consent_required", "kyc_required"), 409: ("palm_already_enrolled",)},
    ),
)
async def enroll(
    request: Request[Any, Any, Any],
    data: JSONBody[NewEnrollment],
    integrator: Integrator,
    services: Given,
    idempotency_key: IdempotencyKey = None,
) -> Response[ChallengeShown]:
    del idempotency_key  # declared for OpenAPI; read from the raw headers to see a second one
    return await _open(request, data, integrator, services)


@post(
    "/v1/challenges",
    operation_id="openChallenge",
    tags=["Challenges"],
    summary="Have a person verified, or agree to something, at their own scanner",
    dto=StrictJSON[NewChallenge],
    return_dto=None,
    permission="challenges.write",
    request_max_body_size=8192,
    refusals=merged(BODY, KEY, WRITE, ASKED),
)
async def ask(
    request: Request[Any, Any, Any],
    data: JSONBody[NewChallenge],
    integrator: Integrator,
    services: Given,
    idempotency_key: IdempotencyKey = None,
) -> Response[ChallengeShown]:
    del idempotency_key  # declared for OpenAPI; read from the raw headers to see a second one
    return await _open(request, data, integrator, services)


@get(
    "/v1/challenges",
    operation_id="listChallenges",
    tags=["Challenges"],
    summary="List challenges, newest first",
    permission="challenges.read",
    refusals=PAGE,
)
async def index(
    integrator: Integrator,
    services: Given,
    user_id: UserFilter = None,
    status: FromQuery[ChallengeStatus | None] = None,
    page: Cursor = None,
    limit: Limit = 50,
    min_position: MinPosition = None,
) -> ChallengePage:
    user = query_id("usr", user_id)
    after = cursor(page)
    async with reading(services, integrator.tenant_id, view.READ_MODEL, min_position) as connection:
        found = await view.by_tenant(
            connection,
            integrator.tenant_id,
            status=status,
            user_id=None if user is None else UserId(user),
            after=after,
            limit=limit,
        )
    return ChallengePage(items=[_row(row) for row in found.rows], next=opaque(found.next))


@get(
    "/v1/challenges/{challenge_id:str}",
    operation_id="getChallenge",
    tags=["Challenges"],
    summary="One challenge, as the log has it; with `wait` as soon as it has ended",
    permission="challenges.read",
    refusals={400: ("invalid_request",), 404: (NOT_FOUND,)},
)
async def show(
    request: Request[Any, Any, Any],
    challenge_id: FromPath[str],
    integrator: Integrator,
    services: Given,
    wait: Wait = 0,
) -> ChallengeShown:
    found = path_id(PREFIX, challenge_id, NOT_FOUND)
    if not wait:
        return _shown(await services.challenges.get(integrator.tenant_id, found))
    with waiting(request.scope["state"], services.places):
        return _shown(await services.challenges.ended(integrator.tenant_id, found, wait))


@delete(
    "/v1/challenges/{challenge_id:str}",
    operation_id="cancelChallenge",
    tags=["Challenges"],
    summary="Want no answer any more; refused while an answer is looked at",
    permission="challenges.write",
    status_code=200,
    refusals=merged(WRITE, {404: (NOT_FOUND,), 409: ("challenge_closed", "request_in_progress")}),
)
async def cancel(
    challenge_id: FromPath[str], integrator: Integrator, services: Given
) -> Response[ChallengeShown]:
    found = path_id(PREFIX, challenge_id, NOT_FOUND)
    done = await services.challenges.cancel(integrator, found)
    shown = _shown(await services.challenges.get(integrator.tenant_id, found))
    return Response(shown, headers=positioned(done))


HANDLERS = (enroll, ask, index, show, cancel)
