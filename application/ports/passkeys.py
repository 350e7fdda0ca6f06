"""What passkeys of console people need: rows outside the log, and WebAuthn's rules."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Literal, Protocol

import msgspec

from domain.ids import OperatorId, OperatorSessionId, PasskeyCeremonyId, PasskeyId, TenantId

ALGORITHMS: Final = (-8, -7, -257)
"""EdDSA, ES256 and RS256 (IANA COSE), the best first (WebAuthn §5.4)."""
RP_NAME: Final = "Link Identity"

CeremonyKind = Literal["register", "sign_in", "second_factor"]


class RelyingParty(msgspec.Struct, frozen=True, kw_only=True):
    """One host of the console: what its passkeys are bound to, and the only origin that may show
    them (WebAuthn §4, §13.4.9)."""

    id: str
    origin: str


class Ceremony(msgspec.Struct, frozen=True, kw_only=True):
    """One challenge, to be answered once: to whom it was given, at which host, for what.

    Nobody is named while somebody signs in by a passkey alone; `session_id` is of a registration.
    """

    id: PasskeyCeremonyId
    kind: CeremonyKind
    operator_id: OperatorId | None
    session_id: OperatorSessionId | None
    challenge: bytes
    party: RelyingParty
    expires_at: datetime


class NewCredential(msgspec.Struct, frozen=True, kw_only=True):
    """What an authenticator made: its id, and `data` with the public key (WebAuthn §6.5.2)."""

    credential_id: bytes
    data: bytes
    sign_count: int
    backup_eligible: bool
    backed_up: bool
    transports: Sequence[str]


class KeptPasskey(msgspec.Struct, frozen=True, kw_only=True):
    """A passkey as its row has it. The log says whether it counts."""

    id: PasskeyId
    name: str
    rp_id: str
    credential: NewCredential
    created_at: datetime
    used_at: datetime | None = None


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What a browser sends for a credential that it was asked for, decoded, and not yet believed.

    `user_handle` and `signature` are of a sign-in, `attestation_object` is of a registration.
    """

    credential_id: bytes
    client_data: bytes
    authenticator_data: bytes = b""
    signature: bytes = b""
    user_handle: bytes | None = None
    attestation_object: bytes = b""
    transports: Sequence[str] = ()


class Asserted(msgspec.Struct, frozen=True, kw_only=True):
    sign_count: int
    backed_up: bool


class CeremonyFailed(Exception):
    """The answer is not one to this ceremony; the words say why and repeat nothing of it."""


class WebAuthn(Protocol):
    """The steps of WebAuthn §7.1 and §7.2 that need no memory."""

    def registered(self, ceremony: Ceremony, shown: Shown) -> NewCredential:
        """Raises CeremonyFailed."""
        ...

    def asserted(
        self, ceremony: Ceremony, credential: NewCredential | None, shown: Shown
    ) -> Asserted:
        """Takes as long where there is no such credential. Raises CeremonyFailed."""
        ...


class PasskeyCeremonies(Protocol):
    async def begin(self, tenant_id: TenantId, ceremony: Ceremony) -> None:
        """Keep it; a registration in place of another one of the same session."""
        ...

    async def take(
        self, tenant_id: TenantId, ceremony_id: PasskeyCeremonyId, now: datetime
    ) -> Ceremony | None:
        """The ceremony, which there is no more: of many who ask at once one has it. None where it
        has run out."""
        ...


class ConsolePasskeys(Protocol):
    """Credential ids, public keys and names, sealed."""

    async def add(self, tenant_id: TenantId, operator_id: OperatorId, passkey: KeptPasskey) -> None:
        """Raises Conflict (`passkey_known`) for a credential that is anybody's already."""
        ...

    async def of_operator(
        self, tenant_id: TenantId, operator_id: OperatorId
    ) -> Mapping[PasskeyId, KeptPasskey]:
        """In the order in which they were added."""
        ...

    async def find(
        self, tenant_id: TenantId, operator_id: OperatorId, credential_id: bytes
    ) -> KeptPasskey | None: ...

    async def rename(
        self, tenant_id: TenantId, operator_id: OperatorId, passkey_id: PasskeyId, name: str
    ) -> None: ...

    async def spend_count(
        self,
        tenant_id: TenantId,
        operator_id: OperatorId,
        passkey_id: PasskeyId,
        asserted: Asserted,
        at: datetime,
    ) -> bool:
        """Whether its counter has gone up, or is of an authenticator that keeps none; what was
        asserted is kept then (WebAuthn §6.1.1)."""
        ...

    async def remove(
        self, tenant_id: TenantId, operator_id: OperatorId, passkey_id: PasskeyId
    ) -> None: ...
