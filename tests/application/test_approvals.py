"""What takes two people is done in one commit with the use of their approval, and once."""

import asyncio
from uuid import UUID, uuid4

import msgspec
import pytest

from application.execute import execute
from application.permissions import SCOPES, grantable
from application.ports import StaleStream
from application.principals import (
    Caller,
    DevicePrincipal,
    IntegratorPrincipal,
    OperatorPrincipal,
    operator_actor,
)
from application.tenants.approvals import TERMS, Approvals
from domain import tenant as t
from domain.errors import Conflict, Forbidden, NotFound
from domain.ids import (
    PLATFORM,
    ApprovalId,
    DeviceId,
    OAuthClientId,
    OperatorId,
    OperatorSessionId,
    TenantId,
)
from infrastructure.ids import RandomIds
from tests.application.hand_clock import HandClock
from tests.application.memory_log import MemoryEventLog
from tests.builders import NOW
from tests.spec import CORRELATION, TENANT


def caller(name: str, tenant_id: TenantId = PLATFORM) -> Caller:
    return Caller(tenant_id=tenant_id, actor=f"operator:{name}", correlation_id=CORRELATION)


ASKER, OTHER = caller("one"), caller("two")


class Ground:
    def __init__(self) -> None:
        self.clock = HandClock()
        self.log = MemoryEventLog(self.clock)
        self.ids = RandomIds(self.clock)
        self.approvals = Approvals(self.log, self.clock, self.ids)

    async def agreed(self, subject: UUID) -> ApprovalId:
        asked = await self.approvals.ask(ASKER, "tenant.delete", subject)
        await self.approvals.give(OTHER, asked.id)
        self.clock.advance(TERMS["tenant.delete"].wait.total_seconds())
        return asked.id

    async def destroy(self, by: Caller, subject: TenantId) -> None:
        """Stands for what destroys: it writes one event of the subject."""
        await execute(
            self.log,
            by.origin(self.ids.uuid()),
            subject,
            subject,
            lambda past: past,
            lambda _: [t.TenantCreated(name="gone", tenant_key="k")],
            beside=lambda: self.approvals.used_up(by, "tenant.delete", subject, always=True),
        )


def holding(by: Caller, approval_id: ApprovalId) -> Caller:
    return msgspec.structs.replace(by, approval_id=approval_id)


async def test_what_was_agreed_to_is_done_and_the_approval_is_used_up() -> None:
    ground = Ground()
    approval_id = await ground.agreed(TENANT)
    await ground.destroy(holding(ASKER, approval_id), TENANT)
    used = await ground.approvals.get(PLATFORM, approval_id)
    assert used.status(ground.clock.now()) == "carried_out"
    assert len(await ground.log.load(TENANT, TENANT)) == 1
    with pytest.raises(Conflict, match="approval_decided"):
        await ground.destroy(holding(ASKER, approval_id), TENANT)
    assert len(await ground.log.load(TENANT, TENANT)) == 1


async def test_of_many_at_once_one_uses_it() -> None:
    ground = Ground()
    approval_id = await ground.agreed(TENANT)
    by = holding(ASKER, approval_id)
    outcomes = await asyncio.gather(
        *(ground.destroy(by, TENANT) for _ in range(8)), return_exceptions=True
    )
    refused = [each for each in outcomes if each is not None]
    assert len(refused) == 7
    assert all(isinstance(each, Conflict | StaleStream) for each in refused)
    assert len(await ground.log.load(TENANT, TENANT)) == 1


@pytest.mark.parametrize("approval_id", [None, ApprovalId(uuid4())])
async def test_without_one_nothing_is_done(approval_id: ApprovalId | None) -> None:
    ground = Ground()
    by = msgspec.structs.replace(ASKER, approval_id=approval_id)
    with pytest.raises(Forbidden, match="approval_required"):
        await ground.destroy(by, TENANT)
    assert len(await ground.log.load(TENANT, TENANT)) == 0


async def test_a_caller_who_needs_nobody_uses_none() -> None:
    ground = Ground()
    assert await ground.approvals.used_up(ASKER, "user.erase", TENANT) == ()


