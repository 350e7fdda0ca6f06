"""What this process's listeners show themselves by. A part of the composition root."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import structlog

from application.fleet.server_certificates import ServerCertificates, ServerCertificateUpkeep
from application.ports.server_certificates import KnownNames, Place
from infrastructure.fleet.certificate_files import CertificateFiles
from infrastructure.fleet.certificate_holders import ReadModelCertificateHolders
from infrastructure.fleet.server_chains import X509ServerCertificates
from infrastructure.fleet.server_keys import SealedServerKeys
from infrastructure.fleet.shown_certificates import PLACES, ShownCertificateKeeper
from infrastructure.keys.key_store import KeyStore
from infrastructure.metrics import Metrics
from interfaces.network_names import bare_host
from interfaces.settings import Settings

if TYPE_CHECKING:
    from interfaces.composition import Platform

ENDING_S: Final = 30 * 86_400.0
_log = structlog.get_logger(__name__)

EVERYWHERE: Final = ("localhost", "127.0.0.1", "::1")
ALL_ADDRESSES: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - taken out, not listened on


class Serving:
    def __init__(self, of: "Platform", keys: KeyStore) -> None:
        self._of = of
        self._keys = SealedServerKeys(keys, of.authority)
        self.first_run = False
        """Whether it was this process that made the first certificate."""
        self.names = known_names(of.settings)
        self.upkeep = ServerCertificateUpkeep(of.log, self._keys, self.names, of.clock, of.ids)
        self.keeper = ShownCertificateKeeper(
            of.log, self._keys, _files(of.settings), of.authority.give_anchors, self.upkeep
        )

    def use_cases(self) -> ServerCertificates:
        of = self._of
        return ServerCertificates(
            of.log,
            self._keys,
            X509ServerCertificates(),
            ReadModelCertificateHolders(of.projector_pool, of.runner, of.end, of.clock),
            self.names,
            of.clock,
            of.ids,
        )

    async def begin(self) -> ShownCertificateKeeper:
        """See that there is a certificate to show; what is answered is to be entered."""
        self._of.tail.subscribe(self.keeper.heard)
        await self.upkeep.ensure()
        self.first_run = await self.upkeep.made_first()
        try:
            await self.keeper.open()
        except LookupError:
            _log.error("server_key_lost")
            await self.upkeep.replace_lost()
            await self.keeper.open()
        measure_certificates(self._of.metrics, self)
        return self.keeper

    def ending(self) -> Sequence[str]:
        """Where what is shown runs out within `ENDING_S`."""
        ends = ((place, self.ends_in_s(place)) for place in PLACES)
        return [place for place, left in ends if left is not None and left < ENDING_S]

    def ends_in_s(self, place: Place) -> float | None:
        """How long what is shown there is good for; negative when it has run out."""
        shown = self.keeper.shown(place)
        return None if shown is None else (shown.not_after - self._of.clock.now()).total_seconds()


def known_names(settings: Settings) -> KnownNames:
    """By which names callers may know the listeners; an address for all of them names none."""
    public = [settings.issuer] if settings.mtls is None else [settings.issuer, settings.mtls.url]
    told = tuple(dict.fromkeys(_host(url) for url in public))
    device = (_host(settings.device_url),)
    bound = (bare_host(settings.public_host), bare_host(settings.device_host))
    everything = dict.fromkeys((*told, *device, *bound, *EVERYWHERE))
    return KnownNames(
        public=told,
        device=device,
        all=tuple(each for each in everything if each not in ALL_ADDRESSES),
    )


def measure_certificates(metrics: Metrics, serving: Serving) -> None:
    ends = metrics.gauge(
        "link_server_certificate_ends_in_seconds",
        "How long the certificate that is shown is good for.",
        ["listener"],
    )

    async def read() -> None:
        for place in PLACES:
            left = serving.ends_in_s(place)
            if left is not None:
                ends.labels(place).set(left)

    metrics.at_scrape("server_certificates", read)


def _host(url: str) -> str:
    return bare_host(urlsplit(url).hostname or "localhost")


def _files(settings: Settings) -> dict[Place, CertificateFiles]:
    found: dict[Place, CertificateFiles] = {}
    if settings.tls.public is not None:
        found["public"] = CertificateFiles(settings.tls.public.certificate, settings.tls.public.key)
    if settings.tls.device is not None:
        found["device"] = CertificateFiles(settings.tls.device.certificate, settings.tls.device.key)
    return found
