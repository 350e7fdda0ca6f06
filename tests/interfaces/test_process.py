"""A process serves, says where, ends when told, and refuses company it cannot count with."""

import asyncio
import ssl
from collections.abc import Sequence
from pathlib import Path

import httpx
import msgspec
import pytest
from cryptography import x509
from structlog.testing import capture_logs

from application.people.erasures import ErasureRounds
from application.transactions.sweeper import Sweeper
from domain.errors import NotFound
from infrastructure.database import APP_ROLE, pool
from infrastructure.keys.keyring import KeyringUnusable
from infrastructure.projections.health import ProjectionHealth
from interfaces.duties import erasure_interrupted
from interfaces.log_lines import WITHHELD, only_allowed
from interfaces.process import ROLES, Addresses, Role, run
from interfaces.readiness import TailReadiness
from interfaces.servers import RedisRequired, Servers
from interfaces.settings import Settings
from tests.builders import USER
from tests.spec import TENANT


def settings(folder: Path, **environ: str) -> Settings:
    given = Settings.from_environment({"LINK_DATA_DIR": str(folder), **environ})
    return msgspec.structs.replace(given, public_port=0, device_port=0)


class Served:
    """One process of the platform, as a task."""

    def __init__(self, given: Settings, servers: Servers, roles: Sequence[Role] = ROLES) -> None:
        self.stop = asyncio.Event()
        self.seeded: list[tuple[str, str]] = []
        self.addresses: asyncio.Future[Addresses] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(
            run(given, servers, roles, self.addresses.set_result, self._seeded, self.stop)
        )

    def _seeded(self, email: str, password: str) -> None:
        self.seeded.append((email, password))

    async def started(self) -> Addresses:
        done, _ = await asyncio.wait(
            (self.addresses, self.task), return_when=asyncio.FIRST_COMPLETED, timeout=60
        )
        if self.task in done:
            self.addresses.cancel()
            self.task.result()
        return await self.addresses

    async def ended(self) -> None:
        self.stop.set()
        await asyncio.wait_for(self.task, 30)


async def test_a_process_ends_cleanly_when_it_is_told_to(database: str, tmp_path: Path) -> None:
    served = Served(settings(tmp_path), Servers(dsn=database, redis_url=None))
    addresses = await served.started()
    assert addresses.ca_file.read_text().startswith("-----BEGIN CERTIFICATE-----")
    assert addresses.first_run
    await served.ended()


async def test_the_internal_listener_says_how_the_process_is(database: str, tmp_path: Path) -> None:
    served = Served(settings(tmp_path), Servers(dsn=database, redis_url=None))
    addresses = await served.started()
    assert addresses.internal.startswith("http://127.0.0.1:")
    async with httpx.AsyncClient(base_url=addresses.internal, trust_env=False) as client:
        assert (await client.get("/live")).json() == {"status": "ok"}
        ready = await client.get("/ready")
        for _ in range(300):
            if ready.status_code == 200:
                break
            await asyncio.sleep(0.1)
            ready = await client.get("/ready")
        assert ready.json() == {
            "ready": True,
            "waiting_for": [],
            "halted_read_models": [],
            "ending_certificates": [],
        }
        measured = await client.get("/metrics")
        assert measured.headers["content-type"].startswith("text/plain; version=")
        for line in (
            'link_connections{listener="internal"} 1.0',
            'link_pool_waiting{pool="app"} 0.0',
            'link_read_model_halted{read_model="devices"} 0.0',
            'link_breakers{state="open"} 0.0',
        ):
            assert line in measured.text.splitlines()
        assert "link_readings_failed_total{" not in measured.text
        missing, wrong = await client.get("/v1/devices"), await client.post("/live")
        assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD")
    await served.ended()


class Fresh:
    """A tail that has seen everything."""

    held = None

    def fresh(self, within_s: float) -> bool:
        return within_s > 0


async def test_a_process_that_is_told_to_end_says_so() -> None:
    readiness = TailReadiness(Fresh(), ProjectionHealth(pool("", APP_ROLE)), list)
    assert await readiness.unready() == []
    readiness.leaving = True
    assert await readiness.unready() == ["shutting_down"]


async def _ends_of_a_bug(_: object) -> int:
    raise ZeroDivisionError


@pytest.mark.parametrize("rounds", [(ErasureRounds, "round"), (Sweeper, "sweep")])
async def test_rounds_that_end_of_a_bug_take_the_process_along(
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rounds: tuple[type[object], str],
) -> None:
    """Seen to serve on without them, unheard, while the erasures' rounds were not watched."""
    monkeypatch.setattr(*rounds, _ends_of_a_bug)
    served = Served(settings(tmp_path), Servers(dsn=database, redis_url=None))
    done, _ = await asyncio.wait((served.task,), timeout=60)
    try:
        assert done, "it serves on"
    finally:
        served.stop.set()
        with pytest.raises(ZeroDivisionError):
            await served.task


@pytest.mark.parametrize("error", [KeyringUnusable("secret words"), NotFound("erasure_not_found")])
def test_what_interrupts_an_erasure_is_told_in_fields_that_may_be_logged(error: Exception) -> None:
    with capture_logs() as lines:
        erasure_interrupted(TENANT, USER, error)
    (line,) = lines
    level = line.pop("log_level")
    told = only_allowed(None, level, line)
    assert told["event"] == "erasure_interrupted"
    assert (told["tenant"], told["id"]) == (str(TENANT), str(USER))
    assert [each["class"] for each in told["exception"]] == [type(error).__name__]
    assert "withheld" not in told
    assert WITHHELD not in told.values()


async def test_two_processes_without_redis_are_refused(database: str, tmp_path: Path) -> None:
    """Each would count to the whole budget; seen to pass without the lock taken out."""
    servers = Servers(dsn=database, redis_url=None)
    first = Served(settings(tmp_path), servers)
    await first.started()
    with pytest.raises(RedisRequired):
        await Served(settings(tmp_path), servers).started()
    await first.ended()
    third = Served(settings(tmp_path), servers)
    await third.started()
    await third.ended()


@pytest.mark.parametrize("roles", [("api",), ("edge",), ("worker",), ("api", "edge")])
async def test_a_process_of_some_roles_needs_redis(
    database: str, tmp_path: Path, roles: tuple[Role, ...]
) -> None:
    with pytest.raises(RedisRequired):
        await Served(settings(tmp_path), Servers(dsn=database, redis_url=None), roles).started()


async def test_the_listeners_certificate_names_the_host_that_callers_use(
    database: str, tmp_path: Path
) -> None:
    given = settings(tmp_path, LINK_ISSUER="https://id.example.com:8443")
    assert given.device_url == "https://id.example.com:8444"
    given = msgspec.structs.replace(given, public_port=23443)
    served = Served(given, Servers(dsn=database, redis_url=None))
    addresses = await served.started()
    trust = ssl.create_default_context(cafile=str(addresses.ca_file))
    _, writer = await asyncio.open_connection(
        "127.0.0.1", 23443, ssl=trust, server_hostname="id.example.com"
    )
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert "id.example.com" in names.value.get_values_for_type(x509.DNSName)
    async with httpx.AsyncClient(verify=trust, trust_env=False) as client:
        assert (await client.get("https://localhost:23443/live")).status_code == 200
    await served.ended()
