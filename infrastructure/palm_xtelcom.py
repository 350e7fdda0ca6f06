"""Speaks the palm vendor's protocol (`/KZ/query`, `/KZ/add`) and believes nothing it cannot check.

A palm is known to the vendor as `{tenant_key}.{palm_ref hex}`: a random key of the tenant and
our own reference, nothing about a person (seed 004, diagrams 4.3 and 4.4; reference broker.md
§3.10). An answer that is not exactly what the protocol promises is a failure of the vendor and
never "no match": a gate that misreads an answer must not turn it into a decision.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal, Protocol, TypeVar
from uuid import UUID

import msgspec

from application import trace
from application.ports import (
    CANDIDATES_MAX,
    Candidates,
    Clock,
    PalmQueryForbidden,
    PalmRejected,
    PalmVendorFailed,
    Scan,
    VendorFault,
)
from application.ports.health import Probed
from domain.ids import PalmRef
from domain.matching import Candidate
from infrastructure.outbound.client import Answer, OutboundFailed
from infrastructure.strict_json import NotAnObject, read_object

OK: Final = 0
QUERY_TYPE_FORBIDDEN: Final = 30008
LOW_QUALITY: Final = 40010
"""Seed 004 has no code for a poor picture; this one is of `examples/palm_server`."""

ANSWER_BYTES_MAX: Final = 64 * 1024
FAULTS: Final[Mapping[int, VendorFault]] = {50000: "internal_error"}
HINTS: Final = frozenset({"blur", "coverage", "distance", "lighting", "rotation"})

_TENANT_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_PALM_REF = re.compile(r"[0-9a-f]{32}\Z")

_T = TypeVar("_T")
_Score = Annotated[float, msgspec.Meta(ge=0, le=1)]
# A threshold of zero would let everybody pass.
_Threshold = Annotated[float, msgspec.Meta(gt=0, le=1)]


class HttpCalls(Protocol):
    """The outbound client, as much of it as is needed here."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        deadline_s: float,
        max_bytes: int,
    ) -> Answer:
        """Ask once within a total deadline. Raises OutboundFailed."""
        ...


class _Query(msgspec.Struct, omit_defaults=True):
    group: str
    rgb: bytes
    ir: bytes
    top_k: int
    hand: str | None = None


class _Add(msgspec.Struct):
    user_id: str
    hand: str
    rgb: bytes
    ir: bytes


class _Delete(msgspec.Struct):
    user_id: str


class _Envelope(msgspec.Struct):
    """`msg` is not read any further: the vendor may put anything there."""

    code: Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)]
    msg: str = ""
    data: Any = None


class _Result(msgspec.Struct):
    user_id: str
    scores: tuple[_Score, _Score, _Score, _Score]
    hand: Literal["left", "right", "unknown"] = "unknown"


class _Found(msgspec.Struct):
    results: Annotated[list[_Result], msgspec.Meta(max_length=CANDIDATES_MAX)]
    thresholds: tuple[_Threshold, _Threshold, _Threshold, _Threshold]


class _Added(msgspec.Struct):
    palm_id: Annotated[str, msgspec.Meta(pattern=r"^[\x21-\x7e]{1,128}\Z")]


class _Deleted(msgspec.Struct):
    deleted: bool = True


class _Rejected(msgspec.Struct):
    hints: list[str] = []


_json = msgspec.json.Encoder()


