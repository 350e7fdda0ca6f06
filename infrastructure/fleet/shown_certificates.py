"""Keeps what this process's listeners show as the log says, or as the operator's files do.

A listener is told of a new certificate and shows it in the next handshake; connections that are
open go on. Keys are fetched, sealed, from where they are kept.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, get_args

import psycopg
import structlog
from psycopg_pool import PoolTimeout

from application.ports import CommitFailed, EventLog
from application.ports.server_certificates import Place, Shown
from domain.errors import Unavailable
from domain.events import Recorded
from domain.ids import PLATFORM
from domain.server_certificate import (
    SERVER_CERTIFICATE,
    Certificate,
    ServerCertificate,
    rebuild,
)
from infrastructure.background import Background
from infrastructure.fleet.certificate_files import (
    CertificateFiles,
    CertificateFilesUnusable,
    LoadedCertificate,
)

LOOK_S: Final = 2.0
"""How often the operator's files are looked at."""
TELL_S: Final = 60.0
"""How often it is asked whether they run out."""
AGAIN_S: Final = 5.0
PLACES: Final[tuple[Place, ...]] = get_args(Place)

Certify = Callable[[str, str], None]
"""Given the chain and its key, PEM."""

_log = structlog.get_logger(__name__)


class PrivateKeys(Protocol):
    async def private_key(self, number: int) -> str:
        """PKCS#8 in PEM. Raises LookupError, psycopg.Error."""
        ...


class Upkeep(Protocol):
    async def told_of(self, shown: Shown) -> None: ...


class ShownCertificateKeeper(Background):
    """Follows while it is entered: `async with`. `heard` is for the log's tail.

    `files` are those of the places for which the operator has any; they come before what the log
    says. `anchors` is told which CAs of the operator's devices are to be given.
    """

    def __init__(
        self,
        log: EventLog,
        keys: PrivateKeys,
        files: Mapping[Place, CertificateFiles],
        anchors: Callable[[Sequence[str]], None],
        upkeep: Upkeep,
    ) -> None:
        super().__init__("server certificates")
        self._log = log
        self._keys = keys
        self._files = files
        self._anchors = anchors
        self._upkeep = upkeep
        self._state = ServerCertificate()
        self._loaded: dict[Place, LoadedCertificate] = {}
        self._shown: dict[Place, tuple[Shown, str]] = {}
        self._told: dict[Place, list[Certify]] = {place: [] for place in PLACES}
        self._faulty: set[Place] = set()
        self._tell_from = 0.0
        self._changed = asyncio.Event()

    async def open(self) -> None:
        """Take over what log and files say now.

        Raises CertificateFilesUnusable, LookupError, KeyringUnusable, psycopg.Error.
        """
        for place, files in self._files.items():
            self._loaded[place] = await asyncio.to_thread(files.read)
        await self._show()

    def shown(self, place: Place) -> Shown | None:
        found = self._shown.get(place)
        return None if found is None else found[0]

    @property
    def faulty(self) -> frozenset[Place]:
        """Where the operator's files hold nothing to show just now."""
        return frozenset(self._faulty)

    def presented(self, place: Place) -> tuple[str, str]:
        """Chain and key, PEM. Raises LookupError before there are any: `open` comes first, after
        one was issued."""
        found = self._shown.get(place)
        if found is None:
            raise LookupError("no server certificate was issued yet")
        return found[0].chain_pem, found[1]

    def tell(self, place: Place, certify: Certify) -> None:
        """Have a listener told whenever it changes."""
        self._told[place].append(certify)

    def heard(self, events: Sequence[Recorded]) -> None:
        # As integers: UUIDs compare in Python, and every event of the log comes by here.
        if any(recorded.stream_id.int == SERVER_CERTIFICATE.int for recorded in events):
            self._changed.set()

    async def run(self) -> None:
        while True:
            if await self._until_changed():
                self._changed.clear()
                await self._follow()
            for place in self._files:
                await self._look(place)
            await self._tell()

    async def _until_changed(self) -> bool:
        """Whether the log has news; False when it is time to look at the files."""
        if not self._files:
            return await self._changed.wait()
        try:
            async with asyncio.timeout(LOOK_S):
                return await self._changed.wait()
        except TimeoutError:
            return False

    async def _follow(self) -> None:
        try:
            await self._show()
        except (psycopg.Error, PoolTimeout, LookupError) as error:
            _log.error("server_key_not_read", error=type(error).__name__)
            await asyncio.sleep(AGAIN_S)
            self._changed.set()

    async def _look(self, place: Place) -> None:
        """Show what the files hold by now; what cannot be shown is told once, and what was shown
        before goes on."""
        files = self._files[place]
        if await asyncio.to_thread(files.changed):
            try:
                self._loaded[place] = await asyncio.to_thread(files.read)
            except CertificateFilesUnusable as error:
                if place not in self._faulty:
                    _log.error("certificate_files_unusable", kind=place, reason=str(error))
                self._faulty.add(place)
                return
            self._faulty.discard(place)
            await self._follow()

    async def _tell(self) -> None:
        """Have it noted when what the files hold runs out."""
        now = asyncio.get_running_loop().time()
        if now < self._tell_from:
            return
        self._tell_from = now + TELL_S
        try:
            for loaded in self._loaded.values():
                await self._upkeep.told_of(loaded.shown)
        except (psycopg.Error, CommitFailed, Unavailable) as error:
            _log.error("certificate_expiry_not_told", error=type(error).__name__)

    async def _show(self) -> None:
        self._state = rebuild(await self._log.load(PLATFORM, SERVER_CERTIFICATE))
        anchors = [each.anchor_pem for each in self._loaded.values() if each.anchor_pem]
        self._anchors([*self._state.anchors(), *anchors])
        for place in PLACES:
            found = await self._wanted(place)
            if found is None or found == self._shown.get(place):
                continue
            self._shown[place] = found
            for certify in self._told[place]:
                certify(found[0].chain_pem, found[1])

    async def _wanted(self, place: Place) -> tuple[Shown, str] | None:
        loaded = self._loaded.get(place)
        if loaded is not None:
            return loaded.shown, loaded.key_pem
        if self._state.showing is None:
            return None
        held = self._state.showing.public if place == "public" else self._state.showing.device
        before = self._shown.get(place)
        if before is not None and before[0].fingerprint_sha256 == held.fingerprint_sha256:
            return before
        return _shown(held), await self._keys.private_key(held.key)


def _shown(held: Certificate) -> Shown:
    return Shown(
        source=held.source,
        chain_pem=held.chain_pem,
        fingerprint_sha256=held.fingerprint_sha256,
        names=held.names,
        not_before=held.not_before,
        not_after=held.not_after,
    )
