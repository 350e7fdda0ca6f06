"""The palm server finds whom it knows, refuses whom it does not, and survives its own death."""

import base64
import io
import os
import re
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from examples.palm_server import features, protocol
from examples.palm_server.gallery import Gallery, GalleryCorrupt, UserIdTaken
from examples.palm_server.measure import measure
from examples.palm_server.server import BODY_MAX, PalmServer
from examples.synthetic_palms import Capture, Palm, blurred_capture, capture, no_hand

ROOT = Path(__file__).parents[2]
PEOPLE = 8


def look(palm: Palm, seed: int) -> Capture:
    return capture(palm, np.random.default_rng([palm.person, seed]))


def images(seen: Capture) -> dict[str, str]:
    return {name: base64.b64encode(getattr(seen, name)).decode() for name in ("rgb", "ir")}


class Client:
    """Asks a server and gives back its answer, which is always the protocol's JSON."""

    def __init__(self, app: PalmServer) -> None:
        self._http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url="http://palm"
        )

    async def post(self, path: str, content: bytes | dict[str, Any]) -> dict[str, Any]:
        if isinstance(content, dict):
            response = await self._http.post(path, json=content)
        else:
            response = await self._http.post(path, content=content)
        answer: dict[str, Any] = response.json()
        assert set(answer) == {"code", "msg", "data"}
        return answer

    async def health(self) -> dict[str, Any]:
        answer: dict[str, Any] = (await self._http.get("/KZ/health")).json()
        return answer

    async def add(self, user_id: str, palm: Palm, seed: int = 0) -> dict[str, Any]:
        body = {"user_id": user_id, "hand": palm.hand, **images(look(palm, seed))}
        return await self.post("/KZ/add", body)

    async def query(self, palm: Palm, seed: int, **more: object) -> dict[str, Any]:
        return await self.post("/KZ/query", {**images(look(palm, seed)), **more})


@pytest.fixture
def server(tmp_path: Path) -> Client:
    return Client(PalmServer(tmp_path))


def accepted(answer: dict[str, Any]) -> list[str]:
    """The user ids that pass all four thresholds."""
    thresholds = answer["data"]["thresholds"]
    return [
        result["user_id"]
        for result in answer["data"]["results"]
        if all(map(float.__ge__, map(float, result["scores"]), thresholds))
    ]


async def test_everybody_is_found_in_later_captures_and_strangers_are_not(server: Client) -> None:
    palms = [Palm(person, hand) for person in range(PEOPLE) for hand in ("left", "right")]
    for palm in palms:
        added = await server.add(f"acme.{palm.person}-{palm.hand}", palm)
        assert added["code"] == protocol.OK
    for palm in palms:
        for seed in (1, 2):
            answer = await server.query(palm, seed, group="acme")
            assert accepted(answer) == [f"acme.{palm.person}-{palm.hand}"]
    for person in range(PEOPLE, 2 * PEOPLE):
        answer = await server.query(Palm(person, "left"), 1, group="acme")
        assert accepted(answer) == []


async def test_an_answer_has_the_shape_that_the_vendor_promises(server: Client) -> None:
    await server.add("acme.one", Palm(1, "left"))
    answer = await server.query(Palm(1, "left"), 1, group="acme", hand="left", top_k=1)
    [result] = answer["data"]["results"]
    assert (result["user_id"], result["hand"]) == ("acme.one", "left")
    assert len(result["scores"]) == len(answer["data"]["thresholds"]) == 4
    assert all(0 <= score <= 1 for score in result["scores"])


async def test_a_group_never_sees_another_groups_palms(server: Client) -> None:
    await server.add("acme.one", Palm(1, "left"))
    await server.add("globex.one", Palm(1, "left"), seed=5)
    assert accepted(await server.query(Palm(1, "left"), 1, group="globex")) == ["globex.one"]
    assert accepted(await server.query(Palm(1, "left"), 1, group="initech")) == []
    both = await server.query(Palm(1, "left"), 1)
    assert set(accepted(both)) == {"acme.one", "globex.one"}


async def test_top_k_bounds_the_answer_to_the_best(server: Client) -> None:
    for number in range(3):
        await server.add(f"acme.{number}", Palm(1, "left"), seed=number)
    answer = await server.query(Palm(1, "left"), 2, group="acme", top_k=2)
    assert len(answer["data"]["results"]) == 2
    assert answer["data"]["results"][0]["user_id"] == "acme.2"


async def test_a_hand_that_is_asked_for_leaves_out_the_other(server: Client) -> None:
    await server.add("acme.one", Palm(1, "left"))
    answer = await server.query(Palm(1, "left"), 1, group="acme", hand="right")
    assert answer["data"]["results"] == []


