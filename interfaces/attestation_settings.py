"""Who may vouch for devices' keys: the part of the settings about it, and what reads them."""

from datetime import timedelta
from pathlib import Path

import msgspec

from application.ports import Clock
from infrastructure.attestation.android_key import AndroidKeyAttestations
from infrastructure.attestation.roots import read_roots
from infrastructure.attestation.status_list import StatusList
from interfaces.environment import Environment


class AttestationSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`roots`: instead of Google's. `status_file`: who was revoked, believed for so many hours."""

    roots: Path | None = None
    status_file: Path | None = None
    status_max_age_h: int = 168


def read_attestation(env: Environment) -> AttestationSettings:
    roots = env.optional("LINK_ATTESTATION_ROOTS", wanted="a PEM file")
    status_file = env.optional("LINK_ATTESTATION_STATUS_FILE", wanted="a JSON file")
    return AttestationSettings(
        roots=None if roots is None else Path(roots),
        status_file=None if status_file is None else Path(status_file),
        status_max_age_h=env.integer("LINK_ATTESTATION_STATUS_MAX_AGE_H", 168, least=1, most=8760),
    )


def key_attestations(settings: AttestationSettings, clock: Clock) -> AndroidKeyAttestations:
    """Raises RootsUnreadable, StatusListUnreadable."""
    status = None
    if settings.status_file is not None:
        status = StatusList(settings.status_file, timedelta(hours=settings.status_max_age_h), clock)
        status.refresh()
    return AndroidKeyAttestations(read_roots(settings.roots), status, clock)
