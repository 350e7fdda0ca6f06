"""A person is erased over the wire: nothing is left, and the log still says so and proves it."""

import asyncio
import base64
import io
import logging
from collections.abc import Generator
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
import structlog
from psycopg import sql
from redis.asyncio import Redis

from application.ports import CommitFailed
from domain.erasure import erasure_id
from domain.events import Recorded
from domain.ids import UserId, parse
from domain.transparency.note import read_vkey
from infrastructure.event_log.blocks import verify_blocks
from infrastructure.keys.key_rotation import rotate
from infrastructure.log_export.directory import ExportDirectory
from infrastructure.log_export.export import WriteRows, export
from infrastructure.log_export.shown_rows import write_rows
from infrastructure.log_export.verification import Trust, verify
from interfaces.cli.session import configure_logging
from projections.catalogue import READ_MODELS
from tests.house.canaries import Canaries, cluster_files, forms
from tests.house.world import House, PairedDevice, Tenancy, opened, scan, transaction

pytestmark = pytest.mark.asyncio(loop_scope="session")

MOBILE = "+966512345678"
PALM = b"the palm of somebody who leaves"
WORDS = "I, Sara Al-Otaibi, agree to the use of my palm"
SAID = {"display_message": "Thank you, Sara Al-Otaibi", "reference_id": "sara.otaibi.77"}
PLANTED = "planted-to-be-found"
PERSONAL = (
    "personal_keys",
    "personal_data",
    "product_texts",
    "otp_challenges",
    "enrollment_grants",
    "user_sessions",
)
STEPS = ["requested", "access_ended", "keys_destroyed", "templates_removed", "completed"]


def user(wire_id: str) -> UserId:
    found = parse("usr", wire_id)
    assert found is not None
    return UserId(found)


async def rows_of(house: House) -> dict[str, list[tuple[Any, ...]]]:
    """Every read model as it is, once it has seen the whole log."""
    end = await house.end()
    found: dict[str, list[tuple[Any, ...]]] = {}
    for model in READ_MODELS:
        assert await house.platform.runner.wait(end, model.name, 60)
        async with house.platform.projector_pool.connection() as connection:
            for table in model.tables:
                query = f"SELECT t::text FROM read_models.{table} t ORDER BY 1"  # noqa: S608
                found[table] = await (await connection.execute(query.encode())).fetchall()
    return found


async def erase(device: PairedDevice, user_id: str, reference: str = "DSR-17") -> dict[str, Any]:
    answer = await device.tenant.api.post(
        f"/v1/users/{user_id}/dsr/erasure", json={"reference": reference}
    )
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


async def all_of_redis(redis: Redis) -> bytes:
    """Every key and value byte for byte; a dump by Redis itself may be compressed and hide some."""
    found: list[bytes] = []
    key: Any
    for key in await redis.keys("*"):
        match await redis.type(key):
            case b"string":
                parts: Any = [await redis.get(key)]
            case b"hash":
                parts = [part for pair in (await redis.hgetall(key)).items() for part in pair]
            case b"zset":
                parts = await redis.zrange(key, 0, -1)
            case kind:
                raise AssertionError(f"{key!r} is a {kind!r}")
        found += [bytes(part) for part in (key, *parts)]
    return b"\n".join(found)


def rows_for(house: House, tenant: Tenancy) -> WriteRows:
    async def rows(directory: ExportDirectory) -> int:
        return await write_rows(house.platform.dsn, directory, READ_MODELS, tenant.tenant_id)

    return rows


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Generator[io.StringIO]:
    """All that the house and its libraries write to the log, at the lowest level.

    What a library says stands there twice: as the house writes it, without words, and in full.
    """
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    configure_logging("debug")
    # A logger that keeps this configuration would go on writing here in later tests.
    structlog.configure(cache_logger_on_first_use=False)
    root.addHandler(logging.StreamHandler(written))
    root.setLevel(logging.DEBUG)
    yield written
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


