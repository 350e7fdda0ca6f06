"""The console's use cases over a log in memory, with what is kept beside it in memory too."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID, uuid4

import msgspec

from application.console.first_admin import FirstAdmin
from application.console.mailed_invitations import MailedInvitations
from application.console.operators import Operators
from application.console.second_factors import SecondFactors
from application.console.sessions import OperatorSessions
from application.console.sign_ins import ConsoleSignIns, Entry, SecondFactor
from application.passwords import Passwords
from application.people.sign_in_guard import SignInGuard
from application.ports.console import ConsolePerson
from application.principals import Caller, OperatorPrincipal
from application.tenants.approvals import Approvals
from domain import operator as o
from domain import totp
from domain.errors import Unavailable
from domain.events import StreamAppend
from domain.ids import PLATFORM, OperatorId, OperatorSessionId, TenantId
from domain.operator_session import OpenSession
from infrastructure.ids import RandomIds
from infrastructure.keys.keyring import Keyring
from infrastructure.passwords.common import CommonPasswords
from infrastructure.rate_limits import InProcessRateLimiter
from tests import builders
from tests.application.hand_clock import HandClock
from tests.application.memory_log import MemoryEventLog
from tests.spec import CORRELATION, TENANT

ADDRESS = "203.0.113.7"
PASSWORD = "a long and winding password"
Key = tuple[TenantId, OperatorId]


class Kept:
    """People, credentials and sessions, as the tables keep them."""

    def __init__(self) -> None:
        self.people: dict[Key, ConsolePerson] = {}
        self.hashes: dict[Key, str] = {}
        self.past: dict[Key, list[str]] = {}
        self.proposed: dict[Key, bytes] = {}
        self.secrets: dict[Key, bytes] = {}
        self.steps: dict[Key, int] = {}
        self.codes: dict[Key, set[str]] = {}
        self.sessions: dict[tuple[TenantId, OperatorSessionId], OpenSession] = {}

    async def put(
        self, tenant_id: TenantId, operator_id: OperatorId, person: ConsolePerson
    ) -> None:
        self.people[tenant_id, operator_id] = person

    async def find(
        self, tenant_id: TenantId, operators: Collection[OperatorId]
    ) -> Mapping[OperatorId, ConsolePerson]:
        found = {each: self.people.get((tenant_id, each)) for each in operators}
        return {each: person for each, person in found.items() if person is not None}

    async def forget(self, tenant_id: TenantId, operator_id: OperatorId) -> None:
        self.people.pop((tenant_id, operator_id), None)
        self.hashes.pop((tenant_id, operator_id), None)


class Mail:
    """Keeps what it was to send: (address, invitation, until)."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, datetime]] = []
        self.away = False

    async def send(self, email: str, invitation: str, until: datetime) -> None:
        if self.away:
            raise Unavailable("mail_not_sent")
        self.sent.append((email, invitation, until))


class Hashes:
    """Quick ones, that say how often somebody was made to wait."""

    def __init__(self) -> None:
        self.compared = 0
        self.scheme = "new"

    async def of(self, password: str) -> str:
        return f"{self.scheme}${hashlib.sha256(password.encode()).hexdigest()}"

    async def matches(self, password: str, hashed: str | None) -> bool:
        self.compared += 1
        digest = hashlib.sha256(password.encode()).hexdigest()
        return hashed is not None and hashed.partition("$")[2] == digest

    def outdated(self, hashed: str) -> bool:
        return not hashed.startswith(f"{self.scheme}$")


