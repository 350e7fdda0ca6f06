"""The transparency log through the door: an auditor with nothing but a token and a verifier key."""

import asyncio
from uuid import uuid4

import httpx
import pytest

from domain.ids import PLATFORM
from domain.transparency.leaf import read
from domain.transparency.merkle import check_consistency, fold, leaf_hash
from domain.transparency.note import VerifierKey, read_note, read_vkey
from domain.transparency.proof import check_proof, open_checkpoint, read_proof
from domain.transparency.tiles import (
    bundles_of,
    read_bundle,
    split_hashes,
    tile_path,
    tiles_of,
)
from infrastructure.transparency.ed25519 import verify
from tests.house.samples import stage
from tests.house.world import House, Tenancy

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENCE_S = 60.0
LOG = "/v1/audit/log"


async def key_of(house: House, tenant: Tenancy) -> VerifierKey:
    """As published beside the JWKS, for anybody."""
    public = await house.client(house.public_url)
    got = await public.get(
        "/.well-known/transparency-log.json", params={"tenant_id": f"ten_{tenant.tenant_id.hex}"}
    )
    assert got.status_code == 200, got.text
    key = read_vkey(got.json()["log"]["vkey"])
    assert key.name == got.json()["log"]["origin"]
    return key


async def last_event(house: House, tenant: Tenancy) -> int:
    """Something happens; where in the log it stands, as the answer says."""
    made = await tenant.api.post("/v1/devices", json={"type": "personal_scanner", "name": "One"})
    assert made.status_code == 201, made.text
    return int(made.headers["log-position"])


