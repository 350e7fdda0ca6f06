"""Two processes enrol one palm for two people: exactly one does, also when one is killed."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest_asyncio

from domain import enrollment as e
from domain.catalogue import EVENTS, UPCASTERS
from domain.events import Origin, StreamAppend
from domain.ids import PalmRef, TenantId, UserId
from infrastructure.event_log.log import PostgresEventLog
from infrastructure.event_log.mapper import EventMapper
from tests import builders
from tests.house.world import Vendor, plain
from tests.spec import CORRELATION, TENANT

BEA = UserId(uuid4())
CARL = UserId(uuid4())


class Counter(Vendor):
    """A vendor at whose counter `awaited` people must have left their palm before it answers."""

    def __init__(self) -> None:
        super().__init__()
        self.awaited = 1
        self.left = asyncio.Event()
        self.all_left = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def answer(message: Any) -> None:
            if self.adds >= 1:
                self.left.set()
            if self.adds >= self.awaited:
                self.all_left.set()
            if scope["path"] == "/KZ/add":
                await self.all_left.wait()
            await send(message)

        await super().__call__(scope, receive, answer)


class Place(msgspec.Struct, frozen=True):
    """A log with a tenant and two people who agreed, and a vendor."""

    dsn: str
    log: PostgresEventLog
    vendor: Counter
    vendor_url: str

    async def process(self, user_id: UserId) -> asyncio.subprocess.Process:
        """A process that is about to enrol the palm for this person."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.house.intake_process"),
            *(self.dsn, self.vendor_url, str(TENANT), str(user_id)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        return process

    async def owners(self) -> list[UserId]:
        """Whose the palm is, by the log."""
        found = await self.log.read(0, 1000)
        refs = [r.stream_id for r in found if isinstance(r.event, e.EnrollmentCompleted)]
        held = [e.rebuild(await self.log.load(TENANT, ref)) for ref in refs]
        return [each.started.user_id for each in held if each is not None]


@pytest_asyncio.fixture
async def place(database: str) -> AsyncIterator[Place]:
    log = await PostgresEventLog.open(database, EventMapper(EVENTS, UPCASTERS))
    streams: Sequence[tuple[TenantId | UserId, Any]] = (
        (TENANT, [builders.tenant_created()]),
        (BEA, [builders.user_signed_up(), builders.user_consent_granted()]),
        (CARL, [builders.user_signed_up(), builders.user_consent_granted()]),
    )
    origin = Origin(actor="system:test", correlation_id=CORRELATION, command_id=uuid4())
    await log.append(
        origin,
        [
            StreamAppend(tenant_id=TENANT, stream_id=stream, expected_version=0, events=events)
            for stream, events in streams
        ],
    )
    vendor = Counter()
    async with plain(vendor) as vendor_url:
        yield Place(database, log, vendor, vendor_url)
    await log.close()


async def test_two_processes_enrol_one_palm_for_one_person(place: Place) -> None:
    """Both templates are there before either process may search, so both see the other."""
    place.vendor.awaited = 2
    pair = [await place.process(user_id) for user_id in (BEA, CARL)]
    answers = await asyncio.gather(*(each.communicate(b"go\n") for each in pair))
    assert sorted(out.strip() for out, _ in answers) == [b"duplicate_palm", b"enrolled"]
    assert len(await place.owners()) == 1
    assert len(place.vendor.enrolled) == 1, "the other's template went"


async def test_a_process_killed_with_its_template_stored_leaves_the_palm_to_the_other(
    place: Place,
) -> None:
    place.vendor.awaited = 2
    killed = await place.process(BEA)
    assert killed.stdin is not None
    killed.stdin.write(b"go\n")
    await killed.stdin.drain()
    await asyncio.wait_for(place.vendor.left.wait(), 60)
    killed.kill()
    await killed.communicate()
    other = await place.process(CARL)
    assert (await other.communicate(b"go\n"))[0] == b"enrolled\n"
    again = await place.process(BEA)
    assert (await again.communicate(b"go\n"))[0] == b"duplicate_palm\n"
    assert await place.owners() == [CARL]
    left = e.rebuild(await place.log.load(TENANT, _ref_of_killed(place)))
    assert left is not None
    assert (left.status, left.template) == ("rejected", "removing"), "the worker has it to do"


def _ref_of_killed(place: Place) -> PalmRef:
    """The killed process's template is the first that the vendor got."""
    first = next(iter(place.vendor.enrolled))
    return PalmRef(UUID(hex=first.partition(".")[2]))