async def test_it_waits_and_ends() -> None:
    ground = Ground()
    asked = await ground.approvals.ask(ASKER, "tenant.delete", TENANT)
    await ground.approvals.give(OTHER, asked.id)
    with pytest.raises(Conflict, match="approval_waiting"):
        await ground.destroy(holding(ASKER, asked.id), TENANT)
    ground.clock.advance(8 * 86_400)
    expired = await ground.approvals.get(PLATFORM, asked.id)
    assert expired.status(ground.clock.now()) == "expired"


async def test_another_tenants_approval_is_none() -> None:
    ground = Ground()
    asked = await ground.approvals.ask(ASKER, "tenant.delete", TENANT)
    with pytest.raises(NotFound, match="approval_not_found"):
        await ground.approvals.give(caller("three", TENANT), asked.id)


async def test_who_may_not_do_it_neither_asks_nor_agrees() -> None:
    ground = Ground()
    scopes = frozenset({"dsr:write"})
    backend = IntegratorPrincipal(
        tenant_id=TENANT,
        actor="client:one",
        correlation_id=CORRELATION,
        client_id=OAuthClientId(uuid4()),
        scopes=scopes,
    )
    reader = msgspec.structs.replace(backend, actor="client:two", scopes=frozenset({"dsr:read"}))
    device = DevicePrincipal(
        tenant_id=TENANT,
        actor="device:one",
        correlation_id=CORRELATION,
        device_id=DeviceId(uuid4()),
        fingerprint="f",
    )
    asked = await ground.approvals.ask(backend, "user.erase", uuid4())
    for nobody in (reader, device):
        with pytest.raises(Forbidden, match="insufficient_scope"):
            await ground.approvals.give(nobody, asked.id)
        with pytest.raises(Forbidden, match="insufficient_scope"):
            await ground.approvals.refuse(nobody, asked.id)
        with pytest.raises(Forbidden, match="insufficient_scope"):
            await ground.approvals.ask(nobody, "user.erase", uuid4())
    with pytest.raises(Forbidden, match="insufficient_scope"):
        await ground.approvals.ask(backend, "tenant.delete", TENANT)
    with pytest.raises(Forbidden, match="approval_needs_another_person"):
        await ground.approvals.give(backend, asked.id)
    await ground.approvals.refuse(backend, asked.id)
    refused = await ground.approvals.get(TENANT, asked.id)
    assert refused.status(ground.clock.now()) == "refused"


async def test_the_same_key_asks_once() -> None:
    ground = Ground()
    first = await ground.approvals.ask(ASKER, "ca.regenerate", PLATFORM, "k-1")
    second = await ground.approvals.ask(ASKER, "ca.regenerate", PLATFORM, "k-1")
    assert (first.id, first.version) == (second.id, second.version)


def console_person() -> OperatorPrincipal:
    operator_id = OperatorId(uuid4())
    return OperatorPrincipal(
        tenant_id=TENANT,
        actor=operator_actor(operator_id),
        correlation_id=CORRELATION,
        operator_id=operator_id,
        session_id=OperatorSessionId(uuid4()),
        authenticated_at=NOW,
        home=TENANT,
        role="tenant_admin",
    )


async def test_to_a_console_person_another_one_agrees_and_no_program() -> None:
    """Before, a person agreed with themselves by a client that they had registered."""
    ground = Ground()
    one = console_person()
    client = IntegratorPrincipal(
        tenant_id=TENANT,
        actor="client:theirs",
        correlation_id=CORRELATION,
        client_id=OAuthClientId(uuid4()),
        scopes=frozenset(SCOPES),
    )
    asked = await ground.approvals.ask(one, "user.erase", uuid4())
    with pytest.raises(Forbidden, match="approval_needs_another_person"):
        await ground.approvals.give(client, asked.id)
    await ground.approvals.give(console_person(), asked.id)


def test_a_console_person_registers_no_client_that_agrees() -> None:
    """Before, an admin could. Nor one that holds it already: who adds a secret has the client."""
    held = grantable(console_person())
    assert "approvals:write" not in held
    assert held >= {"approvals:read", "oauth_clients:write", "verifications:write"}
