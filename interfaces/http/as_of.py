"""`?as_of=`: the same resource as it was, from the streams and not from a read model."""

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Final, TypeVar
from uuid import UUID

from litestar.params import QueryParameter

from domain.errors import Malformed, NotFound
from domain.events import DomainEvent, Recorded
from domain.folding import fold
from domain.ids import TenantId
from interfaces.http.positions import HEADER
from interfaces.http.refusals import Refusals
from interfaces.http.services import Services
from interfaces.http.times import TIME, when

R = TypeVar("R")

NAME: Final = "as_of"
PATTERN: Final = f"^([0-9]{{1,18}}|{TIME})$"
AsOf = Annotated[
    str | None,
    QueryParameter(
        name=NAME,
        max_length=40,
        description="answer as it was at this log position, or at this RFC 3339 time (write the "
        "plus of an offset as %2B); the answer's log-position says which position that is",
    ),
]

AS_OF: Final[Refusals] = {400: ("invalid_request", "as_of_invalid", "as_of_in_future")}

_POSITION: Final = re.compile("[0-9]{1,18}", re.ASCII)


async def moment(services: Services, as_of: str | None) -> int | None:
    """The position that is meant; None for the present.

    Raises Malformed (`as_of_invalid`, `as_of_in_future`).
    """
    if as_of is None:
        return None
    if _POSITION.fullmatch(as_of) is not None:
        return await services.history.position(int(as_of))
    try:
        time = when(as_of)
    except Malformed as error:
        raise Malformed("as_of_invalid", "a log position, or an RFC 3339 time") from error
    assert time is not None, "a text was given"
    return await services.history.position(time)


async def past_row(
    services: Services,
    tenant_id: TenantId,
    stream_id: UUID,
    begins_with: type[DomainEvent],
    reduce: Callable[[R | None, Recorded], R],
    up_to: int,
    not_found: str,
) -> R:
    """What a read model would have shown at that position. Raises NotFound (`not_found`)."""
    past = await services.history.stream(tenant_id, stream_id, begins_with, up_to)
    row = fold(reduce, past)
    if row is None:
        raise NotFound(not_found)
    return row


def folding(reduce: Callable[[R | None, Recorded], R]) -> Callable[[Sequence[Recorded]], R]:
    """A stream's row, for a stream that has begun."""

    def row_of(past: Sequence[Recorded]) -> R:
        row = fold(reduce, past)
        assert row is not None, "the stream had begun"
        return row

    return row_of


def told(up_to: int | None) -> dict[str, str]:
    """The header that says as of which position an answer is; none for the present."""
    return {} if up_to is None else {HEADER: str(up_to)}
