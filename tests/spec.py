"""given(past).when(decision).then(events): how a test of the domain says what it says.

    given(device.rebuild, device_registered(), device_paired())
        .when(device.revoke, "lost")
        .then(device_revoked(reason="lost"))

Every command is asked three questions: the facts, the refusal, the silence.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Concatenate, Generic, ParamSpec, TypeVar, cast
from uuid import UUID

from domain.errors import Refusal
from domain.events import DomainEvent, Recorded
from domain.ids import TenantId

S = TypeVar("S")
P = ParamSpec("P")

TENANT = TenantId(UUID("0198c000-0000-7000-8000-000000000001"))
STREAM = UUID("0198c000-0000-7000-8000-000000000002")
CORRELATION = UUID("0198c000-0000-7000-8000-000000000003")
COMMAND = UUID("0198c000-0000-7000-8000-000000000004")
RECORDED_AT = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)


def recorded(
    *events: DomainEvent, stream_id: UUID = STREAM, tenant_id: TenantId = TENANT, after: int = 0
) -> list[Recorded]:
    """The events of one stream as the log would hold them, versions `after + 1` and up."""
    return [
        Recorded(
            position=version,
            tenant_id=tenant_id,
            stream_id=stream_id,
            version=version,
            event=event,
            actor="system:test",
            correlation_id=CORRELATION,
            command_id=COMMAND,
            recorded_at=RECORDED_AT,
        )
        for version, event in enumerate(events, start=after + 1)
    ]


class Outcome:
    """What a decision answered: a value, or a refusal that a test must ask for by name."""

    def __init__(
        self,
        past: Sequence[Recorded],
        rebuild: Callable[[Iterable[Recorded]], object],
        result: object,
        refusal: Refusal | None,
    ) -> None:
        self._past = past
        self._rebuild = rebuild
        self._result = result
        self._refusal = refusal

    def then(self, *expected: DomainEvent) -> None:
        """Exactly these events, and the aggregate can be rebuilt with them."""
        assert self._answered() == list(expected)
        self._rebuild([*self._past, *recorded(*expected, after=len(self._past))])

    def then_nothing(self) -> None:
        """Silence: what was asked for is already so."""
        assert self._answered() == []

    def then_returns(self, expected: object) -> None:
        """For questions, which answer with a value instead of events."""
        assert self._answered() == expected

    def then_refused(self, refusal: type[Refusal], code: str) -> None:
        """A refusal of exactly this kind, with the stable code that goes on the wire."""
        assert self._refusal is not None, f"answered {self._result!r} instead of {code}"
        assert (type(self._refusal), self._refusal.code) == (refusal, code)

    def _answered(self) -> object:
        if self._refusal is not None:
            raise self._refusal
        return self._result


class Given(Generic[S]):
    """An aggregate after its past."""

    def __init__(
        self, rebuild: Callable[[Iterable[Recorded]], S | None], past: Sequence[Recorded]
    ) -> None:
        self._rebuild = rebuild
        self._past = past

    def when(
        self,
        decide: Callable[Concatenate[S, P], object],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Outcome:
        """Ask a decision of the domain, which takes the state first.

        With no past the state is None, which a decision that begins a stream takes.
        """
        state = cast("S", self._rebuild(self._past))
        try:
            result = decide(state, *args, **kwargs)
        except Refusal as refusal:
            return Outcome(self._past, self._rebuild, None, refusal)
        return Outcome(self._past, self._rebuild, result, None)


def given(rebuild: Callable[[Iterable[Recorded]], S | None], *events: DomainEvent) -> Given[S]:
    """Begin with what has happened so far in one stream."""
    return Given(rebuild, recorded(*events))
