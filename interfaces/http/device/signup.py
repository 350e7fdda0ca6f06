"""Sign-up, consent and enrolment at a device (004 diagram 4.4)."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import JSONBody

from application.principals import DevicePrincipal
from domain.errors import Forbidden, Malformed, NotFound
from domain.ids import ChallengeId, UserId, parse, wire
from domain.palm import Hand
from domain.user import ConsentStatus, KycStatus
from interfaces.http.device.scan import ScanBody, read_scan
from interfaces.http.json_body import StrictJSON
from interfaces.http.parameters import IdempotencyKey, header_key
from interfaces.http.refusals import BODY, KEY, SCAN, WRITE, merged
from interfaces.http.services import Services

Given = NamedDependency[Services]
Device = NamedDependency[DevicePrincipal]

WireId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Locale = Annotated[str, msgspec.Meta(pattern="^[a-z]{2}(-[A-Z]{2})?$")]


class SignUpBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    mobile: Annotated[str, msgspec.Meta(min_length=4, max_length=24)]
    locale: Locale = "en"


class Challenge(msgspec.Struct, frozen=True, kw_only=True):
    """The same whether or not the mobile is known. Times in seconds."""

    challenge_id: str
    expires_in: int
    resend_after: int
    code_length: int


class VerifyBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    challenge_id: WireId
    code: Annotated[str, msgspec.Meta(pattern="^[0-9]{4,10}$")]


class VerifiedPerson(msgspec.Struct, frozen=True, kw_only=True):
    user_id: str
    is_new_user: bool
    palm_enrolled: bool
    palms: tuple[Hand, ...]
    consent_status: ConsentStatus
    consent_version_required: str
    kyc_status: KycStatus
    enrollment_expires_in: int


Paragraph = Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]


class ConsentBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`text` are the words that were shown, one paragraph each, joined by line feeds; they are kept
    in the vault, and `text_sha256` may be given beside them to be checked."""

    user_id: WireId
    consent_type: Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_]{0,62}$")]
    version: Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
    locale: Locale = "en"
    method: Literal["device_screen"] = "device_screen"
    text_sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")] | None = None
    text: Annotated[list[Paragraph], msgspec.Meta(min_length=1, max_length=64)] | None = None


class ConsentWithdrawalBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    user_id: WireId
    consent_type: Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_]{0,62}$")]


class ConsentGranted(msgspec.Struct, frozen=True, kw_only=True):
    consent_id: str
    status: Literal["granted"]
    granted_at: datetime


class EnrollBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """With `replace` the palm takes the place of the one of this hand, which works until then."""

    user_id: WireId
    scan: ScanBody
    hand: Hand | None = None
    replace: bool = False


class PalmEnrolled(msgspec.Struct, frozen=True, kw_only=True):
    """`replaces` is the palm that works no more for this one."""

    palm_enrolled: bool
    palm_ref: str
    hand: Hand
    replaces: str | None


@post(
    "/v1/device/signup",
    operation_id="signUp",
    tags=["Device"],
    summary="Send a one-time code to a mobile",
    status_code=202,
    dto=StrictJSON[SignUpBody],
    return_dto=None,
    request_max_body_size=8192,
    device_operation="sign_up",
    refusals=merged(
        BODY,
        {
            422: ("mobile_invalid", "mobile_country_not_allowed"),
            429: ("rate_limited",),
            503: ("otp_not_sent",),
        },
    ),
)
async def sign_up(data: JSONBody[SignUpBody], device: Device, services: Given) -> Challenge:
    challenged = await services.sign_ups.sign_up(device, data.mobile, data.locale)
    return Challenge(
        challenge_id=wire("chl", challenged.challenge_id),
        expires_in=challenged.expires_in_s,
        resend_after=challenged.resend_after_s,
        code_length=challenged.code_length,
    )


@post(
    "/v1/device/signup/verify",
    operation_id="verifySignUp",
    tags=["Device"],
    summary="Prove the code; a new mobile becomes a user",
    status_code=200,
    dto=StrictJSON[VerifyBody],
    return_dto=None,
    request_max_body_size=8192,
    device_operation="sign_up",
    refusals=merged(
        BODY,
        WRITE,
        {
            403: ("user_suspended", "user_erased"),
            404: ("challenge_not_found",),
            409: ("challenge_locked", "request_in_progress"),
            410: ("challenge_expired",),
            422: ("code_incorrect",),
        },
    ),
)
async def verify(data: JSONBody[VerifyBody], device: Device, services: Given) -> VerifiedPerson:
    challenge_id = parse("chl", data.challenge_id)
    if challenge_id is None:
        raise NotFound("challenge_not_found")
    verified = await services.sign_ups.verify(device, ChallengeId(challenge_id), data.code)
    return VerifiedPerson(
        user_id=wire("usr", verified.user_id),
        is_new_user=verified.is_new_user,
        palm_enrolled=bool(verified.palms),
        palms=verified.palms,
        consent_status=verified.consent_status,
        consent_version_required=verified.consent_version_required,
        kyc_status=verified.kyc_status,
        enrollment_expires_in=verified.enrollment_expires_in_s,
    )