async def test_no_form_of_a_value_is_left_anywhere(
    database: str, tmp_path: Path, redis_url: str, logged: io.StringIO
) -> None:
    """Nothing lies open before the erasure either: what the tables hold of a person is sealed.

    So what is looked at before is that it is held: the rows are there, and the export opens them.
    Every search is shown to find what is there: in tables, files and the export the erasure's
    reference, which the house itself keeps, and in Redis and the log what is put there for that.

    Seen to fail when challenges are not deleted and hold their destination in clear, when an
    event is given the mobile or what the product wrote, when a budget in Redis is counted under
    the mobile itself, and when a line of the log quotes it.
    """
    palm = (base64.b64encode(PALM).decode(), PALM.decode())
    canaries = Canaries(MOBILE, WORDS, *palm, *SAID.values())
    planted = Canaries(PLANTED)
    redis = Redis.from_url(redis_url)
    await redis.flushdb()
    async with opened(database, tmp_path / "data", redis_url=redis_url) as house:
        tenant = await house.tenant()
        till = await house.device(tenant)
        user_id = await house.person(till, MOBILE, PALM)
        agreed = {"user_id": user_id, "consent_type": "marketing", "version": "1", "text": [WORDS]}
        assert (await till.http.post("/v1/device/consent", json=agreed)).status_code == 201
        house.product.says |= SAID
        asked = transaction(PALM)
        told = await till.http.post("/v1/device/transactions", json=asked)
        assert told.json()["display_message"] == SAID["display_message"]
        again = await till.http.post("/v1/device/transactions", json=asked)
        assert again.content == told.content
        exported = await tenant.api.post(f"/v1/users/{user_id}/dsr/access", json={})
        assert MOBILE in exported.text
        vault = [item for item in exported.json()["items"] if item["source"] == "vault"]
        (text,) = [item for item in vault if item["name"] == "product_text"]
        assert (text["id"], text["value"]) == (told.json()["transaction_id"], SAID)
        assert WORDS in exported.text
        browser = await house.signed_in(tenant, MOBILE)
        now = dict.fromkeys(PERSONAL, 1) | {"personal_data": 2, "otp_challenges": 2}
        assert held(database, user(user_id)) == now
        assert canaries.in_tables(database) == {}, "it is sealed"
        house.vendor.enrolled["another"] = "template"
        assert (await erase(till, user_id, PLANTED))["status"] == "completed"
        assert held(database, user(user_id)) == dict.fromkeys(PERSONAL, 0)
        assert (await browser.get("/v1/auth/sessions")).status_code == 401
        again = await till.http.post("/v1/device/transactions", json=asked)
        gone = {"display_message": "", "product_reference": None, "shredded": True}
        assert again.json() == told.json() | gone
        before = await rows_of(house)
        async with house.platform.projector_pool.connection() as connection:
            assert await verify_blocks(connection) > 0
        for model in READ_MODELS:
            await house.platform.runner.rebuild(model.name)
        assert await rows_of(house) == before, "a rebuild says what the live one said"
        assert list(house.vendor.enrolled) == ["another"]
        assert await all_of_redis(redis), "budgets are counted there"
        assert canaries.in_bytes(await all_of_redis(redis)) == set()
        await prove_search_of_redis(redis)
        told_log = house.platform.transparency.logs
        await export(told_log, tenant.tenant_id, tmp_path / "export", rows=rows_for(house, tenant))
        exported_files = [path for path in (tmp_path / "export").rglob("*") if path.is_file()]
        assert len(exported_files) > 5
        assert canaries.in_files(exported_files) == {}
        assert planted.in_files(exported_files)
        trust = Trust(log_key=read_vkey(told_log.identity(tenant.tenant_id).vkey))
        verdict = await asyncio.to_thread(verify, tmp_path / "export", trust)
        assert (verdict.ok, verdict.reason) == (True, None)
        exported = await tenant.api.post(f"/v1/users/{user_id}/dsr/access", json={})
        assert canaries.in_bytes(exported.content) == set()
        assert planted.in_bytes(exported.content)
        assert [item for item in exported.json()["items"] if item["source"] == "vault"] == []
    assert canaries.in_tables(database) == {}
    assert "public.events" in planted.in_tables(database)
    files = await asyncio.to_thread(cluster_files, database)
    assert canaries.in_files(files) == {}
    assert planted.in_files(files)
    assert canaries.in_bytes(logged.getvalue().encode()) == set()
    structlog.get_logger().debug(PLANTED)
    logging.getLogger("a library").debug("%s", PLANTED.upper())
    assert planted.in_bytes(logged.getvalue().encode())
    assert Canaries(PLANTED.upper()).in_bytes(logged.getvalue().encode())
    await redis.aclose()