class Credentials:
    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    async def set_password(
        self, tenant_id: TenantId, operator_id: OperatorId, hashed: str, *, remember: int = 0
    ) -> None:
        of = (tenant_id, operator_id)
        self._kept.past[of] = list(await self.latest_passwords(*of, remember))
        self._kept.hashes[of] = hashed

    async def set_first_password(
        self, tenant_id: TenantId, operator_id: OperatorId, hashed: str
    ) -> bool:
        return self._kept.hashes.setdefault((tenant_id, operator_id), hashed) is hashed

    async def renew_password(
        self, tenant_id: TenantId, operator_id: OperatorId, before: str, after: str
    ) -> None:
        if self._kept.hashes[tenant_id, operator_id] == before:
            self._kept.hashes[tenant_id, operator_id] = after

    async def latest_passwords(
        self, tenant_id: TenantId, operator_id: OperatorId, count: int
    ) -> Sequence[str]:
        of = (tenant_id, operator_id)
        present = [self._kept.hashes[of]] if of in self._kept.hashes else []
        return [*present, *self._kept.past.get(of, [])][:count]

    async def password(self, tenant_id: TenantId, operator_id: OperatorId) -> str | None:
        return self._kept.hashes.get((tenant_id, operator_id))

    async def propose_totp(
        self, tenant_id: TenantId, operator_id: OperatorId, secret: bytes
    ) -> None:
        self._kept.proposed[tenant_id, operator_id] = secret

    async def proposed_totp(self, tenant_id: TenantId, operator_id: OperatorId) -> bytes | None:
        return self._kept.proposed.get((tenant_id, operator_id))

    async def take_totp(
        self, tenant_id: TenantId, operator_id: OperatorId, step: int, codes: Collection[str]
    ) -> bool:
        key = (tenant_id, operator_id)
        if key not in self._kept.proposed:
            return False
        self._kept.secrets[key] = self._kept.proposed.pop(key)
        self._kept.steps[key] = step
        self._kept.codes[key] = set(codes)
        return True

    async def totp(self, tenant_id: TenantId, operator_id: OperatorId) -> bytes | None:
        return self._kept.secrets.get((tenant_id, operator_id))

    async def spend_totp(self, tenant_id: TenantId, operator_id: OperatorId, step: int) -> bool:
        if self._kept.steps.get((tenant_id, operator_id), 0) >= step:
            return False
        self._kept.steps[tenant_id, operator_id] = step
        return True

    async def set_recovery_codes(
        self, tenant_id: TenantId, operator_id: OperatorId, codes: Collection[str]
    ) -> None:
        self._kept.codes[tenant_id, operator_id] = set(codes)

    async def spend_recovery_code(
        self, tenant_id: TenantId, operator_id: OperatorId, digest: str
    ) -> bool:
        held = self._kept.codes.get((tenant_id, operator_id), set())
        if digest not in held:
            return False
        held.remove(digest)
        return True

    async def drop_password(self, tenant_id: TenantId, operator_id: OperatorId) -> None:
        self._kept.hashes.pop((tenant_id, operator_id), None)

    async def drop_totp(self, tenant_id: TenantId, operator_id: OperatorId) -> None:
        self._kept.secrets.pop((tenant_id, operator_id), None)
        self._kept.codes.pop((tenant_id, operator_id), None)

    async def drop_passkeys(self, tenant_id: TenantId, operator_id: OperatorId) -> None:
        """There are none here; what the log says is enough for it to count no more."""


class Sessions:
    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    async def open(self, tenant_id: TenantId, session: OpenSession) -> None:
        self._kept.sessions[tenant_id, session.session_id] = session

    async def find(self, tenant_id: TenantId, session_id: OperatorSessionId) -> OpenSession | None:
        return self._kept.sessions.get((tenant_id, session_id))

    async def seen(self, tenant_id: TenantId, session_id: OperatorSessionId, at: datetime) -> None:
        session = self._kept.sessions[tenant_id, session_id]
        self._kept.sessions[tenant_id, session_id] = msgspec.structs.replace(session, seen_at=at)

    async def of_operator(
        self, tenant_id: TenantId, operator_id: OperatorId
    ) -> Sequence[OpenSession]:
        return [
            each
            for (tenant, _), each in reversed(self._kept.sessions.items())
            if tenant == tenant_id and each.operator_id == operator_id
        ]

    async def end(self, tenant_id: TenantId, session_id: OperatorSessionId) -> None:
        self._kept.sessions.pop((tenant_id, session_id), None)

    async def forget_expired(
        self, tenant_id: TenantId, operator_id: OperatorId, now: datetime
    ) -> None:
        for each in await self.of_operator(tenant_id, operator_id):
            if each.expires_at <= now:
                await self.end(tenant_id, each.session_id)


