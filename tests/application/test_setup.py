"""What is left to do after a first start, until nothing is."""

from typing import Any

from application.console.setup import Setup, SetupReading
from application.ports.server_certificates import Place, Shown
from domain import platform_admins as pa
from domain.ids import PLATFORM, OperatorId
from tests.application.world import World
from tests.builders import (
    NOW,
    operator_accepted,
    operator_invited,
    operator_password_set,
    operator_seeded,
    operator_totp_enrolled,
)


class Start:
    """A platform after its first start; `source` is who made what is shown."""

    def __init__(self) -> None:
        self.world = World()
        self.source: Any = "platform"

    def jwks(self) -> dict[str, Any]:
        """`PublicKeys`."""
        return {"keys": [{"kid": "one"}]}

    def shown(self, place: Place) -> Shown:
        """`ShownCertificates`."""
        return Shown(
            source=self.source,
            chain_pem=place,
            fingerprint_sha256="3c" * 32,
            names=(),
            not_before=NOW,
            not_after=NOW,
        )

    def admin(self, *events: Any) -> OperatorId:
        operator_id = OperatorId(self.world.ids.uuid())
        added = pa.PlatformAdminAdded(operator_id=operator_id)
        self.world.given(pa.STREAM, added, tenant_id=PLATFORM)
        self.world.given(operator_id, *events, tenant_id=PLATFORM)
        return operator_id

    async def read(self) -> Setup:
        return await SetupReading(self.world.log, self.world.authority, self, self).read()

    async def states(self) -> tuple[bool, dict[str, str]]:
        found = await self.read()
        return found.complete, {each.item: each.state for each in found.items}


async def test_what_is_left_goes_step_by_step() -> None:
    start = Start()
    made = {"device_ca": "done", "signing_keys": "done", "server_certificate": "advised"}
    assert await start.states() == (False, {**made, "platform_admin": "left"})
    first = start.admin(operator_seeded())
    alone = {**made, "second_platform_admin": "advised"}
    assert await start.states() == (False, {**alone, "platform_admin": "left"})
    todos = {each.item: each.todo for each in (await start.read()).items}
    assert "change the initial password" in str(todos["platform_admin"])
    start.world.given(first, operator_password_set(), tenant_id=PLATFORM)
    todos = {each.item: each.todo for each in (await start.read()).items}
    assert "second factor" in str(todos["platform_admin"])
    start.world.given(first, operator_totp_enrolled(), tenant_id=PLATFORM)
    assert await start.states() == (True, {**alone, "platform_admin": "done"})
    start.admin(operator_invited(role="platform_admin"), operator_accepted())
    start.source = "own"
    complete, states = await start.states()
    assert (complete, set(states.values())) == (True, {"done"})
    assert all(each.todo is None for each in (await start.read()).items)
