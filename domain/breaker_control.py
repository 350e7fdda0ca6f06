"""What an admin says of the breaker before a linked service, and for how long (broker.md §3.8)."""

from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from domain.errors import Invalid
from domain.ids import DeviceId

BreakerMode = Literal["auto", "force_open", "force_closed", "observe", "drill"]
"""`force_open`: nobody is asked, and the fail mode decides. `force_closed`: everybody is asked, and
nothing is judged. `observe`: it judges, and stops nobody. `drill`: a rehearsed outage for some
devices only; for the others it judges by itself, as in `auto`."""

BreakerReason = Literal["maintenance", "incident", "recovery", "rehearsal", "other"]

DEVICES_MAX: Final = 50
DRILL_MAX: Final = timedelta(hours=1)


class BreakerControl(msgspec.Struct, frozen=True, kw_only=True):
    """What was said last. Past `until` it is as if `auto` had been said; None is without end."""

    mode: BreakerMode = "auto"
    reason: BreakerReason | None = None
    until: datetime | None = None
    devices: tuple[DeviceId, ...] = ()

    def in_force(self, now: datetime) -> BreakerMode:
        return "auto" if self.until is not None and now >= self.until else self.mode

    def rehearses(self, device: DeviceId, now: datetime) -> bool:
        """Whether this device meets an outage that is none."""
        return self.in_force(now) == "drill" and device in self.devices


def check(control: BreakerControl, now: datetime) -> None:
    """Raises Invalid (`until_invalid`, `devices_invalid`) for what cannot be meant."""
    drill = control.mode == "drill"
    if control.until is not None and (control.until <= now or control.mode == "auto"):
        raise Invalid("until_invalid", "a time to come, of a mode that is not auto")
    if drill and (control.until is None or control.until > now + DRILL_MAX):
        raise Invalid("until_invalid", "a drill ends within an hour")
    if bool(control.devices) != drill or len(set(control.devices)) != len(control.devices):
        raise Invalid(
            "devices_invalid", "a drill names its devices, each once, and nothing else does"
        )
