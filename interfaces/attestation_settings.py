"""Who may vouch for devices' keys: the part of the settings about it, and what reads them."""

from datetime import timedelta
from pathlib import Path

import msgspec

from application.ports import Clock
from infrastructure.attestation.android_key import AndroidKeyAttestations
from infrastructure.attestation.roots import read_roots
from infrastructure.attestation.status_fetcher import StatusFetcher
from infrastructure.attestation.status_list import StatusList
from infrastructure.outbound.client import OutboundClient
from interfaces.environment import Environment
from interfaces.network_names import is_url


class AttestationSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`roots`: instead of Google's. `status_file`: who was revoked, believed for so many hours, and
    fetched from `status_url` if there is one."""

    roots: Path | None = None
    status_file: Path | None = None
    status_url: str | None = None
    status_max_age_h: int = 168


def read_attestation(env: Environment, data_dir: Path) -> AttestationSettings:
    roots = env.optional("LINK_ATTESTATION_ROOTS", wanted="a PEM file")
    status_file = env.optional("LINK_ATTESTATION_STATUS_FILE", wanted="a JSON file")
    status_url = env.optional(
        "LINK_ATTESTATION_STATUS_URL",
        wanted="an https URL",
        check=lambda text: is_url(text, ("https",)),
    )
    kept = data_dir / "attestation-status.json" if status_url is not None else None
    return AttestationSettings(
        roots=None if roots is None else Path(roots),
        status_file=kept if status_file is None else Path(status_file),
        status_url=status_url,
        status_max_age_h=env.integer("LINK_ATTESTATION_STATUS_MAX_AGE_H", 168, least=1, most=8760),
    )


def key_attestations(settings: AttestationSettings, clock: Clock) -> AndroidKeyAttestations:
    """Raises RootsUnreadable, and StatusListUnreadable for a file that nobody will fetch."""
    status = None
    if settings.status_file is not None:
        status = StatusList(settings.status_file, timedelta(hours=settings.status_max_age_h), clock)
        if settings.status_url is None:
            status.refresh()
    return AndroidKeyAttestations(read_roots(settings.roots), status, clock)


def status_fetchers(
    settings: AttestationSettings, client: OutboundClient
) -> tuple[StatusFetcher, ...]:
    """One, or none where the file is somebody else's to keep fresh."""
    if settings.status_url is None or settings.status_file is None:
        return ()
    return (StatusFetcher(client, settings.status_url, settings.status_file),)
