"""One step of the demo: what was said would happen, and what happened."""

from typing import Any, Literal

import msgspec

Decision = Literal["allow", "deny", "not_recognized", "enrolled", "refused"]


class Check(msgspec.Struct, frozen=True):
    """One thing that the step promised."""

    what: str
    expected: Any
    found: Any

    @property
    def ok(self) -> bool:
        return bool(self.expected == self.found)


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What a person saw. `milliseconds` is as long as the person waited; `took` is of what.

    `display` is what the device showed, `events` what was added to the log, in order.
    """

    name: str
    title: str
    story: str
    decision: Decision | None
    reason: str | None
    milliseconds: float
    display: str = ""
    took: str = ""
    notes: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()

    @property
    def failures(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.ok)

    @property
    def ok(self) -> bool:
        return not self.failures

    def to_json(self) -> dict[str, Any]:
        """The step as `JSON=1` shows it."""
        return {
            "name": self.name,
            "title": self.title,
            "decision": self.decision,
            "reason": self.reason,
            "milliseconds": round(self.milliseconds, 1),
            "ok": self.ok,
            "display": self.display,
            "events": list(self.events),
            "notes": list(self.notes),
            "failures": [msgspec.structs.asdict(check) for check in self.failures],
        }


def failed(name: str, title: str, story: str, error: Exception) -> Step:
    """A step that could not be played to its end."""
    said = f"{type(error).__name__}: {error}"
    return Step(
        name=name,
        title=title,
        story=story,
        decision=None,
        reason=None,
        milliseconds=0.0,
        checks=(Check("played to the end", "yes", said),),
    )