@post(
    "/v1/device/consent",
    operation_id="grantConsent",
    tags=["Device"],
    summary="Record that the person at this device agrees to one purpose",
    dto=StrictJSON[ConsentBody],
    return_dto=None,
    request_max_body_size=32 * 1024,
    device_operation="consent",
    responses={200: ResponseSpec(data_container=ConsentGranted, description="Granted before")},
    refusals=merged(
        BODY,
        WRITE,
        {
            403: ("enrollment_not_granted", "user_suspended", "user_erased"),
            409: ("consent_version_outdated", "personal_key_destroyed"),
            422: ("consent_type_invalid", "consent_text_mismatch"),
        },
    ),
)
async def consent(
    data: JSONBody[ConsentBody], device: Device, services: Given
) -> Response[ConsentGranted]:
    granted = await services.consents.grant(
        device,
        _user(data.user_id),
        consent_type=data.consent_type,
        version=data.version,
        locale=data.locale,
        text_sha256=data.text_sha256,
        text=None if data.text is None else "\n".join(data.text),
    )
    body = ConsentGranted(
        consent_id=wire("cst", granted.consent_id),
        status="granted",
        granted_at=granted.granted_at,
    )
    return Response(body, status_code=200 if granted.repeated else 201)


@post(
    "/v1/device/consent/withdraw",
    operation_id="withdrawConsentAtDevice",
    tags=["Device"],
    summary="Record that the person at this device agrees to one purpose no longer",
    status_code=204,
    dto=StrictJSON[ConsentWithdrawalBody],
    return_dto=None,
    request_max_body_size=8192,
    device_operation="consent",
    refusals=merged(BODY, WRITE, {403: ("enrollment_not_granted",), 404: ("consent_not_found",)}),
)
async def withdraw_consent(
    data: JSONBody[ConsentWithdrawalBody], device: Device, services: Given
) -> Response[None]:
    await services.consents.withdraw_at(device, _user(data.user_id), data.consent_type)
    return Response(None, status_code=204)


@post(
    "/v1/device/enroll",
    operation_id="enrollPalm",
    tags=["Device"],
    summary="Enrol the palm of the person who proved a code at this device",
    dto=StrictJSON[EnrollBody],
    return_dto=None,
    request_max_body_size=2 * 1024 * 1024 + 65_536,
    device_operation="enroll",
    refusals=merged(
        BODY,
        KEY,
        SCAN,
        WRITE,
        {
            400: ("hand_invalid",),
            403: (
                "enrollment_not_granted",
                "user_suspended",
                "user_erased",
                "consent_required",
                "kyc_required",
            ),
            409: (
                "palm_already_enrolled",
                "duplicate_palm",
                "palm_type_not_allowed",
                "request_in_progress",
            ),
            422: ("low_quality", "liveness_failed"),
            503: ("palm_vendor_error", "palm_vendor_timeout"),
        },
    ),
)
async def enroll(
    request: Request[Any, Any, Any],
    data: JSONBody[EnrollBody],
    device: Device,
    services: Given,
    idempotency_key: IdempotencyKey = None,
) -> PalmEnrolled:
    del idempotency_key  # declared for OpenAPI; read from the raw headers to see a second one
    scan = read_scan(data.scan)
    hand = data.hand or (scan.hand if scan.hand != "unknown" else None)
    if hand is None or (scan.hand not in ("unknown", hand)):
        raise Malformed("hand_invalid", "say which hand it is, once")
    enrolled = await services.enrollments.enroll(
        device,
        _user(data.user_id),
        hand,
        msgspec.structs.replace(scan, hand=hand),
        header_key(request),
        replace=data.replace,
    )
    return PalmEnrolled(
        palm_enrolled=True,
        palm_ref=wire("plm", enrolled.palm_ref),
        hand=enrolled.hand,
        replaces=None if enrolled.replaces is None else wire("plm", enrolled.replaces),
    )


def _user(text: str) -> UserId:
    """Whose id it is does not matter without a grant: unknown and foreign are refused alike."""
    found = parse("usr", text)
    if found is None:
        raise Forbidden("enrollment_not_granted")
    return UserId(found)


HANDLERS = (sign_up, verify, consent, withdraw_consent, enroll)
