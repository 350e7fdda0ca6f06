"""A tenant is deleted by two people, for the suspension for which they agreed to it."""

from uuid import UUID, uuid4

import msgspec
import pytest

from application.principals import operator
from application.tenants.lifecycle import TenantLifecycle
from domain.errors import Conflict, Forbidden
from domain.ids import PLATFORM, ApprovalId
from tests.application.console import Console
from tests.spec import CORRELATION, TENANT

ONE = operator(PLATFORM, CORRELATION)
OTHER = msgspec.structs.replace(ONE, actor="operator:another")
DAY_S = 86_400


class Ground:
    def __init__(self) -> None:
        self.at = Console()
        self.lifecycle = TenantLifecycle(self.at.log, self.at.approvals, self.at.ids)

    async def suspends(self) -> None:
        await self.lifecycle.suspend(ONE, TENANT, None, "requested")

    async def agreed(self) -> UUID:
        asked = await self.at.approvals.ask(ONE, "tenant.delete", TENANT, uuid4().hex)
        await self.at.approvals.give(OTHER, asked.id)
        return asked.id

    async def deletes(self, approval_id: UUID) -> str:
        by = msgspec.structs.replace(ONE, approval_id=ApprovalId(approval_id))
        return (await self.lifecycle.delete(by, TENANT))[0].status


async def test_what_was_agreed_to_before_the_suspension_deletes_nothing() -> None:
    """Before, a tenant could be suspended and destroyed in one minute, without its day."""
    ground = Ground()
    early = await ground.agreed()
    ground.at.clock.advance(DAY_S)
    await ground.suspends()
    with pytest.raises(Forbidden, match="approval_required"):
        await ground.deletes(early)
    agreed = await ground.agreed()
    with pytest.raises(Conflict, match="approval_waiting"):
        await ground.deletes(agreed)
    ground.at.clock.advance(DAY_S)
    assert await ground.deletes(agreed) == "deleting"


async def test_a_resume_ends_what_was_agreed_to() -> None:
    """Before, another suspension, for whatever reason, brought it back to life."""
    ground = Ground()
    await ground.suspends()
    agreed = await ground.agreed()
    ground.at.clock.advance(DAY_S)
    await ground.lifecycle.resume(ONE, TENANT, None)
    await ground.suspends()
    with pytest.raises(Forbidden, match="approval_required"):
        await ground.deletes(agreed)


async def test_who_is_served_is_not_asked_about() -> None:
    """Before, one could ask, and wait out the day, while the tenant was served."""
    ground = Ground()
    with pytest.raises(Conflict, match="tenant_not_suspended"):
        await ground.lifecycle.ask_deletion(ONE, TENANT)
    await ground.suspends()
    assert (await ground.lifecycle.ask_deletion(ONE, TENANT)).subject == TENANT
