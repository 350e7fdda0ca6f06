"""One process that enrols a palm: prints "ready", waits for a line, prints what came of it."""

import asyncio
import hashlib
import sys
from typing import Literal
from uuid import UUID, uuid4, uuid5

from application.palms.enrollment_endings import EnrollmentEndings
from application.palms.palm_intake import PalmIntake
from application.palms.templates import Templates
from application.ports import Candidates, Scan
from application.principals import Caller
from domain import tenant as t
from domain.catalogue import EVENTS, UPCASTERS
from domain.errors import Refusal
from domain.ids import PalmRef, TenantId, UserId
from infrastructure.clock import SystemClock
from infrastructure.event_log.log import PostgresEventLog
from infrastructure.event_log.mapper import EventMapper
from infrastructure.ids import RandomIds
from infrastructure.outbound.client import OutboundClient
from infrastructure.outbound.egress import EgressGuard, SystemResolver
from infrastructure.palm_xtelcom import XTelcomPalmVerifier
from tests.builders import enrollment_started

PALM = b"a palm that two people say is theirs"
PATIENCE_S = 120.0
"""In place of every deadline: a busy machine shall not decide who wins."""


class Patient:
    """The vendor, given as long as it needs."""

    def __init__(self, palms: XTelcomPalmVerifier) -> None:
        self._palms = palms

    async def identify(
        self, tenant_key: str, scan: Scan, *, k: int, deadline_s: float
    ) -> Candidates:
        return await self._palms.identify(
            tenant_key, scan, k=k, deadline_s=max(PATIENCE_S, deadline_s)
        )

    async def enroll(
        self, tenant_key: str, palm_ref: PalmRef, scan: Scan, *, deadline_s: float
    ) -> str:
        return await self._palms.enroll(
            tenant_key, palm_ref, scan, deadline_s=max(PATIENCE_S, deadline_s)
        )

    async def delete(
        self, tenant_key: str, palm_ref: PalmRef, *, deadline_s: float
    ) -> Literal["deleted", "absent", "not_supported"]:
        return await self._palms.delete(
            tenant_key, palm_ref, deadline_s=max(PATIENCE_S, deadline_s)
        )


async def enroll(
    log: PostgresEventLog, palms: Patient, tenant_id: TenantId, user_id: UserId
) -> str:
    clock = SystemClock()
    ids = RandomIds(clock)
    tenant = t.rebuild(await log.load(tenant_id, tenant_id))
    assert tenant is not None
    scan = Scan(
        format="biowave.rgb_ir.v1",
        rgb=PALM,
        ir=PALM[::-1],
        hand="left",
        sha256=hashlib.sha256(PALM).hexdigest(),
    )
    started = enrollment_started(user_id=user_id, hand="left", scan_sha256=scan.sha256)
    caller = Caller(tenant_id=tenant_id, actor="system:test", correlation_id=uuid4())
    endings = EnrollmentEndings(log, Templates(log, palms, ids), ids)
    intake = PalmIntake(log, palms, endings, clock, ids)
    try:
        await intake.take(caller, tenant, started, scan, uuid5(user_id, "enrol"))
    except Refusal as refusal:
        return refusal.code
    return "enrolled"


async def main(dsn: str, vendor_url: str, tenant_id: TenantId, user_id: UserId) -> None:
    log = await PostgresEventLog.open(dsn, EventMapper(EVENTS, UPCASTERS))
    outbound = OutboundClient(EgressGuard(("127.0.0.1",), True, SystemResolver()))
    try:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)
        palms = Patient(XTelcomPalmVerifier(vendor_url, outbound, SystemClock()))
        sys.stdout.write(f"{await enroll(log, palms, tenant_id, user_id)}\n")
    finally:
        await outbound.close()
        await log.close()


if __name__ == "__main__":
    asyncio.run(
        main(
            sys.argv[1],
            sys.argv[2],
            TenantId(UUID(sys.argv[3])),
            UserId(UUID(sys.argv[4])),
        )
    )
