"""`/v1/device/challenges`: what a device is asked, and its answers (broker.md §3.6)."""

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from application.palms.challenge_answers import Offered
from application.principals import DevicePrincipal
from domain.ids import wire
from domain.palm import Hand
from domain.palm_challenge import (
    ATTEMPTS_MAX,
    ChallengePurpose,
    ChallengeReason,
    ChallengeResult,
    DeclineReason,
    PalmChallengeCompleted,
)
from interfaces.http.admission import waiting
from interfaces.http.device.scan import ScanBody, read_scan
from interfaces.http.json_body import StrictJSON
from interfaces.http.parameters import path_id
from interfaces.http.refusals import BODY, SCAN, WRITE, merged
from interfaces.http.services import Services

Given = NamedDependency[Services]
Device = NamedDependency[DevicePrincipal]

PREFIX: Final = "pch"
NOT_FOUND: Final = "challenge_not_found"

Wait = Annotated[
    int,
    QueryParameter(
        name="wait", ge=0, le=25, description="for how many seconds to wait to be asked something"
    ),
]


class ChallengeOffered(msgspec.Struct, frozen=True, kw_only=True):
    """What the device is asked. It shows the `message`, and its next answer is number `attempt`."""

    id: str
    purpose: ChallengePurpose
    hand: Hand | None
    message: str | None
    attempt: int
    attempts_max: int
    expires_at: datetime


class ChallengesOffered(msgspec.Struct, frozen=True, kw_only=True):
    """Empty when nothing was asked in time; come again."""

    items: list[ChallengeOffered]


class AnswerBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    attempt: Annotated[int, msgspec.Meta(ge=1, le=1000)]
    scan: ScanBody


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """What the attempt came to. While there are `attempts_left` the palm may be shown again, held
    as the `hints` say."""

    result: ChallengeResult
    reason: ChallengeReason | None
    hints: tuple[str, ...]
    attempts_left: int
    palm_ref: str | None


class DeclineBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    reason: DeclineReason


def _offered(offered: Offered) -> ChallengeOffered:
    challenge = offered.challenge
    return ChallengeOffered(
        id=wire(PREFIX, challenge.id),
        purpose=challenge.opened.purpose,
        hand=challenge.opened.hand,
        message=offered.message,
        attempt=challenge.attempt + 1,
        attempts_max=ATTEMPTS_MAX,
        expires_at=challenge.opened.expires_at,
    )


@get(
    "/v1/device/challenges",
    operation_id="pollChallenges",
    tags=["Device"],
    summary="What this scanner is asked, as soon as it is asked anything",
    device_operation="poll_challenges",
    refusals=merged(
        WRITE,
        {
            400: ("invalid_request",),
            409: ("poll_superseded",),
            503: ("position_not_reached",),
        },
    ),
)
async def poll(
    request: Request[Any, Any, Any], device: Device, services: Given, wait: Wait = 0
) -> Response[ChallengesOffered]:
    with waiting(request.scope["state"], services.places):
        found = await services.challenge_answers.poll(device, wait)
    return Response(
        ChallengesOffered(items=[_offered(each) for each in found]),
        headers={"cache-control": "no-store"},
    )


@post(
    "/v1/device/challenges/{challenge_id:str}/respond",
    operation_id="answerChallenge",
    tags=["Device"],
    summary="Answer a challenge with a palm",
    status_code=200,
    dto=StrictJSON[AnswerBody],
    return_dto=None,
    request_max_body_size=2 * 1024 * 1024 + 65_536,
    device_operation="answer_challenge",
    refusals=merged(
        BODY,
        SCAN,
        WRITE,
        {
            404: (NOT_FOUND,),
            409: (
                "challenge_closed",
                "attempt_out_of_order",
                "request_in_progress",
                "palm_type_not_allowed",
            ),
            410: ("challenge_expired",),
            422: ("low_quality", "liveness_failed", "idempotency_key_reused"),
            503: ("palm_vendor_error", "palm_vendor_timeout"),
        },
    ),
)
async def respond(
    challenge_id: FromPath[str], data: JSONBody[AnswerBody], device: Device, services: Given
) -> Answered:
    scan = read_scan(data.scan)
    found = path_id(PREFIX, challenge_id, NOT_FOUND)
    challenge = await services.challenge_answers.respond(device, found, data.attempt, scan)
    outcome = challenge.outcome
    assert outcome is not None, "an attempt came to something"
    if isinstance(outcome, PalmChallengeCompleted):
        palm_ref = outcome.palm_ref if outcome.result == "enrolled" else None
        return Answered(
            result=outcome.result,
            reason=outcome.reason,
            hints=outcome.hints,
            attempts_left=0,
            palm_ref=None if palm_ref is None else wire("plm", palm_ref),
        )
    enrolling = challenge.opened.purpose == "enrollment"
    return Answered(
        result="rejected" if enrolling else "no_match",
        reason=outcome.reason,
        hints=outcome.hints,
        attempts_left=challenge.attempts_left,
        palm_ref=None,
    )


@post(
    "/v1/device/challenges/{challenge_id:str}/decline",
    operation_id="declineChallenge",
    tags=["Device"],
    summary="Say that a challenge will not be answered",
    status_code=204,
    dto=StrictJSON[DeclineBody],
    return_dto=None,
    request_max_body_size=8192,
    device_operation="answer_challenge",
    refusals=merged(
        BODY,
        WRITE,
        {404: (NOT_FOUND,), 409: ("challenge_closed", "request_in_progress")},
    ),
)
async def decline(
    challenge_id: FromPath[str], data: JSONBody[DeclineBody], device: Device, services: Given
) -> None:
    found = path_id(PREFIX, challenge_id, NOT_FOUND)
    await services.challenge_answers.decline(device, found, data.reason)


HANDLERS = (poll, respond, decline)
