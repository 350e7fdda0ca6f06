"""What comes of an answer to a palm challenge, as it is recorded."""

from typing import cast, get_args

from application.ports import Scan
from domain import palm_challenge as pc
from domain.errors import Refusal


def completed(
    challenge: pc.PalmChallenge,
    number: int,
    scan: Scan,
    result: pc.ChallengeResult,
    reason: pc.ChallengeReason | None,
) -> pc.PalmChallengeCompleted:
    opened = challenge.opened
    return pc.PalmChallengeCompleted(
        user_id=opened.user_id,
        device_id=opened.device_id,
        purpose=opened.purpose,
        attempt=number,
        scan_sha256=scan.sha256,
        result=result,
        reason=reason,
    )


def reason_of(refusal: Refusal) -> pc.ChallengeReason:
    """Raises the refusal itself when it says nothing of the person or the palm."""
    if refusal.code == "consent_required":
        withdrawn = refusal.extra.get("consent_status") == "withdrawn"
        return "consent_withdrawn" if withdrawn else "consent_required"
    if refusal.code not in get_args(pc.ChallengeReason):
        raise refusal
    return cast("pc.ChallengeReason", refusal.code)