async def test_adding_again_keeps_the_first_palm_and_its_id(server: Client) -> None:
    first = await server.add("acme.one", Palm(1, "left"), seed=0)
    again = await server.add("acme.one", Palm(1, "left"), seed=9)
    assert again["data"]["palm_id"] == first["data"]["palm_id"]
    assert (await server.health())["data"] == {"palms": 1}


async def test_a_user_id_cannot_be_given_to_another_palm(server: Client) -> None:
    await server.add("acme.one", Palm(1, "left"))
    taken = await server.add("acme.one", Palm(2, "left"))
    assert taken["code"] == protocol.USER_ID_TAKEN
    assert accepted(await server.query(Palm(1, "left"), 1, group="acme")) == ["acme.one"]


async def test_a_deleted_palm_is_not_found_and_the_others_are(server: Client) -> None:
    for person in range(3):
        await server.add(f"acme.{person}", Palm(person, "left"))
    deleted = [await server.post("/KZ/delete", {"user_id": "acme.0"}) for _ in range(2)]
    assert [each["data"] for each in deleted] == [{"deleted": True}, {"deleted": False}]
    assert accepted(await server.query(Palm(0, "left"), 1, group="acme")) == []
    for person in (1, 2):
        found = await server.query(Palm(person, "left"), 1, group="acme")
        assert accepted(found) == [f"acme.{person}"]


@pytest.mark.parametrize("said", [{}, {"hand": "left"}])
async def test_a_restricted_hand_is_query_type_forbidden(
    tmp_path: Path, said: dict[str, str]
) -> None:
    """Also when the device does not say which hand it is: the match itself says it."""
    server = Client(PalmServer(tmp_path, forbidden_hands=frozenset({"left"})))
    for palm in (Palm(1, "left"), Palm(1, "right")):
        await server.add(f"acme.{palm.hand}", palm)
    forbidden = await server.query(Palm(1, "left"), 1, group="acme", **said)
    assert (forbidden["code"], forbidden["data"]) == (protocol.QUERY_TYPE_FORBIDDEN, None)
    assert accepted(await server.query(Palm(1, "right"), 1, group="acme")) == ["acme.right"]


def turned(seen: Capture) -> Capture:
    """The same pictures lying on their side, with the frame as before."""

    def turn(png: bytes) -> bytes:
        with Image.open(io.BytesIO(png)) as picture:
            upright = picture.rotate(45)
        file = io.BytesIO()
        upright.save(file, "PNG")
        return file.getvalue()

    return Capture(turn(seen.rgb), turn(seen.ir))


@pytest.mark.parametrize(
    ("poor", "hint"),
    [
        (no_hand(np.random.default_rng(1)), "coverage"),
        (blurred_capture(Palm(1, "left"), np.random.default_rng(1)), "blur"),
        (turned(look(Palm(1, "left"), 1)), "rotation"),
    ],
)
async def test_a_poor_capture_enrols_nobody_and_finds_nobody_and_says_why(
    server: Client, poor: Capture, hint: str
) -> None:
    await server.add("acme.one", Palm(1, "left"))
    added = await server.post("/KZ/add", {"user_id": "acme.two", **images(poor)})
    assert (added["code"], added["data"]) == (protocol.LOW_QUALITY, {"hints": [hint]})
    asked = await server.post("/KZ/query", images(poor))
    assert (asked["code"], asked["data"]["results"]) == (protocol.OK, [])
    assert asked["data"]["hints"] == [hint]
    assert (await server.health())["data"] == {"palms": 1}


def png_of_size(width: int, height: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    )


GOOD = look(Palm(1, "left"), 1)


@pytest.mark.parametrize(
    "picture",
    [
        b"",
        b"GIF89a" + bytes(100),
        GOOD.ir[: len(GOOD.ir) // 2],
        GOOD.ir[:60] + bytes(200) + GOOD.ir[260:],
        png_of_size(60_000, 60_000, b""),
        png_of_size(1, 1, b"\0\0"),
        png_of_size(180, 256, b"\0" * 10),
    ],
    ids=["empty", "gif", "cut", "damaged", "bomb", "dot", "short"],
)
async def test_what_is_not_a_palm_picture_is_unreadable(server: Client, picture: bytes) -> None:
    answer = await server.post("/KZ/query", images(Capture(rgb=GOOD.rgb, ir=picture)))
    assert answer["code"] == protocol.UNREADABLE


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"rgb":"AA","ir":"' + b"!" * 20 + b'"}',
        b"[" * 100_000,
        b'{"rgb":"","ir":"","top_k":0}',
        b'{"rgb":"","ir":"","group":"a.b"}',
        b'{"rgb":"","ir":"","colour":1}',
        b'{"user_id":"../../etc/passwd","rgb":"","ir":""}',
        b'{"user_id":"a\\n","rgb":"","ir":""}',
    ],
)
@pytest.mark.parametrize("path", ["/KZ/query", "/KZ/add", "/KZ/delete"])
async def test_garbage_gets_the_protocols_refusal(server: Client, path: str, body: bytes) -> None:
    assert (await server.post(path, body))["code"] == protocol.MALFORMED


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, len(GOOD.ir) - 1), change=st.binary(min_size=1, max_size=8))
def test_no_damage_to_a_picture_is_more_than_a_refusal(at: int, change: bytes) -> None:
    damaged = GOOD.ir[:at] + change + GOOD.ir[at + len(change) :]
    try:
        found = features.to_search(GOOD.rgb, damaged)
    except (features.Unreadable, features.LowQuality):
        return
    assert np.isfinite(found.fine_vein).all()