def held(database: str, user_id: UserId) -> dict[str, int]:
    """How many rows each table of people has of this one."""
    with psycopg.connect(database, autocommit=True) as connection:
        counts: dict[str, int] = {}
        for table in PERSONAL:
            query = sql.SQL("SELECT count(*) FROM {} WHERE user_id = %s")
            found = connection.execute(query.format(sql.Identifier(table)), (user_id,)).fetchone()
            assert found is not None
            counts[table] = found[0]
        return counts


async def prove_search_of_redis(redis: Redis) -> None:
    """Whatever the kind of key and wherever in it; forms that are no text as well."""
    for number, content in enumerate(forms(PLANTED).values()):
        for put in (
            redis.set(content, b""),
            redis.set("planted", content),
            redis.hset("planted", content, b""),
            redis.hset("planted", b"field", content),
            redis.zadd("planted", {content: number}),
        ):
            await redis.delete("planted", content)
            await put
            assert Canaries(PLANTED).in_bytes(await all_of_redis(redis))
        await redis.delete("planted", content)
    assert Canaries(PLANTED).in_bytes(await all_of_redis(redis)) == set()


async def test_the_certificate_proves_every_step(house: House) -> None:
    tenant = await house.tenant()
    till = await house.device(tenant)
    user_id = await house.person(till, house.mobile(), b"somebody with a receipt")
    path = f"/v1/users/{user_id}/dsr/erasure"
    assert (await tenant.api.get(path)).json()["code"] == "erasure_not_found"
    shown = await erase(till, user_id)
    assert shown["status"] == "completed"
    assert [step["step"] for step in shown["steps"]] == STEPS
    assert (await tenant.api.get(path)).json() == shown
    receipt = (await tenant.api.get(f"{path}/certificate")).json()
    assert receipt["user_id"] == user_id
    assert "template_deletion_by_vendor" in receipt["techniques"]
    assert [step["step"] for step in receipt["steps"]] == STEPS
    for step, told in zip(receipt["steps"], shown["steps"], strict=True):
        assert step["proof"].startswith("c2sp.org/tlog-proof@v1\n")
        assert (step["position"], step["at"]) == (told["position"], told["at"])
    newest = {"min_position": str(await house.end()), "status": "completed"}
    (listed,) = (await tenant.api.get("/v1/erasures", params=newest)).json()["items"]
    assert (listed["user_id"], listed["reference"]) == (user_id, "DSR-17")
    person = (await tenant.api.get(f"/v1/users/{user_id}")).json()
    assert (person["status"], person["palms"]) == ("erased", [])


async def test_a_vendor_that_cannot_delete_leaves_it_visibly_pending(house: House) -> None:
    tenant = await house.tenant()
    till = await house.device(tenant)
    palm = b"somebody whom the vendor keeps"
    user_id = await house.person(till, house.mobile(), palm)
    path = f"/v1/users/{user_id}/dsr/erasure"

    async def refuse(asked: str) -> tuple[int, bytes]:
        return 501, b""

    house.vendor.script = refuse
    shown = await erase(till, user_id)
    assert (shown["status"], len(shown["pending_palms"])) == ("pending", 1)
    house.vendor.script = None
    told = await till.http.post("/v1/device/transactions", json=transaction(palm))
    assert told.json()["decision"] == "not_recognized"
    early = await tenant.api.get(f"{path}/certificate")
    assert (early.status_code, early.json()["code"]) == (409, "erasure_not_completed")
    newest = {"min_position": str(await house.end()), "status": "pending"}
    (listed,) = (await tenant.api.get("/v1/erasures", params=newest)).json()["items"]
    assert listed["pending_palms"] == shown["pending_palms"]
    assert (await erase(till, user_id))["status"] == "completed"


