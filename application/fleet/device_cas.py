"""The change from one device CA to the next, with a live fleet (reference broker.md §3.2)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from application.execute import Done, execute
from application.ports import EventLog, IdSource, StaleStream
from application.ports.pki import AuthorityMaker, CertificateHolder, CertificateHolders
from application.principals import Caller
from application.tenants.approvals import Approvals
from domain import device_ca as ca
from domain.approval import Approval
from domain.errors import Invalid, PreconditionFailed
from domain.events import StreamAppend
from domain.ids import PLATFORM

SPREAD_MAX_S: Final = 30 * 86_400
LAGGARDS_SHOWN: Final = 100
REGENERATE: Final = "every device must be paired again"
"""What somebody writes who regenerates the CA: it is the consequence, not a yes."""

Step = Literal["prepare", "issue", "finalize", "rollback"]


class RotationStanding(msgspec.Struct, frozen=True, kw_only=True):
    """Where a rotation stands. `devices` are counted by the CA of what they speak with;
    `laggards` are those that are not on the CA that issues, the first hundred."""

    ca: ca.DeviceCA
    devices: Mapping[int, int]
    laggards: Sequence[CertificateHolder]

    @property
    def on_issuing(self) -> int:
        return self.devices.get(self.ca.issuing, 0)


class DeviceCAs:
    """Every step is an event of the platform.

    A step that drops devices counts them for the rotation as it then stands, and is taken of that
    one or of none: raises StaleStream where somebody else took a step meanwhile.
    """

    def __init__(
        self,
        log: EventLog,
        maker: AuthorityMaker,
        holders: CertificateHolders,
        approvals: Approvals,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._maker = maker
        self._holders = holders
        self._approvals = approvals
        self._ids = ids

    async def standing(self) -> RotationStanding:
        state = await self._state()
        return RotationStanding(
            ca=state,
            devices=await self._holders.counts(),
            laggards=await self._holders.of_others(state.issuing, LAGGARDS_SHOWN),
        )

    async def announce(self, caller: Caller) -> Done:
        """Make the next CA and have it trusted. Raises Conflict (`rotation_under_way`)."""
        state = await self._state()
        ca.check_standby(state)  # before a key is made in vain
        made = await self._maker.make(state.highest)
        return await self._do(caller, lambda found: ca.announce(found, made))

    async def issue(self, caller: Caller, *, spread_s: int) -> Done:
        """Issue by the announced CA; devices are told to renew within `spread_s` seconds.

        Raises Conflict (`rotation_phase_wrong`), Invalid (`spread_invalid`).
        """
        if not 0 <= spread_s <= SPREAD_MAX_S:
            raise Invalid("spread_invalid", f"0 to {SPREAD_MAX_S} seconds")
        return await self._do(caller, lambda found: ca.start_issuing(found, spread_s=spread_s))

    async def finalize(self, caller: Caller, *, force: bool = False) -> Done:
        """Retire the CA of before. With `force`, devices that are still on it must recover.

        Raises Conflict (`rotation_phase_wrong`, `devices_left_behind`).
        """
        counted, held = await self._on_other()
        return await self._do(
            caller, lambda found: ca.finalize(_still(found, counted), holders=held, force=force)
        )

    async def roll_back(
        self, caller: Caller, *, force: bool = False, if_version: int | None = None
    ) -> Done:
        """One step back, from the rotation at `if_version`: two that go from the same one, or one
        that asks again, take one step and not two.

        Raises Conflict (`rotation_phase_wrong`, `devices_left_behind`) and PreconditionFailed
        (`version_mismatch`).
        """
        counted, held = await self._on_other()
        if if_version not in (None, counted.version):
            raise PreconditionFailed("version_mismatch", f"current is {counted.version}")
        return await self._do(
            caller, lambda found: ca.roll_back(_still(found, counted), holders=held, force=force)
        )

    async def regenerate(self, caller: Caller, confirmation: str) -> Done:
        """A new CA at once, and none before it is believed: every device must be paired again.

        Two people, whoever asks: raises Invalid (`confirmation_wrong`) unless it is confirmed in
        the words of `REGENERATE`, and what `Approvals.used_up` raises.
        """
        _check_confirmed(confirmation)
        # Before a key is made in vain; what counts is asked in the commit.
        await self._approvals.used_up(caller, "ca.regenerate", PLATFORM, always=True)
        made = await self._maker.make((await self._state()).highest)
        return await self._do(
            caller,
            lambda found: ca.regenerate(found, made),
            lambda: self._approvals.used_up(caller, "ca.regenerate", PLATFORM, always=True),
        )

    async def ask_regeneration(self, caller: Caller, confirmation: str) -> Approval:
        """Ask somebody else to agree to it. Raises Invalid (`confirmation_wrong`), Forbidden
        (`insufficient_scope`)."""
        _check_confirmed(confirmation)
        return await self._approvals.ask(caller, "ca.regenerate", PLATFORM)

    async def _on_other(self) -> tuple[ca.DeviceCA, int]:
        """The rotation as it stands, and how many devices are on its CA that does not issue."""
        state = await self._state()
        if state.other is None:
            return state, 0
        return state, (await self._holders.counts()).get(state.other, 0)

    async def _state(self) -> ca.DeviceCA:
        return ca.rebuild(await self._log.load(PLATFORM, ca.DEVICE_CA))

    async def _do(
        self,
        caller: Caller,
        decide: Callable[[ca.DeviceCA], list[ca.DeviceCAEvent]],
        beside: Callable[[], Awaitable[Sequence[StreamAppend]]] | None = None,
    ) -> Done:
        origin = caller.origin(self._ids.uuid())
        return await execute(self._log, origin, PLATFORM, ca.DEVICE_CA, ca.rebuild, decide, beside)


def _still(found: ca.DeviceCA, counted: ca.DeviceCA) -> ca.DeviceCA:
    """The rotation, as long as it is the one whose devices were counted."""
    if found.version != counted.version:
        raise StaleStream((ca.DEVICE_CA,))
    return found


def _check_confirmed(confirmation: str) -> None:
    if confirmation != REGENERATE:
        raise Invalid("confirmation_wrong", f"confirm with: {REGENERATE}")
