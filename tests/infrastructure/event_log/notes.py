"""Events of these tests' own, and the shortest way to append and to describe them."""

from collections.abc import Sequence
from typing import ClassVar, Final
from uuid import UUID, uuid4

from domain.events import DomainEvent, Origin, Recorded, StreamAppend
from domain.ids import TenantId
from infrastructure.event_log.mapper import EventMapper


class Noted(DomainEvent, frozen=True, kw_only=True):
    """Somebody wrote something down."""

    NAME: ClassVar[str] = "test.noted"

    text: str


class Struck(DomainEvent, frozen=True, kw_only=True):
    """A note was struck out; version 1 called the reason `why`."""

    NAME: ClassVar[str] = "test.struck"
    VERSION: ClassVar[int] = 2

    reason: str


MAPPER: Final = EventMapper(
    {Noted.NAME: Noted, Struck.NAME: Struck},
    {(Struck.NAME, 1): lambda data: {"reason": data["why"]}},
)

A: Final = TenantId(UUID("0198c000-0000-7000-8000-00000000000a"))
B: Final = TenantId(UUID("0198c000-0000-7000-8000-00000000000b"))


def origin(command_id: UUID | None = None) -> Origin:
    return Origin(actor="client:cli_1", correlation_id=uuid4(), command_id=command_id or uuid4())


def notes(
    stream_id: UUID, expected_version: int, *texts: str, tenant_id: TenantId = A
) -> StreamAppend:
    return StreamAppend(
        tenant_id=tenant_id,
        stream_id=stream_id,
        expected_version=expected_version,
        events=[Noted(text=text) for text in texts],
    )


def texts(stream: Sequence[Recorded]) -> list[str]:
    return [recorded.event.text for recorded in stream if isinstance(recorded.event, Noted)]
