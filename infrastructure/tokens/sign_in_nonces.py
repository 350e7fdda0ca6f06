"""Nonces for ID tokens: made without a word to the database, spent once in all processes."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from application.ports import Clock, Digests, IdSource
from application.ports.id_tokens import NONCE_LIFETIME_S, NoncePurpose
from domain.ids import TenantId
from infrastructure.shown_once import ShownOnce

_NONCE: Final = re.compile(r"([0-9]{1,12})\.([0-9a-f]{32})\.([\w-]{43})", re.ASCII)
_KEY: Final = "sign_in_nonce"


class DigestedNonces:
    """`SignInNonces`: the end of its time, random bits, and a keyed digest of both and of whom it
    is for."""

    def __init__(self, digests: Digests, shown: ShownOnce, clock: Clock, ids: IdSource) -> None:
        self._digests = digests
        self._shown = shown
        self._clock = clock
        self._ids = ids

    def issue(self, tenant_id: TenantId, purpose: NoncePurpose, asker: str) -> str:
        ends = self._clock.now() + timedelta(seconds=NONCE_LIFETIME_S)
        named = f"{int(ends.timestamp())}.{self._ids.uuid().hex}"
        return f"{named}.{self._digests.digest(_KEY, f'{named}:{tenant_id}:{purpose}:{asker}')}"

    async def spend(
        self, nonce: str, tenant_id: TenantId, purpose: NoncePurpose, asker: str
    ) -> bool:
        """Raises psycopg.Error where nobody could say whether it was spent."""
        found = _NONCE.fullmatch(nonce)
        if found is None:
            return False
        ends, random, digest = found.groups()
        signed = f"{ends}.{random}:{tenant_id}:{purpose}:{asker}"
        if not self._digests.matches(_KEY, signed, digest):
            return False
        until = datetime.fromtimestamp(int(ends), UTC)
        if until <= self._clock.now():
            return False
        return await self._shown.first_time(tenant_id, _KEY, nonce, expires_at=until)
