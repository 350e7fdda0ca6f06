"""Whose enrolment has which hand of a person: one claim for each hand, so that two cannot."""

from domain import claim as k
from domain import enrollment as e
from domain.erasure import erasure_id
from domain.errors import Forbidden
from domain.ids import ClaimId, TenantId, UserId, claim_id
from domain.palm import Hand


def hand_claim(tenant_id: TenantId, started: e.EnrollmentStarted) -> ClaimId:
    """The stream that says which enrolment has this hand of this person."""
    return hand_of(tenant_id, started.user_id, started.hand)


def hand_of(tenant_id: TenantId, user_id: UserId, hand: Hand) -> ClaimId:
    """The same, for whoever has no enrolment at hand."""
    return claim_id(tenant_id, k.PALM_HAND, f"{user_id}:{hand}")


def refuse_taken_by_erasure(claim: k.Claim, user_id: UserId) -> None:
    """An erasure takes both hands and keeps them. Raises Forbidden (`user_erased`)."""
    if claim.owner == erasure_id(user_id):
        raise Forbidden("user_erased")
