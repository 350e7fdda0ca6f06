"""While the database is busy or away callers are told to come again, soon and by a stable code."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import psycopg
import pytest
from psycopg_pool import PoolTimeout

from infrastructure.database import APP_ROLE, Connection, Pool, pool
from tests.house.world import House

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENCE_S = 30
TRIES = 30


@asynccontextmanager
async def every_connection(of: Pool) -> AsyncGenerator[list[Connection]]:
    """Hold all that the pool may have."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(of.connection(timeout=PATIENCE_S))
            for _ in range(of.max_size)
        ]


def told_to_come_again(answer: httpx.Response) -> None:
    told = answer.json()
    assert (answer.status_code, told["code"]) == (503, "database_unavailable"), answer.text
    assert told["retryable"]
    assert int(answer.headers["retry-after"]) >= 1


async def test_a_request_does_not_wait_for_ever_for_a_connection(house: House) -> None:
    """With the pool's own time-out of 30 s the client gives up first; as a plain exception of the
    pool's the answer was 500."""
    tenant = await house.tenant()
    async with every_connection(house.platform.app_pool):
        told_to_come_again(await tenant.api.get("/v1/users"))
    assert (await tenant.api.get("/v1/users")).status_code == 200


async def test_a_connection_that_died_is_a_503_and_not_a_bug(house: House) -> None:
    tenant = await house.tenant()
    async with every_connection(house.platform.app_pool) as held:
        processes = [connection.info.backend_pid for connection in held]
    with psycopg.connect(house.platform.dsn, autocommit=True) as admin:
        # The second argument has it wait until they are gone, in milliseconds.
        admin.execute(
            "SELECT pg_terminate_backend(p, 30000) FROM unnest(%s::int[]) AS p", (processes,)
        )
    told_to_come_again(await tenant.api.get("/v1/users"))
    for _ in range(TRIES):
        answer = await tenant.api.get("/v1/users")
        if answer.status_code == 200:
            return
        told_to_come_again(answer)
    pytest.fail("the pool does not come back")


async def test_a_pool_believes_a_silent_network_for_seconds_only(database: str) -> None:
    """libpq's own default is the kernel's: a quarter of an hour."""
    async with pool(f"{database} keepalives_idle=3", APP_ROLE) as opened:
        async with opened.connection() as connection:
            given = connection.info.get_parameters()
        assert given["tcp_user_timeout"] == "10000"
        assert given["connect_timeout"] == "5"
        assert given["keepalives_idle"] == "3"
        async with every_connection(opened):
            with pytest.raises(PoolTimeout):
                await opened.getconn()


async def test_a_position_that_nobody_was_given_is_not_waited_for(house: House) -> None:
    """Once the read model is asked to wait, this hangs: the watch never hears of the position."""
    tenant = await house.tenant()
    waited: list[int] = []

    class Waiting:
        async def wait(self, min_position: int, name: str, timeout_s: float) -> bool:
            del name, timeout_s
            waited.append(min_position)
            return True

    reads = house.platform.reads
    real, reads.positions = reads.positions, Waiting()
    try:
        beyond = await house.end() + 1_000_000
        answer = await tenant.api.get("/v1/users", params={"min_position": beyond})
        assert (answer.status_code, answer.json()["code"]) == (503, "position_not_reached")
        assert waited == []
        known = await house.end()
        assert (await tenant.api.get("/v1/users", params={"min_position": known})).is_success
        assert waited == [known]
    finally:
        reads.positions = real


async def test_a_conflict_is_retryable_only_where_a_repeat_can_help(house: House) -> None:
    """Every 409 said so once, and a client that believed it asked for ever."""
    tenant = await house.tenant()
    taken = await tenant.api.post(
        "/v1/linked-services", json={"product_key": "wallet", "base_url": house.product_url}
    )
    assert (taken.status_code, taken.json()["code"]) == (409, "product_key_taken")
    assert "retryable" not in taken.json()


async def test_every_guarded_route_says_that_it_may_be_unavailable(house: House) -> None:
    wanted = {"event_log_unavailable", "database_unavailable", "overloaded", "shutting_down"}
    for operation in house.contract.operations:
        if operation.described["security"]:
            assert wanted <= set(operation.codes(503)) or operation.id == "issueToken", operation.id
