"""bcrypt of which no byte is cut off, in a few threads, for which only so many wait."""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator

import bcrypt
import pytest

from domain.errors import Unavailable
from infrastructure.passwords import hashes
from infrastructure.passwords.hashes import BcryptHashes

CHEAP = 4


@pytest.fixture
async def cheap() -> AsyncIterator[BcryptHashes]:
    made = BcryptHashes(cost=CHEAP, threads=1)
    yield made
    await made.close()


@pytest.mark.parametrize(
    "password",
    ["x" * 72 + "y", "\N{GRINNING FACE}" * 64, "x" * 128, "caf\N{LATIN SMALL LETTER E WITH ACUTE}"],
)
async def test_every_byte_counts(cheap: BcryptHashes, password: str) -> None:
    hashed = await cheap.of(password)
    assert await cheap.matches(password, hashed)
    for wrong in (password[:-1], password[:-1] + "z", password + "z"):
        assert not await cheap.matches(wrong, hashed)


async def test_the_same_password_has_another_hash_every_time(cheap: BcryptHashes) -> None:
    first, second = await cheap.of("the same"), await cheap.of("the same")
    assert first != second
    assert first.startswith("bcrypt-sha384$$2b$04$")


async def test_without_a_hash_the_same_work_is_done(
    cheap: BcryptHashes, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = await cheap.of("a password")
    compared: list[tuple[int, bytes]] = []

    def spy(password: bytes, against: bytes) -> bool:
        compared.append((len(password), against[:7]))
        return bcrypt.hashpw(password, against) == against

    monkeypatch.setattr("bcrypt.checkpw", spy)
    assert not await cheap.matches("another one", hashed)
    assert not await cheap.matches("another one", None)
    assert not await cheap.matches("", None)
    assert compared == [(64, b"$2b$04$")] * 3


async def test_hashing_waits_behind_everything_else(
    cheap: BcryptHashes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only Linux ranks the threads of one process."""

    def rank(_: str, cost: int) -> str:
        return str(os.nice(0))

    monkeypatch.setattr(hashes, "_hashed", rank)
    behind = 5 if sys.platform == "linux" else 0
    assert int(await cheap.of("a password")) == min(19, os.nice(0) + behind)


async def test_a_hash_of_another_cost_is_out_of_date(cheap: BcryptHashes) -> None:
    dearer = BcryptHashes(cost=CHEAP + 1, threads=1)
    try:
        hashed = await cheap.of("a password")
        assert not cheap.outdated(hashed)
        assert dearer.outdated(hashed)
        assert await dearer.matches("a password", hashed)
    finally:
        await dearer.close()


async def test_beyond_those_who_may_wait_everybody_is_told_to_come_back(
    cheap: BcryptHashes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread is held up by hand, so that nothing depends on how long a hash takes."""
    held = threading.Event()

    def slow(password: str, cost: int) -> str:
        held.wait()
        return f"{password} at {cost}"

    monkeypatch.setattr(hashes, "_hashed", slow)
    try:
        waiting = [asyncio.create_task(cheap.of("a password")) for _ in range(9)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable) as refused:
            await cheap.of("one too many")
        assert (refused.value.code, refused.value.retry_after_s) == ("sign_in_busy", 2)
    finally:
        held.set()
    assert await asyncio.gather(*waiting) == ["a password at 4"] * 9
    assert await cheap.of("there is room again") == "there is room again at 4"
