"""A platform opened for one command: the same composition, without listeners."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import uuid4

from application.principals import Caller, operator
from domain.ids import TenantId, parse
from infrastructure.edge.listeners import new_event_loop
from interfaces import log_lines
from interfaces.cli.output import notice
from interfaces.composition import Platform
from interfaces.process import prepare
from interfaces.servers import servers
from interfaces.settings import Settings

T = TypeVar("T")


class WrongArgument(Exception):
    """An argument that no command can do anything with."""


def with_platform(command: Callable[[Platform], Awaitable[T]]) -> T:
    """Run one command against the platform's database, starting it if nobody else has."""
    configure_logging("warning")
    settings = Settings.from_environment()

    async def run() -> T:
        async with Platform(settings, found.dsn, found.redis_url) as platform:
            return await command(platform)

    with servers(settings, notice) as found:
        prepare(found)
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            return runner.run(run())


def tenant_of(text: str) -> TenantId:
    """Raises WrongArgument for what is not `ten_…`."""
    found = parse("ten", text)
    if found is None:
        raise WrongArgument(f"{text!r} is not a tenant id (ten_…)")
    return TenantId(found)


def caller(tenant_id: TenantId) -> Caller:
    return operator(tenant_id, uuid4())


def configure_logging(level: str) -> None:
    """Lines of allowed fields on stderr."""
    log_lines.configure(level)