def cli(tenant_id: TenantId = PLATFORM) -> Caller:
    return Caller(tenant_id=tenant_id, actor="operator:cli", correlation_id=CORRELATION)


class Console:
    """One tenant and the platform, before anybody is in."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.log = MemoryEventLog(self.clock)
        self.log.record(
            cli(TENANT).origin(uuid4()),
            [
                StreamAppend(
                    tenant_id=TENANT,
                    stream_id=TENANT,
                    expected_version=0,
                    events=[builders.tenant_created()],
                )
            ],
        )
        self.ids = RandomIds(self.clock)
        self.digests = Keyring(b"k" * 32)
        self.limiter = InProcessRateLimiter()
        self.kept = Kept()
        self.credentials = Credentials(self.kept)
        self.hashes = Hashes()
        self.passwords = Passwords(self.hashes, CommonPasswords())
        self.guard = SignInGuard(self.log, self.limiter)
        self.approvals = Approvals(self.log, self.clock, self.ids)
        self.sessions = OperatorSessions(
            self.log, self.log, Sessions(self.kept), self.digests, self.clock, self.ids
        )
        self.operators = Operators(
            self.log,
            self.kept,
            self.credentials,
            self.sessions,
            self.approvals,
            self.digests,
            self.clock,
            self.ids,
        )
        self.mail = Mail()
        self.mailed_invitations = MailedInvitations(self.operators, self.mail)
        self.sign_ins = ConsoleSignIns(
            self.guard,
            self.operators,
            self.credentials,
            self.passwords,
            self.sessions,
            self.digests,
            self.clock,
        )
        self.second_factors = SecondFactors(
            self.operators,
            self.credentials,
            self.sessions,
            self.guard,
            self.digests,
            self.clock,
            self.ids,
        )
        self.first_admin = FirstAdmin(
            self.log,
            self.operators,
            self.kept,
            self.credentials,
            self.passwords,
            self.clock,
            self.ids,
        )

    def entry(self, tenant_id: TenantId = TENANT, address: str = ADDRESS) -> Entry:
        return Entry(tenant_id=tenant_id, address=address, correlation_id=CORRELATION)

    async def joined(
        self, email: str = "noura@example.com", role: o.Role = "tenant_admin"
    ) -> o.Operator:
        """Somebody who was invited and came, without a second factor yet."""
        tenant_id = PLATFORM if role == "platform_admin" else TENANT
        person = ConsolePerson(email=email, name="Noura")
        invited = await self.operators.invite(cli(tenant_id), person, role, None)
        assert invited.invitation is not None
        return await self.sign_ins.accept(self.entry(), invited.invitation, PASSWORD)

    async def session(
        self,
        email: str = "noura@example.com",
        tenant_id: TenantId = TENANT,
        second: SecondFactor | None = None,
        password: str = PASSWORD,
    ) -> OperatorPrincipal:
        opened = await self.sign_ins.sign_in(self.entry(tenant_id), email, password, second)
        return await self.sessions.authenticate(opened.token, CORRELATION)

    async def with_app(self, operator: OperatorPrincipal) -> tuple[bytes, Sequence[str]]:
        """The secret of an authenticator app that counts, and the recovery codes."""
        await self.second_factors.propose_totp(operator)
        secret = self.kept.proposed[operator.home, operator.operator_id]
        code = self.code(secret)
        return secret, await self.second_factors.enroll_totp(operator, ADDRESS, code)

    def code(self, secret: bytes) -> str:
        return totp.code_at(secret, totp.step_of(self.clock.now()))

    async def names(self, stream: UUID, tenant_id: TenantId = TENANT) -> list[str]:
        return [each.event.NAME for each in await self.log.load(tenant_id, stream)]
