"""Whatever is asked of a device, in whatever order, at most one certificate speaks for it."""

from datetime import timedelta
from typing import get_args

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from domain.device import (
    Device,
    RevocationReason,
    issue_pairing_code,
    pair,
    rebuild,
    register,
    revoke,
)
from domain.errors import Conflict
from domain.events import DomainEvent
from tests.builders import NOW, device_paired, device_registered
from tests.spec import recorded


class DeviceMachine(RuleBasedStateMachine):
    """Carries out commands on one device and keeps its own account of who may speak.

    The planted bug that it was seen to catch: `evolve` keeping the certificate at a revocation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.events: list[DomainEvent] = [*register(None, device_registered())]
        self.keys = 0
        self.speaking: str | None = None
        self.newest_code = 0
        self.code_live = False

    def device(self) -> Device:
        device = rebuild(recorded(*self.events))
        assert device is not None
        return device

    @rule(minutes=st.integers(1, 60))
    def issue_a_code(self, minutes: int) -> None:
        expires_at = NOW + timedelta(minutes=minutes)
        if self.speaking is not None:
            with pytest.raises(Conflict, match="device_already_paired"):
                issue_pairing_code(self.device(), expires_at)
            return
        self.events += issue_pairing_code(self.device(), expires_at)
        self.newest_code += 1
        self.code_live = True

    @precondition(lambda self: self.newest_code > 0)
    @rule(data=st.data())
    def redeem_a_code(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, self.newest_code + 1))
        self.keys += 1
        fingerprint = f"{self.keys:064x}"
        paired = device_paired(code_number=number, fingerprint=fingerprint)
        if not self.code_live or number != self.newest_code:
            with pytest.raises(Conflict, match="device_not_pairable"):
                pair(self.device(), paired)
            return
        self.events += pair(self.device(), paired)
        self.speaking = fingerprint
        self.code_live = False

    @rule(reason=st.sampled_from(get_args(RevocationReason)))
    def revoke_it(self, reason: RevocationReason) -> None:
        said = revoke(self.device(), reason)
        assert len(said) <= 1
        self.events += said
        self.speaking = None
        self.code_live = False

    @rule()
    def register_it_again(self) -> None:
        assert register(self.device(), device_registered()) == []

    @invariant()
    def at_most_one_certificate_speaks_for_it(self) -> None:
        device = self.device()
        fingerprints = [f"{key:064x}" for key in range(1, self.keys + 1)]
        held = [fingerprint for fingerprint in fingerprints if device.holds(fingerprint, NOW)]
        assert held == ([] if self.speaking is None else [self.speaking])

    @invariant()
    def a_revoked_device_holds_nothing(self) -> None:
        device = self.device()
        assert (device.status == "active") == (self.speaking is not None)
        if device.status == "revoked":
            assert device.certificate is None

    @invariant()
    def its_version_counts_its_events(self) -> None:
        assert self.device().version == len(self.events)


DeviceMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


TestDevice = DeviceMachine.TestCase
