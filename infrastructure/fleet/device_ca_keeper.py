"""Keeps this process's device CAs as the log says: whom the listener trusts, and who issues.

Certificates stand in the events, so trust follows the log at once and without the database; the
keys are fetched, sealed, from where they are kept.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import psycopg
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from psycopg_pool import PoolTimeout

from application.ports import Clock, EventLog
from domain.device_ca import DEVICE_CA, DeviceCA, MadeAuthority, evolve, rebuild
from domain.events import Recorded
from domain.ids import PLATFORM
from infrastructure.background import Background
from infrastructure.edge.revocations import RevokedCertificates
from infrastructure.fleet.authority import key_identifier
from infrastructure.fleet.platform_ca import PlatformCA, new_device_ca
from infrastructure.keys.key_store import KeyStore

PURPOSE: Final = "device_ca"
AGAIN_S: Final = 5.0

_log = structlog.get_logger(__name__)


class DeviceCAKeeper(Background):
    """Follows while it is entered: `async with`. `heard` is for the log's tail."""

    def __init__(
        self,
        store: KeyStore,
        log: EventLog,
        authority: PlatformCA,
        revocations: RevokedCertificates,
    ) -> None:
        super().__init__("device CAs")
        self._store = store
        self._log = log
        self._authority = authority
        self._revocations = revocations
        self._trusting: list[Callable[[str], None]] = []
        self._changed = asyncio.Event()

    async def open(self) -> None:
        """Take over what the log says today. Raises psycopg.Error, KeyringUnusable.

        Where a key is lost, the devices go on; certificates are issued again by a CA that is made
        anew.
        """
        self._follow(rebuild(await self._log.load(PLATFORM, DEVICE_CA)))
        try:
            await self._fetch()
        except LookupError as error:
            _log.error("device_ca_keys_not_read", error=type(error).__name__)

    def tell(self, trust: Callable[[str], None]) -> None:
        """Have a listener told of the CAs (PEM) to trust, now and whenever they change."""
        self._trusting.append(trust)
        trust(self._authority.device_ca_pem())

    def heard(self, events: Sequence[Recorded]) -> None:
        """Trust what is announced, and drop what is not trusted any more, before returning."""
        for recorded in events:
            # As integers: UUIDs compare in Python, and every event of the log comes by here.
            if recorded.stream_id.int != DEVICE_CA.int:
                continue
            state = self._authority.state
            if recorded.version == state.version + 1:
                self._follow(evolve(state, recorded))

    def _follow(self, state: DeviceCA) -> None:
        self._authority.follow(state)
        trusted = self._authority.device_ca_pem()
        certificates = x509.load_pem_x509_certificates(trusted.encode())
        self._revocations.only({key_identifier(each) for each in certificates})
        for trust in self._trusting:
            trust(trusted)
        self._changed.set()

    async def run(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._fetch()
            except (psycopg.Error, PoolTimeout, LookupError) as error:
                _log.error("device_ca_keys_not_read", error=type(error).__name__)
                await asyncio.sleep(AGAIN_S)
                self._changed.set()

    async def _fetch(self) -> None:
        for number in self._authority.missing():
            self._authority.hold(number, await self._store.read_one(PURPOSE, number))


class DeviceCAMaker:
    """`application.ports.pki.AuthorityMaker` over sealed key material."""

    def __init__(self, store: KeyStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def make(self, above: int) -> MadeAuthority:
        """A new device CA under the next number; a number is never given twice, not even where
        the keys of the earlier ones are lost."""
        number, pem = await self._store.next(
            PURPOSE, lambda number: new_device_ca(number, self._clock.now()), above=above
        )
        return made_of(number, pem)


def made_of(number: int, pem: bytes) -> MadeAuthority:
    """What the log is told of a device CA: everything but its key."""
    (certificate,) = x509.load_pem_x509_certificates(pem)
    return MadeAuthority(
        authority=number,
        certificate_pem=certificate.public_bytes(Encoding.PEM).decode(),
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        not_after=certificate.not_valid_after_utc,
    )