async def test_an_oversize_body_and_an_unknown_call_are_answered_in_the_protocol(
    server: Client,
) -> None:
    assert (await server.post("/KZ/query", b" " * (BODY_MAX + 1)))["msg"] == "body too large"
    assert (await server.post("/KZ/drop", b""))["code"] == protocol.UNKNOWN_PATH


def flip_one_bit(directory: Path) -> None:
    [path] = directory.glob("*.palm")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


async def test_a_corrupt_gallery_answers_milvus_error_and_not_nobody(tmp_path: Path) -> None:
    await Client(PalmServer(tmp_path)).add("acme.one", Palm(1, "left"))
    flip_one_bit(tmp_path)
    broken = Client(PalmServer(tmp_path))
    answer = await broken.query(Palm(1, "left"), 1, group="acme")
    assert (answer["code"], answer["msg"]) == (protocol.INTERNAL, "Milvus error")
    assert (await broken.health())["code"] == protocol.INTERNAL
    with pytest.raises(GalleryCorrupt):
        Gallery(tmp_path)


def test_a_write_that_was_cut_off_leaves_the_gallery_as_it_was(tmp_path: Path) -> None:
    palm = features.to_enrol(GOOD.rgb, GOOD.ir)
    palm_id = Gallery(tmp_path).add("acme.one", "left", palm)
    (tmp_path / "half.palm.new").write_bytes(b"\x85")
    reopened = Gallery(tmp_path)
    assert (len(reopened), reopened.add("acme.one", "left", palm)) == (1, palm_id)
    assert list(tmp_path.glob("*.new")) == []


@settings(max_examples=30, deadline=None)
@given(steps=st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=40))
def test_a_gallery_holds_what_was_added_and_not_deleted(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[bool, int]]
) -> None:
    """Each of six palms is found under its own id exactly while it is enrolled."""
    directory = tmp_path_factory.mktemp("gallery")
    gallery, held = Gallery(directory), set[int]()
    for adding, number in steps:
        if adding:
            gallery.add(f"acme.{number}", "left", SIX[number][0])
            held.add(number)
        else:
            assert gallery.delete(f"acme.{number}") == (number in held)
            held.discard(number)
    for opened in (gallery, Gallery(directory)):
        for number, (_, probe) in enumerate(SIX):
            found = opened.search(probe, group="acme", hand=None, top_k=1)
            assert [each.user_id for each in found] == [f"acme.{number}"] * (number in held)


SIX = [
    (
        features.to_enrol(look(palm, 0).rgb, look(palm, 0).ir),
        features.to_search(look(palm, 1).rgb, look(palm, 1).ir),
    )
    for palm in (Palm(person, "left") for person in range(6))
]


def test_a_taken_user_id_is_refused_by_the_gallery_itself(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path)
    gallery.add("acme.one", "left", SIX[0][0])
    with pytest.raises(UserIdTaken):
        gallery.add("acme.one", "left", SIX[1][0])


@contextmanager
def running(data: Path) -> Generator[tuple[str, "subprocess.Popen[str]"]]:
    command = [sys.executable, "-m", "examples.palm_server", "--port", "0", "--data", str(data)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = re.search(r"http://[0-9.:]+", process.stdout.readline())
            assert url is not None
            yield url.group(), process
        finally:
            process.kill()


def test_a_server_killed_without_warning_still_knows_whom_it_enrolled(tmp_path: Path) -> None:
    palm = Palm(3, "right")
    with running(tmp_path) as (url, process):
        body = {"user_id": "acme.one", "hand": "right", **images(look(palm, 0))}
        assert httpx.post(f"{url}/KZ/add", json=body).json()["code"] == protocol.OK
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with running(tmp_path) as (url, _):
        answer = httpx.post(f"{url}/KZ/query", json={"group": "acme", **images(look(palm, 1))})
        assert accepted(answer.json()) == ["acme.one"]


def test_the_measurement_of_the_readme_runs_and_finds_a_matcher_that_works(tmp_path: Path) -> None:
    rates = measure(5, 1, tmp_path)
    assert (rates.genuine_comparisons, rates.impostor_comparisons) == (30, 270)
    assert rates.fmr == rates.fpir == 0
    assert rates.fnmr <= 1 / 30
