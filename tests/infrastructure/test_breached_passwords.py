"""Breached passwords: found by a range or a file, and nobody learns which was asked about."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from infrastructure.passwords.breached import AnyOf
from infrastructure.passwords.common import CommonPasswords
from infrastructure.passwords.hash_file import HashFile, NotAHashFile
from infrastructure.passwords.ranges import BreachRanges, Outcome, sha1
from tests.infrastructure.outbound.clients import loopback_client
from tests.infrastructure.outbound.scripted_server import Reply, response, scripted

BREACHED = "correct horse battery staple"
REST = sha1(BREACHED)[5:]
FAILED: Sequence[Reply] = (
    response(503, b"come back later"),
    response(302, b"", "Location: http://127.0.0.1/"),
    response(200, b"<html>please sign in to this network</html>"),
    response(200, f"{REST}:3\r\nand more".encode()[7:]),
    response(200, b"0" * 600_000),
    None,
)


def lines(*found: tuple[str, int]) -> bytes:
    padding = [(hashlib.sha1(bytes([n])).hexdigest().upper()[:35], 0) for n in range(50)]  # noqa: S324
    return "\r\n".join(f"{rest}:{count}" for rest, count in sorted([*padding, *found])).encode()


async def asked(reply: Reply, password: str) -> tuple[bool, list[Outcome], list[bytes]]:
    outcomes: list[Outcome] = []
    async with scripted(reply) as server:
        client = loopback_client()
        deadline_s = 0.3 if reply is None else 30.0
        ranges = BreachRanges(server.url("/range/"), client, outcomes.append, deadline_s=deadline_s)
        try:
            found = await ranges.has(password)
        finally:
            await client.close()
        return found, outcomes, server.requests


async def test_a_range_tells_and_learns_five_digits() -> None:
    found, outcomes, (request,) = await asked(response(200, lines((REST, 7))), BREACHED)
    assert (found, outcomes) == (True, ["found"])
    assert request.startswith(f"GET /range/{sha1(BREACHED)[:5]} HTTP/1.1\r\n".encode())
    assert b"add-padding: true" in request.lower()
    assert REST.encode() not in request.upper()
    assert b"horse" not in request


@pytest.mark.parametrize("body", [lines(), lines((REST, 0)), b""])
async def test_what_is_not_there_or_only_padding_is_not_breached(body: bytes) -> None:
    assert (await asked(response(200, body), BREACHED))[:2] == (False, ["not_found"])


@pytest.mark.parametrize("reply", FAILED)
async def test_a_service_that_fails_keeps_nobody_out_and_is_counted(reply: Reply) -> None:
    assert (await asked(reply, BREACHED))[:2] == (False, ["failed"])


def hash_file(path: Path, passwords: Sequence[str], form: str = "{}:5\r\n") -> Path:
    digests = sorted(sha1(password) for password in passwords)
    path.write_text("".join(form.format(each) for each in digests), newline="")
    return path


@pytest.mark.parametrize("form", ["{}:5\r\n", "{}\n", "{}:12345\n"])
async def test_a_file_of_digests_is_found_in_at_every_place(tmp_path: Path, form: str) -> None:
    known = [f"password number {number}" for number in range(100)]
    file = HashFile(hash_file(tmp_path / "sha1.txt", known, form))
    try:
        assert all([await file.has(each) for each in known])
        assert not any([await file.has(f"{each}!") for each in known])
    finally:
        file.close()


async def test_one_line_without_an_end_will_do(tmp_path: Path) -> None:
    file = HashFile(hash_file(tmp_path / "sha1.txt", [BREACHED], "{}"))
    assert await file.has(BREACHED)
    assert not await file.has("another one")
    file.close()


@pytest.mark.parametrize("text", ["", "correct horse\n", "FF" * 20 + "\n" + "00" * 20 + "\n"])
def test_what_is_no_such_file_is_refused_at_once(tmp_path: Path, text: str) -> None:
    path = tmp_path / "sha1.txt"
    path.write_text(text)
    with pytest.raises(NotAHashFile):
        HashFile(path)
    with pytest.raises(NotAHashFile):
        HashFile(tmp_path / "absent.txt")


async def test_what_the_list_at_hand_knows_is_told_to_nobody(tmp_path: Path) -> None:
    outcomes: list[Outcome] = []
    async with scripted(response(200, lines((REST, 7)))) as server:
        client = loopback_client()
        file = HashFile(hash_file(tmp_path / "sha1.txt", ["kept in a file for long"]))
        both = AnyOf(
            [CommonPasswords(), file, BreachRanges(server.url("/range/"), client, outcomes.append)]
        )
        for known in ("password12345678", "kept in a file for long"):
            assert await both.has(known)
        assert server.requests == []
        assert await both.has(BREACHED)
        assert not await both.has("nobody has this one, it seems")
        assert outcomes == ["found", "not_found"]
        file.close()
        await client.close()