class XTelcomPalmVerifier:
    """The palm vendor behind `application.ports.PalmVerifier`.

    `credentials` are headers that the vendor wants with every call; they are never logged.
    """

    def __init__(
        self,
        base_url: str,
        calls: HttpCalls,
        clock: Clock,
        *,
        credentials: Mapping[str, str] | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._calls = calls
        self._clock = clock
        self._headers = {"content-type": "application/json", **(credentials or {})}

    async def identify(
        self, tenant_key: str, scan: Scan, *, k: int, deadline_s: float
    ) -> Candidates:
        """1:N within the tenant; what the vendor found of other tenants is dropped.

        A vendor that sees no usable palm is to answer that it found nobody. Should it send the
        code of a poor picture instead, without thresholds, that is no answer to a query.
        """
        query = _Query(
            group=_checked(tenant_key),
            rgb=scan.rgb,
            ir=scan.ir,
            top_k=k,
            hand=None if scan.hand == "unknown" else scan.hand,
        )
        envelope = await self._post("/KZ/query", query, deadline_s)
        if envelope.code == QUERY_TYPE_FORBIDDEN:
            raise PalmQueryForbidden
        found = _data(envelope, _Found)
        own = _own(tenant_key, found.results)
        return Candidates(
            found=sorted(own, key=lambda each: sum(each.scores), reverse=True),
            thresholds=found.thresholds,
        )

    async def enroll(
        self, tenant_key: str, palm_ref: PalmRef, scan: Scan, *, deadline_s: float
    ) -> str:
        """Store a template under our reference; asking again is safe. Returns the palm's id."""
        add = _Add(_user_id(tenant_key, palm_ref), scan.hand, scan.rgb, scan.ir)
        envelope = await self._post("/KZ/add", add, deadline_s)
        if envelope.code == LOW_QUALITY:
            hints = [] if envelope.data is None else _read(envelope, _Rejected).hints
            raise PalmRejected("low_quality", [hint for hint in hints if hint in HINTS])
        return _data(envelope, _Added).palm_id

    async def delete(
        self, tenant_key: str, palm_ref: PalmRef, *, deadline_s: float
    ) -> Literal["deleted", "absent", "not_supported"]:
        """Have a template destroyed. The vendor has no such call when it answers 404, 405 or 501.

        An answer that says not whether there was a template is an answer all the same.
        """
        body = _json.encode(_Delete(_user_id(tenant_key, palm_ref)))
        answer = await self._ask("POST", "/KZ/delete", body, deadline_s)
        if answer.status in (404, 405, 501):
            return "not_supported"
        envelope = _envelope(answer)
        _require_ok(envelope)
        said = _Deleted() if envelope.data is None else _read(envelope, _Deleted)
        return "deleted" if said.deleted else "absent"

    async def probe(self, *, deadline_s: float) -> Probed:
        """Whether the vendor answers at all, and how fast; for its health monitor."""
        began = self._clock.monotonic()
        reason = ""
        try:
            _require_ok(_envelope(await self._ask("GET", "/KZ/health", b"", deadline_s)))
        except PalmVendorFailed as error:
            reason = error.vendor_message or error.reason
        latency_s = self._clock.monotonic() - began
        return Probed(healthy=not reason, latency_s=latency_s, reason=reason)

    async def _post(self, path: str, body: _Query | _Add, deadline_s: float) -> _Envelope:
        # msgspec writes bytes as base64 straight into the JSON, without a copy in between.
        return _envelope(await self._ask("POST", path, _json.encode(body), deadline_s))

    async def _ask(self, method: str, path: str, body: bytes, deadline_s: float) -> Answer:
        try:
            return await self._calls.request(
                method,
                self._base_url + path,
                headers={**self._headers, **trace.headers()},
                body=body,
                deadline_s=deadline_s,
                max_bytes=ANSWER_BYTES_MAX,
            )
        except OutboundFailed as error:
            if error.kind == "timeout":
                raise PalmVendorFailed("palm_vendor_timeout") from error
            raise PalmVendorFailed("palm_vendor_error", None, error.kind) from error


def _envelope(answer: Answer) -> _Envelope:
    if answer.status != 200:
        raise PalmVendorFailed("palm_vendor_error", None, "http_status")
    try:
        return msgspec.convert(read_object(answer.body), _Envelope)
    except (NotAnObject, msgspec.ValidationError) as error:
        raise PalmVendorFailed("palm_vendor_error", None, "malformed_answer") from error


def _data(envelope: _Envelope, shape: type[_T]) -> _T:
    """What an answer with code 0 says, in exactly this shape."""
    _require_ok(envelope)
    return _read(envelope, shape)


def _require_ok(envelope: _Envelope) -> None:
    if envelope.code != OK:
        fault: VendorFault = FAULTS.get(envelope.code, "other_code")
        raise PalmVendorFailed("palm_vendor_error", envelope.code, fault)


def _read(envelope: _Envelope, shape: type[_T]) -> _T:
    try:
        return msgspec.convert(envelope.data, shape)
    except msgspec.ValidationError as error:
        raise PalmVendorFailed("palm_vendor_error", envelope.code, "malformed_answer") from error


def _own(tenant_key: str, results: Sequence[_Result]) -> list[Candidate]:
    """The candidates of this tenant. An id twice, or one of ours that is no reference, is a lie."""
    if len({result.user_id for result in results}) != len(results):
        raise PalmVendorFailed("palm_vendor_error", OK, "duplicate_user_id")
    own: list[Candidate] = []
    for result in results:
        key, _, reference = result.user_id.partition(".")
        if key != tenant_key:
            continue
        if _PALM_REF.match(reference) is None:
            raise PalmVendorFailed("palm_vendor_error", OK, "unknown_user_id")
        palm_ref = PalmRef(UUID(hex=reference))
        own.append(Candidate(palm_ref=palm_ref, hand=result.hand, scores=result.scores))
    return own


def _user_id(tenant_key: str, palm_ref: PalmRef) -> str:
    return f"{_checked(tenant_key)}.{palm_ref.hex}"


def _checked(tenant_key: str) -> str:
    """A key with a dot in it could make one tenant's prefix out of another's."""
    if _TENANT_KEY.match(tenant_key) is None:
        raise ValueError("a tenant key is 1 to 64 letters, digits, hyphens and underscores")
    return tenant_key
