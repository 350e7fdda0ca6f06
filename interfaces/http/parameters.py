"""What stands in paths, queries and headers: ids, cursors, versions, idempotency keys."""

import base64
import binascii
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl
from uuid import UUID

from litestar import Request
from litestar.params import HeaderParameter, QueryParameter

from domain.errors import Malformed, NotFound, PreconditionFailed, Refusal, Unavailable
from domain.ids import TenantId, parse
from interfaces.http.services import ReadModels, Services
from projections.read_model import Connection, ReadModel

KEY_PATTERN: Final = "^[A-Za-z0-9_-]{16,64}$"
_KEY: Final = re.compile(KEY_PATTERN[1:-1])
_ETAG: Final = re.compile(r'"([1-9][0-9]{0,9})"')
KEY_HEADER: Final = "idempotency-key"
PROVIDER_PATTERN: Final = "^(google|apple)$"
BATCH_PATTERN: Final = "^[a-z0-9][a-z0-9_-]{0,39}$"

Cursor = Annotated[
    str | None,
    QueryParameter(name="cursor", max_length=64, description="`next` of the page before"),
]
Limit = Annotated[int, QueryParameter(name="limit", ge=1, le=200, description="rows on a page")]
MinPosition = Annotated[
    int | None,
    QueryParameter(
        name="min_position",
        ge=0,
        le=2**62,
        description="answer only from rows at least as new as this log position",
    ),
]
IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(name="Idempotency-Key", description="makes a repeat of this request harmless"),
]
IfMatch = Annotated[
    str | None, HeaderParameter(name="If-Match", max_length=32, description="the ETag last seen")
]
ApprovalHeader = Annotated[
    str | None,
    HeaderParameter(
        name="Approval-Id",
        max_length=64,
        description="what somebody else agreed to (`/v1/approvals`); console people need one here",
    ),
]


_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
_FIELDS_MAX: Final = 32


class PreconditionRequired(Refusal):
    status = 428


def path_id(prefix: str, text: str, code: str) -> UUID:
    """Raises NotFound: a malformed id and somebody else's look the same."""
    found = parse(prefix, text)
    if found is None:
        raise NotFound(code)
    return found


def check_query(query: bytes) -> None:
    """Refuse what the readers behind us would take in two ways, or in a way nobody meant.

    A `$` in a pattern lets a line end pass, `null` would stand for an absent parameter, and of
    two values one would win. Raises Malformed (`invalid_request`).
    """
    if not query:
        return
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_FIELDS_MAX,
        )
    except ValueError as error:
        raise Malformed("invalid_request", "the query cannot be read") from error
    if len(dict(pairs)) != len(pairs):
        raise Malformed("invalid_request", "a parameter stands twice")
    for _, value in pairs:
        if _UNPRINTABLE.search(value) or value.lower() == "null":
            raise Malformed("invalid_request", "a parameter is malformed")


def query_id(prefix: str, text: str | None) -> UUID | None:
    if text is None:
        return None
    found = parse(prefix, text)
    if found is None:
        raise Malformed("invalid_request", f"an id of the form {prefix}_… is wanted")
    return found


def cursor(text: str | None) -> int | None:
    """The position behind an opaque cursor. Raises Malformed (`cursor_invalid`)."""
    if text is None:
        return None
    try:
        decoded = base64.b32decode(text.upper() + "=" * (-len(text) % 8)).decode("ascii")
        position = int(decoded) if re.fullmatch(r"[1-9][0-9]{0,18}", decoded) else 0
    except (binascii.Error, ValueError) as error:
        raise Malformed("cursor_invalid") from error
    if not 0 < position < 2**63:
        raise Malformed("cursor_invalid")
    return position


def opaque(position: int | None) -> str | None:
    if position is None:
        return None
    return base64.b32encode(str(position).encode()).decode().rstrip("=").lower()


def idempotency_key(text: str) -> str:
    """Raises Malformed (`idempotency_key_invalid`)."""
    if _KEY.fullmatch(text) is None:
        raise Malformed("idempotency_key_invalid", "16 to 64 of A-Z, a-z, 0-9, _ and -")
    return text


def header_key(request: Request[Any, Any, Any]) -> str | None:
    """The Idempotency-Key header, when there is one. Raises Malformed."""
    return given_key(request.headers.getall(KEY_HEADER, []))


def given_key(given: Sequence[str]) -> str | None:
    """The key in the headers of that name, when there is one. Raises Malformed."""
    if not given:
        return None
    if len(given) > 1:
        raise Malformed("idempotency_key_invalid", "send the header once")
    return idempotency_key(given[0])


def etag(version: int) -> dict[str, str]:
    return {"etag": f'"{version}"'}


def expected_version(if_match: str | None, *, required: bool) -> int | None:
    """The version that `If-Match` names (RFC 9110 §13.1.1); `*` and none mean any.

    Raises PreconditionRequired (RFC 6585 §3), and PreconditionFailed for what is no ETag of ours.
    """
    if if_match is None:
        if required:
            raise PreconditionRequired("if_match_required", "send If-Match with the ETag")
        return None
    if if_match.strip() == "*":
        return None
    found = _ETAG.fullmatch(if_match.strip())
    if found is None:
        raise PreconditionFailed("version_mismatch", "not an ETag of this resource")
    return int(found.group(1))


async def fresh(
    read_models: ReadModels, tenant_id: TenantId, name: str, min_position: int | None
) -> None:
    """Wait until the tenant's rows show it. Raises Unavailable (`position_not_reached`)."""
    if min_position is not None and not await read_models.wait(tenant_id, name, min_position):
        raise Unavailable("position_not_reached", retry_after_s=1)


@asynccontextmanager
async def reading(
    services: Services, tenant_id: TenantId, model: ReadModel, min_position: int | None
) -> AsyncGenerator[Connection]:
    """The tenant's rows of a read model, at least as new as that.

    Raises Unavailable (`position_not_reached`).
    """
    await fresh(services.read_models, tenant_id, model.name, min_position)
    async with services.read_models.scope(tenant_id) as connection:
        yield connection
