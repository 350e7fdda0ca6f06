"""Nonces for proofs of possession (RFC 9449 §8): made and checked without a word to the database.

A nonce is the number of a slot of time and a keyed digest of it, so that every process knows those
of every other. One is good in its slot and in the next: for two to four minutes.
"""

import re
from typing import Final

from application.ports import Clock, Digests, Streams
from domain import tenant as t
from domain.ids import PLATFORM, TenantId

SLOT_S: Final = 120

_KEY: Final = "dpop_nonce"
_NONCE: Final = re.compile(r"([1-9][0-9]{0,11})\.([\w-]{43})", re.ASCII)


class DpopNonces:
    def __init__(self, digests: Digests, streams: Streams, clock: Clock) -> None:
        self._digests = digests
        self._streams = streams
        self._clock = clock

    async def wanted(self, tenant_id: TenantId) -> bool:
        """Whether the tenant wants one in every proof (`dpop_nonce_required`)."""
        if tenant_id == PLATFORM:
            return False
        tenant = await self._streams.state(tenant_id, tenant_id, t.rebuild)
        return tenant is not None and tenant.settings.dpop_nonce_required

    def current(self) -> str:
        slot = self._slot()
        return f"{slot}.{self._digests.digest(_KEY, str(slot))}"

    def good(self, nonce: str | None) -> bool:
        found = None if nonce is None else _NONCE.fullmatch(nonce)
        if found is None:
            return False
        slot, digest = found.groups()
        now = self._slot()
        return int(slot) in (now, now - 1) and self._digests.matches(_KEY, slot, digest)

    def _slot(self) -> int:
        return int(self._clock.now().timestamp()) // SLOT_S
