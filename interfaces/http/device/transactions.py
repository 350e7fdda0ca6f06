"""`POST /v1/device/transactions`: the one call of a till or a gate (004 §10.3).

`transact` is what OpenAPI is drawn from, and says what the steps are; what is served are the same
steps in front of the framework (`direct.py`).
"""

import asyncio
from typing import Annotated, Any, Final, Protocol, cast

import msgspec
import structlog
from litestar import Request, Response, post
from litestar.background_tasks import BackgroundTask
from litestar.di import NamedDependency
from litestar.params import JSONBody

from application.palms.recognition import DeviceMatch
from application.ports import CommitFailed
from application.principals import DevicePrincipal
from application.transactions.asked import TransactionRequest
from application.transactions.broker import Broker, Reply
from domain.errors import Malformed, Refusal
from domain.transaction import Answer
from interfaces.http.bare_answers import Headers
from interfaces.http.context import bounded
from interfaces.http.device.scan import ScanBody, read_scan
from interfaces.http.json_body import StrictJSON
from interfaces.http.parameters import header_key, idempotency_key
from interfaces.http.refusals import BODY, KEY, SCAN, merged
from interfaces.http.services import Services

PATH: Final = "/v1/device/transactions"
BODY_BYTES_MAX: Final = 2 * 1024 * 1024 + 65_536
NOTES_EVERY_S: Final = 0.05

Given = NamedDependency[Services]
Device = NamedDependency[DevicePrincipal]

_log = structlog.get_logger(__name__)


class TransactionBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`context` is the product's: an object of at most 4 KiB, nested at most four deep."""

    idempotency_key: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_-]{16,64}$")] | None = None
    scan: ScanBody
    context: dict[str, Any] = {}
    deadline_ms: Annotated[int, msgspec.Meta(ge=500, le=10_000)] | None = None
    seq: Annotated[int, msgspec.Meta(ge=0, le=2**53)] | None = None
    match: DeviceMatch | None = None


@post(
    PATH,
    operation_id="transact",
    tags=["Device"],
    summary="Identify a palm, ask the bound product, relay its decision",
    status_code=200,
    dto=StrictJSON[TransactionBody],
    return_dto=None,
    request_max_body_size=BODY_BYTES_MAX,
    device_operation="transact",
    refusals=merged(
        BODY,
        KEY,
        SCAN,
        {
            400: ("idempotency_key_missing", "context_too_large", "context_too_deep"),
            403: ("device_not_bound", "small_model_not_allowed", "match_signature_invalid"),
            409: ("request_in_progress", "idempotency_key_expired"),
            422: ("context_not_canonical", "low_quality", "liveness_failed"),
            503: ("palm_vendor_error", "palm_vendor_timeout", "commit_failed"),
        },
    ),
)
async def transact(
    request: Request[Any, Any, Any],
    data: JSONBody[TransactionBody],
    device: Device,
    services: Given,
) -> Response[Answer]:
    reply = await decided(services.broker, device, data, header_key(request))
    answer = cast("dict[str, AnswerGiven]", request.scope["extensions"])["answer"]
    background = BackgroundTask(note_relayed, services.broker, device, reply, answer)
    headers = {name.decode(): value.decode() for name, value in replayed(reply)}
    return Response(reply.answer, headers=headers, background=background)


async def decided(
    broker: Broker, device: DevicePrincipal, data: TransactionBody, key: str | None
) -> Reply:
    """`key` is what the header says. Raises what `Broker.transact` raises, Malformed,
    ScanRefused."""
    return await broker.transact(
        device,
        TransactionRequest(
            idempotency_key=_key(key, data.idempotency_key),
            scan=read_scan(data.scan, images_required=data.match is None),
            context=bounded(data.context),
            deadline_ms=data.deadline_ms,
            seq=data.seq,
            match=data.match,
        ),
    )


def replayed(reply: Reply) -> Headers:
    """What tells a decision that was taken before from a fresh one."""
    if not reply.replayed:
        return ()
    return (
        (b"idempotent-replayed", b"true"),
        (b"idempotent-first-at", reply.received_at.isoformat().encode()),
    )


class AnswerGiven(Protocol):
    """What the listener knows of an answer."""

    @property
    def handed_over(self) -> bool:
        """Whether it went to a connection that was still open."""
        ...

    async def give(self, headers: bytes, body: bytes) -> None:
        """The whole of it: `headers` as they go out, line by line."""
        ...


async def note_relayed(
    broker: Broker, device: DevicePrincipal, reply: Reply, answer: AnswerGiven
) -> None:
    """After the answer has left: what cannot be noted now is no reason to fail anything.

    Nobody waits for a note, so all those of a beat share a commit instead of asking for their own.
    """
    if reply.replayed or not answer.handed_over:
        return  # It was noted the first time; or the peer hung up before.
    now = asyncio.get_running_loop().time()
    await asyncio.sleep(NOTES_EVERY_S - now % NOTES_EVERY_S)
    try:
        await broker.relayed(device, reply)
    except (CommitFailed, Refusal) as error:
        _log.warning(
            "relay_not_noted", transaction=str(reply.transaction_id), error=type(error).__name__
        )


def _key(in_header: str | None, in_body: str | None) -> str:
    """In the body as the seed has it, or in the header; when in both, the same."""
    if in_body is None and in_header is None:
        raise Malformed("idempotency_key_missing", "send idempotency_key")
    if in_body is not None and in_header is not None and in_body != in_header:
        raise Malformed("idempotency_key_invalid", "header and body differ")
    return idempotency_key(in_body or in_header or "")


HANDLERS = (transact,)
