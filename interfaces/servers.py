"""The servers underneath: yours when the environment names them, ours otherwise."""

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager

import msgspec

from infrastructure.embedded.postgres import EmbeddedPostgres
from infrastructure.embedded.redis import EmbeddedRedis, redis_program
from interfaces.settings import Settings

NO_REDIS = (
    "No Redis: there is no redis-server or valkey-server on the PATH and no bundled one for this"
    " Python. Rate limits are kept in this process; run everything in one process, or set"
    " LINK_REDIS_URL."
)


class RedisRequired(Exception):
    """Several processes share their budgets through Redis, and there is none."""


class Servers(msgspec.Struct, frozen=True, kw_only=True):
    """Where the database is, and Redis if there is one."""

    dsn: str
    redis_url: str | None


@contextmanager
def servers(settings: Settings, notice: Callable[[str], None]) -> Generator[Servers]:
    """Start or attach to what is embedded, for as long as the block runs."""
    with ExitStack() as stack:
        dsn = settings.database_url
        if dsn is None:
            postgres = EmbeddedPostgres(
                settings.data_dir, tcp_port=settings.postgres_port, notice=notice
            )
            dsn = stack.enter_context(postgres).dsn()
        redis_url = settings.redis_url
        if redis_url is None:
            program = redis_program()
            if program is None:
                notice(NO_REDIS)
            else:
                redis_url = stack.enter_context(EmbeddedRedis(settings.data_dir, program)).url()
        yield Servers(dsn=dsn, redis_url=redis_url)
