"""What became of a transaction: asked by a device that restarted, told by one that knows."""

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, JSONBody

from application.principals import DevicePrincipal
from application.transactions.journal import JournalEntry
from domain.ids import wire
from domain.transaction import Answer, Shown, answer
from interfaces.http.json_body import StrictJSON
from interfaces.http.parameters import idempotency_key as read_key
from interfaces.http.refusals import BODY, WRITE, merged
from interfaces.http.services import Services

ENTRIES_MAX: Final = 200

Given = NamedDependency[Services]
Device = NamedDependency[DevicePrincipal]

Key = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_-]{16,64}$")]


class JournalLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the device did with the answer, written down before the gate moved; `at` by its clock.

    `not_received` and `aborted` promise that the answer will not be shown any more.
    """

    idempotency_key: Key
    outcome: Shown
    at: Annotated[datetime, msgspec.Meta(tz=True)]


class JournalBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    entries: Annotated[tuple[JournalLine, ...], msgspec.Meta(min_length=1, max_length=ENTRIES_MAX)]


class JournalTaken(msgspec.Struct, frozen=True, kw_only=True):
    """`voided` are transactions that are undone at their product, because nobody saw the allow.

    Keys under `undecided` are to be sent again later; those under `unknown` never arrived here.
    """

    accepted: int
    voided: list[str]
    undecided: list[str]
    unknown: list[str]


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """Not decided yet; ask again, or send the same request again."""

    transaction_id: str
    state: Literal["received", "identified", "authorizing"]


@get(
    "/v1/device/transactions/{idempotency_key:str}",
    operation_id="lookUpTransaction",
    tags=["Device"],
    summary="The decision under a key, for a device that restarted before its answer",
    device_operation="journal",
    responses={202: ResponseSpec(data_container=Running, description="Not decided yet")},
    refusals={
        400: ("idempotency_key_invalid",),
        404: ("transaction_not_found",),
        409: ("idempotency_key_expired",),
        503: ("palm_vendor_error", "palm_vendor_timeout"),
    },
)
async def look_up(
    idempotency_key: FromPath[str], device: Device, services: Given
) -> Response[Answer | Running]:
    found = await services.journal.look_up(device, read_key(idempotency_key))
    if found.decision is not None:
        return Response(answer(found))
    state = found.status
    assert state != "decided", "there is no decision"
    running = Running(transaction_id=wire("txn", found.id), state=state)
    return Response(running, status_code=202, headers={"retry-after": "1"})


@post(
    "/v1/device/journal",
    operation_id="recordJournal",
    tags=["Device"],
    summary="Tell what became of answers; an allow that nobody saw is undone at its product",
    status_code=200,
    dto=StrictJSON[JournalBody],
    return_dto=None,
    device_operation="journal",
    refusals=merged(BODY, WRITE),
)
async def record(data: JSONBody[JournalBody], device: Device, services: Given) -> JournalTaken:
    taken = await services.journal.record(
        device,
        [
            JournalEntry(idempotency_key=line.idempotency_key, outcome=line.outcome, at=line.at)
            for line in data.entries
        ],
    )
    return JournalTaken(
        accepted=taken.accepted,
        voided=[wire("txn", each) for each in taken.voided],
        undecided=list(taken.undecided),
        unknown=list(taken.unknown),
    )


HANDLERS = (look_up, record)
