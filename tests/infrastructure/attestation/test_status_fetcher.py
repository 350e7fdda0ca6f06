"""The file of who was revoked is fetched whole, and what is no list replaces nothing."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from infrastructure.attestation import status_fetcher
from infrastructure.attestation.status_fetcher import FRESH_S, StatusFetcher
from infrastructure.attestation.status_list import StatusListUnreadable, parse
from infrastructure.outbound.client import Answer, OutboundFailed

URL = "https://android.example/attestation/status"
LISTED = json.dumps({"entries": {"a11ce": {"status": "REVOKED"}}}).encode()


class Publisher:
    """Answers what a test says, and counts."""

    def __init__(self, *answers: Answer | OutboundFailed) -> None:
        self.answers = list(answers)
        self.urls: list[str] = []

    async def request(self, method: str, url: str, **given: Any) -> Answer:
        assert given["max_bytes"] > len(LISTED)
        self.urls.append(f"{method} {url}")
        answer = self.answers.pop(0)
        if isinstance(answer, OutboundFailed):
            raise answer
        return answer


def answering(body: bytes, status: int = 200) -> Answer:
    return Answer(status=status, headers={}, body=body)


async def test_what_is_published_stands_in_the_file(tmp_path: Path) -> None:
    path, publisher = tmp_path / "made" / "status.json", Publisher(answering(LISTED))
    await StatusFetcher(publisher, URL, path).fetch()
    assert parse(path.read_bytes()) == {0xA11CE}
    assert publisher.urls == [f"GET {URL}"]
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("answer", [answering(LISTED, 503), answering(b"<html>")])
async def test_what_is_no_list_replaces_nothing(tmp_path: Path, answer: Answer) -> None:
    path = tmp_path / "status.json"
    path.write_bytes(LISTED)
    with pytest.raises(StatusListUnreadable):
        await StatusFetcher(Publisher(answer), URL, path).fetch()
    assert path.read_bytes() == LISTED


async def test_it_is_fetched_when_it_is_old_and_again_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_fetcher, "LOOK_S", 0.01)
    path = tmp_path / "status.json"
    path.write_bytes(b"{}")
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - FRESH_S - 60))
    publisher = Publisher(OutboundFailed("connect", False, "away"), answering(LISTED))
    async with StatusFetcher(publisher, URL, path), asyncio.timeout(30):
        while path.read_bytes() != LISTED:  # noqa: ASYNC110 - a file tells nobody
            await asyncio.sleep(0.01)
    assert len(publisher.urls) == 2, "a fresh one is left alone"