OF_THEIR_OWN = ("user_session", "verification", "identification", "palm_challenge")


async def test_an_export_says_what_is_held_and_that_it_was_shown(house: House) -> None:
    tenant = await house.tenant()
    till = await house.device(tenant)
    mobile = house.mobile()
    user_id = await house.person(till, mobile, b"somebody who is curious")
    await till.http.post("/v1/device/transactions", json=transaction(b"somebody who is curious"))
    await house.signed_in(tenant, mobile)
    await house.signed_in(tenant)
    shown = {"scan": scan(b"somebody who is curious")}
    compared = await tenant.api.post("/v1/verifications", json={"user_id": user_id, **shown})
    named = await tenant.api.post("/v1/identifications", json=shown)
    asked = {"user_id": user_id, "device_id": till.id, "hand": "right"}
    challenge = await tenant.api.post("/v1/enrollments", json=asked)
    for each in (compared, named, challenge):
        assert each.status_code in (200, 201), each.text
    answer = await tenant.api.post(f"/v1/users/{user_id}/dsr/access", json={"reference": "DSR-18"})
    assert answer.status_code == 200, answer.text
    items = answer.json()["items"]
    found = [(item["name"], item["id"]) for item in items if item["source"] in OF_THEIR_OWN]
    assert [name for name, _ in found] == [
        "user_session.started",
        "verification.completed",
        "identification.completed",
        "palm_challenge.opened",
    ]
    assert {compared.json()["id"], named.json()["id"], challenge.json()["id"]} < {
        public for _, public in found
    }
    said = {"display_message": "Approved", "reference_id": "ref_1"}
    assert [item["value"] for item in items if item["source"] == "vault"] == [mobile, said]
    names = {(item["source"], item["name"]) for item in items}
    assert {
        ("user", "user.signed_up"),
        ("user", "user.consent_granted"),
        ("enrollment", "enrollment.completed"),
        ("transaction", "transaction.identified"),
        ("transaction", "transaction.allowed"),
        ("access", "personal_data.accessed"),
    } <= names
    newest = {"min_position": str(await house.end())}
    path = f"/v1/users/{user_id}/accesses"
    (access,) = (await tenant.api.get(path, params=newest)).json()["items"]
    assert (access["purpose"], access["reference"]) == ("data_subject_request", "DSR-18")
    assert access["fields"] == ["history", "mobile", "product_text"]


async def test_an_erasure_that_a_process_left_behind_is_finished_by_a_worker(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies after the request is durable; another one starts and finds it."""
    monkeypatch.setattr("interfaces.duties.EVERY_S", 0.2)
    async with opened(database, tmp_path / "data") as house:
        tenant = await house.tenant()
        till = await house.device(tenant)
        user_id = await house.person(till, house.mobile(), PALM)

        async def die(*_: Any) -> None:
            raise CommitFailed

        monkeypatch.setattr(house.platform.services.erasures, "advance", die)
        died = await tenant.api.post(f"/v1/users/{user_id}/dsr/erasure", json={})
        assert died.status_code == 503
    vendor = house.vendor
    assert vendor.enrolled
    async with opened(database, tmp_path / "data", vendor=vendor) as again:
        steps: list[Recorded] = []
        while len(steps) < len(STEPS):
            found: UUID = erasure_id(user(user_id))
            steps = list(await again.platform.log.load(tenant.tenant_id, found))
            await asyncio.sleep(0.05)
        assert [step.event.NAME for step in steps] == [f"erasure.{step}" for step in STEPS]
        assert {step.actor for step in steps[1:]} == {"system:erasure"}
    assert vendor.enrolled == {}


async def test_an_erasure_goes_through_while_the_key_is_rotated(house: House) -> None:
    tenant = await house.tenant()
    till = await house.device(tenant)
    user_id = await house.person(till, house.mobile(), b"somebody in the middle of it")
    await rotate(house.platform.dsn, house.platform.keeper)
    assert (await erase(till, user_id))["status"] == "completed"
