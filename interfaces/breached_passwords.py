"""What stands behind the look-up of breached passwords. A part of the composition root."""

import asyncio
from functools import partial
from urllib.parse import urlsplit

from application.ports.passwords import BreachedPasswords
from infrastructure.metrics import Metrics
from infrastructure.outbound.client import OutboundClient
from infrastructure.outbound.egress import EgressGuard, SystemResolver
from infrastructure.passwords.breached import AnyOf
from infrastructure.passwords.common import CommonPasswords
from infrastructure.passwords.hash_file import HashFile
from infrastructure.passwords.ranges import BreachRanges
from interfaces.breach_settings import BreachSettings
from interfaces.counterparts import AtEnd


def breached_passwords(
    settings: BreachSettings,
    egress_allow: tuple[str, ...],
    *,
    development: bool,
    metrics: Metrics,
    at_end: AtEnd,
) -> BreachedPasswords:
    """The list at hand first. Nothing is connected yet. Raises NotAHashFile."""
    sources: list[BreachedPasswords] = [CommonPasswords()]
    if settings.file is not None:
        file = HashFile(settings.file)
        at_end(partial(asyncio.to_thread, file.close))
        sources.append(file)
    if settings.url is not None:
        # Its address comes from the operator's configuration, not from a tenant.
        host = urlsplit(settings.url).hostname or ""
        guard = EgressGuard((*egress_allow, host), development, SystemResolver())
        outbound = OutboundClient(guard, connections_max=8)
        at_end(outbound.close)
        looked_up = metrics.counter(
            "link_breach_lookups", "Look-ups of a password at the service.", ["outcome"]
        )
        sources.append(
            BreachRanges(settings.url, outbound, lambda outcome: looked_up.labels(outcome).inc())
        )
    return AnyOf(sources)
