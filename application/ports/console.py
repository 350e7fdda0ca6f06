"""What is kept of console people outside the log: who they are, and what proves it."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from domain.ids import OperatorId, OperatorSessionId, TenantId
from domain.operator_session import OpenSession


class ConsolePerson(msgspec.Struct, frozen=True, kw_only=True):
    email: str
    name: str


class InvitationMail(Protocol):
    async def send(self, email: str, invitation: str, until: datetime) -> None:
        """Hand an invitation to the mail server. Raises Unavailable (`mail_not_sent`)."""
        ...


class ConsolePeople(Protocol):
    """Names and addresses, sealed."""

    async def put(
        self, tenant_id: TenantId, operator_id: OperatorId, person: ConsolePerson
    ) -> None: ...

    async def find(
        self, tenant_id: TenantId, operators: Collection[OperatorId]
    ) -> Mapping[OperatorId, ConsolePerson]:
        """Those of whom anything is kept that can be read: nobody's, once the key is lost."""
        ...

    async def forget(self, tenant_id: TenantId, operator_id: OperatorId) -> None:
        """Delete everything that is kept of the person, credentials and sessions too."""
        ...


class ConsoleCredentials(Protocol):
    """Hashes, secrets and digests of one person each; the log says what they are worth."""

    async def set_password(
        self, tenant_id: TenantId, operator_id: OperatorId, hashed: str, *, remember: int = 0
    ) -> None:
        """Have this one count, and keep the `remember` latest of those before it."""
        ...

    async def set_first_password(
        self, tenant_id: TenantId, operator_id: OperatorId, hashed: str
    ) -> bool:
        """Have this one count, where there is none yet; whether it does."""
        ...

    async def renew_password(
        self, tenant_id: TenantId, operator_id: OperatorId, before: str, after: str
    ) -> None:
        """Another hash of the same password, unless another password was set meanwhile."""
        ...

    async def latest_passwords(
        self, tenant_id: TenantId, operator_id: OperatorId, count: int
    ) -> Sequence[str]:
        """Hashes of the `count` latest passwords, newest first, as far as they were kept."""
        ...

    async def password(self, tenant_id: TenantId, operator_id: OperatorId) -> str | None: ...

    async def propose_totp(
        self, tenant_id: TenantId, operator_id: OperatorId, secret: bytes
    ) -> None:
        """Keep a secret that has yet to be proved, in place of another such one."""
        ...

    async def proposed_totp(self, tenant_id: TenantId, operator_id: OperatorId) -> bytes | None: ...

    async def take_totp(
        self, tenant_id: TenantId, operator_id: OperatorId, step: int, codes: Collection[str]
    ) -> bool:
        """Have the proposed secret count, with its code of `step` used up, and these digests of
        recovery codes and no others; False when somebody was faster."""
        ...

    async def totp(self, tenant_id: TenantId, operator_id: OperatorId) -> bytes | None: ...

    async def spend_totp(self, tenant_id: TenantId, operator_id: OperatorId, step: int) -> bool:
        """Whether this step's code, or a later one's, is used for the first time."""
        ...

    async def set_recovery_codes(
        self, tenant_id: TenantId, operator_id: OperatorId, codes: Collection[str]
    ) -> None: ...

    async def spend_recovery_code(
        self, tenant_id: TenantId, operator_id: OperatorId, digest: str
    ) -> bool:
        """Whether it was one of the person's, which it is no more."""
        ...

    async def drop_password(self, tenant_id: TenantId, operator_id: OperatorId) -> None: ...

    async def drop_totp(self, tenant_id: TenantId, operator_id: OperatorId) -> None:
        """Forget the app's secrets and the recovery codes."""
        ...

    async def drop_passkeys(self, tenant_id: TenantId, operator_id: OperatorId) -> None: ...


class ConsoleSessions(Protocol):
    async def open(self, tenant_id: TenantId, session: OpenSession) -> None: ...

    async def find(
        self, tenant_id: TenantId, session_id: OperatorSessionId
    ) -> OpenSession | None: ...

    async def seen(
        self, tenant_id: TenantId, session_id: OperatorSessionId, at: datetime
    ) -> None: ...

    async def of_operator(
        self, tenant_id: TenantId, operator_id: OperatorId
    ) -> Sequence[OpenSession]:
        """Newest first."""
        ...

    async def end(self, tenant_id: TenantId, session_id: OperatorSessionId) -> None: ...

    async def forget_expired(
        self, tenant_id: TenantId, operator_id: OperatorId, now: datetime
    ) -> None: ...