async def proof_of(tenant: Tenancy, **params: object) -> httpx.Response:
    """Asked until the checkpoint is there; a busy machine may take longer than the house waits."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            got = await tenant.api.get(
                f"{LOG}/proof", params={k: str(v) for k, v in params.items()}
            )
            if got.status_code != 503:
                return got
            assert got.json()["code"] == "position_not_reached"


async def test_an_auditor_rebuilds_the_log_from_its_files(house: House) -> None:
    tenant = await house.tenant()
    await house.device(tenant)
    position = await last_event(house, tenant)
    await proof_of(tenant, event_id=position)
    key = await key_of(house, tenant)
    got = await tenant.api.get(f"{LOG}/checkpoint")
    assert got.headers["content-type"] == "text/plain; charset=utf-8"
    assert got.headers["checkpoint-final"] == "true"
    checkpoint = open_checkpoint(read_note(got.text), key, verify)
    leaves: list[bytes] = []
    for bundle in bundles_of(checkpoint.size):
        found = await tenant.api.get(f"{LOG}/{tile_path(bundle)}")
        assert found.headers["content-type"] == "application/octet-stream"
        leaves += read_bundle(found.content)
    hashes: list[bytes] = []
    for tile in tiles_of(checkpoint.size):
        found = await tenant.api.get(f"{LOG}/{tile_path(tile)}")
        hashes += split_hashes(found.content) if tile.level == 0 else []
    assert hashes == [leaf_hash(leaf) for leaf in leaves]
    assert fold(hashes) == checkpoint.root
    events = [read(leaf) for leaf in leaves]
    assert {event.tenant_id for event in events} == {tenant.tenant_id}
    names = await house.events(tenant)
    assert [event.name for event in events] == names[: len(events)]
    assert events[-1].position >= position


async def test_an_event_is_proved_by_its_position_its_stream_and_its_index(house: House) -> None:
    tenant = await house.tenant()
    made = await tenant.api.post("/v1/devices", json={"type": "personal_scanner", "name": "One"})
    device_id = made.json()["id"]
    key = await key_of(house, tenant)
    by_stream = await proof_of(tenant, event_id=f"{device_id}:1")
    assert by_stream.headers["content-type"] == "text/plain; charset=utf-8"
    proof = read_proof(by_stream.text)
    bundle = await tenant.api.get(f"{LOG}/tile/entries/000.p/{proof.index + 1}")
    leaf = read_bundle(bundle.content)[-1]
    check_proof(proof, leaf, key, verify)
    event = read(leaf)
    assert (event.name, event.stream_id.hex) == ("device.registered", device_id[4:])
    by_position = await proof_of(tenant, event_id=event.position)
    assert read_proof(by_position.text).index == proof.index
    by_index = await proof_of(tenant, index=proof.index, final="true")
    assert read_proof(by_index.text).index == proof.index


async def test_the_log_only_grows(house: House) -> None:
    tenant = await house.tenant()
    key = await key_of(house, tenant)
    sizes: list[tuple[int, bytes]] = []
    for _ in range(2):
        position = await last_event(house, tenant)
        got = await proof_of(tenant, event_id=position)
        found = open_checkpoint(read_proof(got.text).checkpoint, key, verify)
        sizes.append((found.size, found.root))
    (old, old_root), (new, new_root) = sizes
    got = await tenant.api.get(f"{LOG}/consistency", params={"old": old, "size": new})
    assert got.status_code == 200
    assert got.headers["cache-control"].endswith("immutable")
    lines = read_proof(f"c2sp.org/tlog-proof@v1\nindex 0\n{got.text}\n{_any_note()}").path
    check_consistency(old, old_root, new, new_root, lines)


def _any_note() -> str:
    return "text\n\n— name AAAAAAA=\n"


async def test_the_log_describes_itself(house: House) -> None:
    tenant = await house.tenant()
    position = await last_event(house, tenant)
    await proof_of(tenant, event_id=position)
    got = (await tenant.api.get(LOG)).json()
    assert got["origin"] == f"localhost:8443/tenants/ten_{tenant.tenant_id.hex}"
    assert read_vkey(got["vkey"]) == await key_of(house, tenant)
    assert got["size"] == got["final_size"] > 0
    assert (got["witnesses"], got["witnesses_required"]) == ([], 0)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"event_id": "1", "index": "1"},
        {"index": "-1"},
        {"index": str(2**63)},
        {"index": "1" * 400},
        {"index": "one"},
        {"index": ""},
        {"event_id": ""},
        {"event_id": "a" * 81},
        {"event_id": "1'; DROP TABLE events; --"},
        {"event_id": "../../etc/passwd"},
        {"event_id": "null"},
        {"event_id": "1\n"},
        {"event_id": "1", "tree": "everybody"},
        {"event_id": "1", "final": "perhaps"},
    ],
)
async def test_a_proof_request_that_makes_no_sense(house: House, params: dict[str, str]) -> None:
    tenant = await house.tenant()
    got = await tenant.api.get(f"{LOG}/proof", params=params)
    assert (got.status_code, got.json()["code"]) == (400, "invalid_request")


async def test_what_is_not_there_and_what_is_not_yours_look_the_same(house: House) -> None:
    mine, theirs = await house.tenant(), await house.tenant()
    position = await last_event(house, theirs)
    made = await theirs.api.post("/v1/devices", json={"type": "personal_scanner", "name": "Two"})
    own = await proof_of(mine, event_id=await last_event(house, mine))
    size = read_proof(own.text).index + 1
    answers: list[tuple[int, dict[str, object]]] = []
    for params in (
        {"event_id": str(position)},
        {"event_id": f"{made.json()['id']}:1"},
        {"event_id": f"dev_{uuid4().hex}:1"},
        {"event_id": str(2**62)},
        {"event_id": str(2**70)},
        {"event_id": "0"},
        {"event_id": "-1"},
        {"event_id": "007"},
        {"event_id": "nonsense"},
        {"event_id": ":"},
        {"index": str(size + 1000)},
        {"index": str(2**62)},
    ):
        got = await mine.api.get(f"{LOG}/proof", params=params)
        told = got.json()
        told.pop("request_id")
        answers.append((got.status_code, told))
    assert all(answer == answers[0] for answer in answers)
    assert (answers[0][0], answers[0][1]["code"]) == (404, "event_not_found")


@pytest.mark.parametrize(
    ("old", "size", "status"),
    [
        (0, 1, 400),
        (1, 0, 400),
        (-1, 1, 400),
        (2, 1, 404),
        (1, 10**6, 404),
        (2**62, 2**62, 404),
        (1, 2**63, 400),
    ],
)
async def test_consistency_of_sizes_that_the_log_does_not_have(
    house: House, old: int, size: int, status: int
) -> None:
    tenant = await house.tenant()
    await proof_of(tenant, event_id=await last_event(house, tenant))
    got = await tenant.api.get(f"{LOG}/consistency", params={"old": old, "size": size})
    code = "invalid_request" if status == 400 else "tree_not_found"
    assert (got.status_code, got.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    "path",
    [
        "0/000",
        "0/001",
        "0/000.p/200",
        "0/000.p/0",
        "0/000.p/256",
        "0/x000/001",
        "5/000.p/1",
        "64/000",
        "-1/000",
        "entries/000",
        "entries/x999/x999/999",
        "entries/..%2f..%2fcheckpoint",
        "%00",
        "0/" + "x999/" * 40 + "999",
    ],
)
async def test_a_tile_that_is_not_there(house: House, path: str) -> None:
    tenant = await house.tenant()
    await proof_of(tenant, event_id=await last_event(house, tenant))
    got = await tenant.api.get(f"{LOG}/tile/{path}")
    assert (got.status_code, got.json()["code"]) == (404, "tile_not_found")


async def test_before_anything_is_signed_there_is_no_checkpoint(house: House) -> None:
    at = await stage(house)
    unheard = await house.client(house.public_url)
    token = await house.token(PLATFORM, "devices:read")
    unheard.headers["authorization"] = f"Bearer {token}"
    assert (await unheard.get(f"{LOG}/checkpoint")).status_code == 403
    got = await at.tenant.api.get(f"{LOG}/checkpoint", params={"tree": "platform"})
    assert (got.status_code, got.json()["code"]) == (404, "log_not_found")


async def test_the_platforms_tree_is_for_the_platforms_own_clients(house: House) -> None:
    """Its leaves are checkpoints of tenants; a tenant is told that there is no such log."""
    tenant = await house.tenant()
    await proof_of(tenant, event_id=await last_event(house, tenant))
    auditor = await house.client(house.public_url)
    auditor.headers["authorization"] = f"Bearer {await house.token(PLATFORM, 'audit:read')}"
    public = await house.client(house.public_url)
    keys = (await public.get("/.well-known/transparency-log.json")).json()
    assert keys["log"] is None
    key = read_vkey(keys["platform"]["vkey"])
    origins: set[str] = set()
    async with asyncio.timeout(PATIENCE_S):
        while f"localhost:8443/tenants/ten_{tenant.tenant_id.hex}" not in origins:
            got = await auditor.get(f"{LOG}/checkpoint", params={"tree": "platform"})
            if got.status_code == 404:
                assert got.json()["code"] == "checkpoint_not_found"
                continue
            checkpoint = open_checkpoint(read_note(got.text), key, verify)
            for bundle in bundles_of(checkpoint.size):
                found = await auditor.get(f"{LOG}/{tile_path(bundle)}", params={"tree": "platform"})
                origins |= {leaf.split(b"\n")[0].decode() for leaf in read_bundle(found.content)}
    for path in (
        "",
        "/checkpoint",
        "/tile/0/000.p/1",
        "/proof?index=0",
        "/consistency?old=1&size=1",
    ):
        joined = "&" if "?" in path else "?"
        got = await tenant.api.get(f"{LOG}{path}{joined}tree=platform")
        assert (got.status_code, got.json()["code"]) == (404, "log_not_found")


async def test_a_key_is_told_for_any_tenant_whether_there_is_one_or_not(house: House) -> None:
    public = await house.client(house.public_url)
    for tenant_id, status in (
        (f"ten_{uuid4().hex}", 200),
        ("ten_1", 400),
        ("", 400),
        (uuid4().hex, 400),
        (f"ten_{'A' * 32}", 400),
    ):
        got = await public.get(
            "/.well-known/transparency-log.json", params={"tenant_id": tenant_id}
        )
        assert got.status_code == status, tenant_id
