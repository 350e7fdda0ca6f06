"""Challenges for passkeys: single use, for five minutes, one console host and one purpose.

Whoever began a ceremony holds its token, and nobody else; the challenge alone answers nothing.
"""

import re
import secrets
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

import msgspec

from application.ports import Clock, IdSource
from application.ports.passkeys import (
    Ceremony,
    CeremonyKind,
    KeptPasskey,
    PasskeyCeremonies,
    RelyingParty,
)
from domain.errors import Forbidden
from domain.ids import PLATFORM, OperatorId, OperatorSessionId, PasskeyCeremonyId, TenantId

LIVES: Final = timedelta(minutes=5)
"""As long as browsers wait for a person (WebAuthn §15.1)."""
CHALLENGE_BYTES: Final = 32
_TOKEN: Final = re.compile(r"lpc_([0-9a-f]{32})([0-9a-f]{32})", re.A)


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """A ceremony with the token that ends it; `passkeys` are those that the person has at this
    host: to be left out where one is added, to be asked for where one is shown."""

    token: str
    ceremony: Ceremony
    passkeys: Sequence[KeptPasskey] = ()


def home_of(token: str) -> TenantId:
    """Whose tenant's ceremony a token claims to be of; what is no token is the platform's."""
    found = _TOKEN.fullmatch(token)
    return PLATFORM if found is None else TenantId(UUID(hex=found[1]))


class Ceremonies:
    def __init__(
        self,
        parties: Sequence[RelyingParty],
        kept: PasskeyCeremonies,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._parties = parties
        self._kept = kept
        self._clock = clock
        self._ids = ids

    async def begin(
        self,
        tenant_id: TenantId,
        origin: str | None,
        kind: CeremonyKind,
        operator_id: OperatorId | None = None,
        session_id: OperatorSessionId | None = None,
        passkeys: Iterable[KeptPasskey] = (),
    ) -> Begun:
        """Raises Forbidden (`origin_not_allowed`)."""
        party = self._party(origin)
        ceremony = Ceremony(
            id=PasskeyCeremonyId(self._ids.uuid()),
            kind=kind,
            operator_id=operator_id,
            session_id=session_id,
            challenge=secrets.token_bytes(CHALLENGE_BYTES),
            party=party,
            expires_at=self._clock.now() + LIVES,
        )
        await self._kept.begin(tenant_id, ceremony)
        return Begun(
            token=f"lpc_{tenant_id.hex}{ceremony.id.hex}",
            ceremony=ceremony,
            passkeys=[passkey for passkey in passkeys if passkey.rp_id == party.id],
        )

    async def end(self, token: str) -> tuple[TenantId, Ceremony] | None:
        """What was begun, for the first who asks; None when it is over."""
        found = _TOKEN.fullmatch(token)
        if found is None:
            return None
        tenant_id, ceremony_id = (UUID(hex=part) for part in found.groups())
        taken = await self._kept.take(
            TenantId(tenant_id), PasskeyCeremonyId(ceremony_id), self._clock.now()
        )
        return None if taken is None else (TenantId(tenant_id), taken)

    def _party(self, origin: str | None) -> RelyingParty:
        """The console host that asks; who says none, as no browser does, means the first."""
        for party in self._parties:
            if origin in (None, party.origin):
                return party
        raise Forbidden("origin_not_allowed", "passkeys are for the console's own hosts")
