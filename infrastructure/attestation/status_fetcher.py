"""Keeps the file of who may not vouch any more fresh, from where Google publishes it.

The file is what counts, and outlives a restart and an outage: processes of one machine share it,
and whoever finds it old enough fetches it.
"""

import asyncio
import os
import time
from pathlib import Path
from typing import Final, Protocol

import structlog

from infrastructure.attestation.status_list import StatusListUnreadable, parse
from infrastructure.background import Background
from infrastructure.outbound.client import Answer, OutboundFailed

FRESH_S: Final = 6 * 3600.0
LOOK_S: Final = 60.0
DEADLINE_S: Final = 30.0
BYTES_MAX: Final = 16 * 1024 * 1024

_log = structlog.get_logger(__name__)


class Client(Protocol):
    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: dict[str, str],
        body: bytes,
        deadline_s: float,
        max_bytes: int,
    ) -> Answer: ...


class StatusFetcher(Background):
    """`async with StatusFetcher(...)`: the file is at most some hours old while the URL answers."""

    def __init__(self, client: Client, url: str, path: Path) -> None:
        super().__init__("attestation status")
        self._client = client
        self._url = url
        self._path = path

    async def fetch(self) -> None:
        """Put what is published in the place of the file, whole.

        Raises OutboundFailed, OSError, and StatusListUnreadable for an answer that is no list.
        """
        answer = await self._client.request(
            "GET",
            self._url,
            headers={"accept": "application/json"},
            body=b"",
            deadline_s=DEADLINE_S,
            max_bytes=BYTES_MAX,
        )
        if answer.status != 200:
            raise StatusListUnreadable(f"answered {answer.status}")
        parse(answer.body)
        await asyncio.to_thread(self._put, answer.body)

    def _put(self, content: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        beside.write_bytes(content)
        beside.replace(self._path)

    async def run(self) -> None:
        while True:
            if not self._is_fresh():
                try:
                    await self.fetch()
                except (OutboundFailed, StatusListUnreadable, OSError) as error:
                    _log.error("attestation_status_not_fetched", error=type(error).__name__)
            await asyncio.sleep(LOOK_S)

    def _is_fresh(self) -> bool:
        try:
            return time.time() - self._path.stat().st_mtime < FRESH_S
        except OSError:
            return False
