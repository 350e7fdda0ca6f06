"""The transparency log of a process: who reads it, and who keeps it if it is a worker.

A part of the composition root, like `interfaces/composition.py`.
"""

from urllib.parse import urlsplit

import msgspec

from infrastructure.database import Pool
from infrastructure.keys.key_store import KeyStore
from infrastructure.outbound.client import OutboundClient
from infrastructure.outbound.egress import EgressGuard, SystemResolver
from infrastructure.transparency.ed25519 import NoteSigner
from infrastructure.transparency.keeper import LogKeeper
from infrastructure.transparency.origin import settled_prefix
from infrastructure.transparency.reads import PostgresTransparencyLogs
from infrastructure.transparency.signer import CheckpointSigner
from infrastructure.transparency.witnesses import Cosigner, Witness
from interfaces.counterparts import AtEnd
from interfaces.settings import Settings

KEY_PURPOSE = "log_signing"


class Transparency(msgspec.Struct, frozen=True):
    """`keeper` runs in one of the workers; `logs` answers everywhere."""

    logs: PostgresTransparencyLogs
    keeper: LogKeeper


async def transparency(
    settings: Settings, dsn: str, app: Pool, projector: Pool, keys: KeyStore, at_end: AtEnd
) -> Transparency:
    """Make the log's key if there is none. Raises OriginChanged, KeyringUnusable."""
    key = NoteSigner(await keys.obtain(KEY_PURPOSE, NoteSigner.generate))
    host = urlsplit(settings.issuer).netloc
    prefix = await settled_prefix(projector, host, settings.log_origin)
    required = settings.witnesses_required
    logs = PostgresTransparencyLogs(
        app,
        projector,
        prefix,
        key.public_key,
        witnesses=[witness.key for witness in settings.witnesses],
        witnesses_required=required,
    )
    signer = CheckpointSigner(key, prefix, final_at_once=required == 0)
    cosigner = _cosigner(settings, projector, at_end) if settings.witnesses else None
    return Transparency(logs, LogKeeper(dsn, signer, cosigner))


def _cosigner(settings: Settings, projector: Pool, at_end: AtEnd) -> Cosigner:
    # Witnesses are named by the operator, as the palm vendor is.
    hosts = [urlsplit(witness.url).hostname or "" for witness in settings.witnesses]
    guard = EgressGuard((*settings.egress_allow, *hosts), settings.development, SystemResolver())
    http = OutboundClient(guard)
    at_end(http.close)
    witnesses = [Witness(key=witness.key, url=witness.url) for witness in settings.witnesses]
    return Cosigner(projector, http, witnesses, required=settings.witnesses_required)
