"""`/v1/match-policies/evaluate`: what another policy would have made of past transactions."""

from datetime import datetime
from typing import Annotated, Final

import msgspec
from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from application.palms.evaluation import Evaluation, Flip
from application.principals import Manager
from domain.device import DeviceType
from domain.errors import Invalid, Malformed
from domain.fail_mode import FailMode
from domain.ids import wire
from domain.matching import MatchPolicy
from domain.what_if import Effect, What
from interfaces.http.as_of import moment
from interfaces.http.json_body import StrictJSON
from interfaces.http.parameters import cursor, opaque
from interfaces.http.refusals import BODY, merged
from interfaces.http.services import Services

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]

Score = Annotated[float, msgspec.Meta(ge=0, le=1)]
ProductKey = Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_-]{0,62}$")]
Moment = Annotated[
    str,
    msgspec.Meta(max_length=40, description="a log position or an RFC 3339 time, as in as_of"),
]


class CandidatePolicy(MatchPolicy, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A match policy to try. Its `version` means nothing here."""

    minimum: tuple[Score, Score, Score, Score] = (0.0, 0.0, 0.0, 0.0)

    def plain(self) -> MatchPolicy:
        return MatchPolicy(**{name: getattr(self, name) for name in MatchPolicy.__struct_fields__})


class NewEvaluation(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}
):
    """A candidate, and the decisions to judge again: those after `from` and up to `to`."""

    match_policy: CandidatePolicy | None = None
    fail_mode: FailMode | None = None
    product_key: ProductKey | None = None
    device_type: DeviceType | None = None
    from_: Moment = "0"
    to: Moment | None = None
    cursor: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 100


class FlipShown(msgspec.Struct, frozen=True, kw_only=True):
    """One transaction that would have ended otherwise, and how."""

    transaction_id: str
    position: int
    decided_at: datetime
    device_id: str
    device_type: DeviceType
    policy_version: int | None
    recorded: str
    recorded_reason: str | None
    would_be: Effect
    reason: str | None


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    evaluated: int
    flipped: int


class EvaluationShown(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of this page; add up the pages. `next` goes on where this page ends.

    `not_evaluable`: decided by a release that did not keep all scores. `recorded` of a
    transaction is the name of its decision's event.
    """

    evaluated: int
    flipped: int
    not_evaluable: int
    effects: dict[str, int]
    by_device_type: dict[str, Counted]
    transactions: list[FlipShown]
    from_position: int
    to_position: int
    read_to: int
    next: str | None


@post(
    "/v1/match-policies/evaluate",
    operation_id="evaluateMatchPolicy",
    tags=["Match policies"],
    summary="Judge past transactions again under another match policy or fail mode",
    description="Changes nothing. From the log alone: scores as the vendor gave them then, and "
    "how the product failed. `identified` and `stand_in` say what might have been, since no "
    "product was asked and neither budgets nor amounts are in the log.",
    dto=StrictJSON[NewEvaluation],
    return_dto=None,
    status_code=200,
    permission="match_policies.evaluate",
    request_max_body_size=65_536,
    refusals=merged(
        BODY,
        {
            400: ("as_of_invalid", "as_of_in_future", "candidate_missing", "cursor_invalid"),
            422: ("range_invalid",),
            503: ("commit_failed",),
        },
    ),
)
async def evaluate(
    data: JSONBody[NewEvaluation], integrator: Integrator, services: Given
) -> EvaluationShown:
    if data.match_policy is None and data.fail_mode is None:
        raise Malformed("candidate_missing", "name a match_policy, a fail_mode or both")
    began = await moment(services, data.from_) or 0
    to = await moment(services, data.to)
    ended = await services.history.end() if to is None else to
    after = cursor(data.cursor) or began
    if began > ended:
        raise Invalid("range_invalid", "to is before from")
    if not began <= after <= ended:
        raise Malformed("cursor_invalid")
    await services.audit_readings.note(integrator, "evaluation")
    what = What(
        match_policy=data.match_policy.plain() if data.match_policy is not None else None,
        fail_mode=data.fail_mode,
        product_key=data.product_key,
    )
    found = await services.evaluations.evaluate(
        integrator.tenant_id,
        what,
        after=after,
        up_to=ended,
        limit=data.limit,
        device_type=data.device_type,
    )
    return _shown(found, began, ended)


def _shown(found: Evaluation, began: int, ended: int) -> EvaluationShown:
    kinds = sorted(found.evaluated)
    return EvaluationShown(
        evaluated=found.evaluated.total(),
        flipped=found.flipped.total(),
        not_evaluable=found.not_evaluable,
        effects=dict(sorted(found.effects.items())),
        by_device_type={
            kind: Counted(evaluated=found.evaluated[kind], flipped=found.flipped[kind])
            for kind in kinds
        },
        transactions=[_flip(flip) for flip in found.flips],
        from_position=began,
        to_position=ended,
        read_to=found.read_to,
        next=opaque(found.read_to) if found.read_to < ended else None,
    )


def _flip(flip: Flip) -> FlipShown:
    effect = flip.verdict.effect
    assert effect is not None, "a flip has an effect"
    return FlipShown(
        transaction_id=wire("txn", flip.transaction_id),
        position=flip.position,
        decided_at=flip.decided_at,
        device_id=wire("dev", flip.device_id),
        device_type=flip.device_type,
        policy_version=flip.policy_version,
        recorded=flip.recorded.NAME,
        recorded_reason=getattr(flip.recorded, "reason", None),
        would_be=effect,
        reason=flip.verdict.reason,
    )


HANDLERS: Final = (evaluate,)
