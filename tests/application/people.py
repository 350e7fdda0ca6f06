"""What is kept about people and clients, in memory and under the rules of the real tables."""

import hashlib
from collections.abc import Sequence, Set
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

import msgspec

from application.ports import OtpAttempt, OtpChallenge
from domain.errors import Conflict, Invalid, Refusal, Unauthenticated
from domain.events import Sealed, SealedValue
from domain.ids import ChallengeId, DeviceId, TenantId, TransactionId, UserId, wire
from domain.oauth_client import OAuthClient, PublicJwk
from domain.personal_fields import SECRETS, check
from domain.transaction import ProductText
from tests.application.memory_log import Hook


class Vault:
    """Personal values of people, in the clear: this one only lives as long as a test."""

    def __init__(self, pause: Hook) -> None:
        self._pause = pause
        self.values: dict[tuple[TenantId, UserId, str], str] = {}
        self.erased: set[tuple[TenantId, UserId]] = set()
        self.when_storing: Hook | None = None
        """Runs once, when a value is about to be stored."""

    async def store(self, tenant_id: TenantId, user_id: UserId, field: str, value: str) -> None:
        await self._pause()
        hook, self.when_storing = self.when_storing, None
        if hook is not None:
            await hook()
        if (tenant_id, user_id) in self.erased:
            raise Conflict("personal_key_destroyed")
        check(field)
        self.values[tenant_id, user_id, field] = value

    async def seal(
        self, tenant_id: TenantId, user_id: UserId, field: str, value: str
    ) -> SealedValue:
        await self._pause()
        if (tenant_id, user_id) in self.erased:
            raise Conflict("personal_key_destroyed")
        return SealedValue(
            user_id=user_id, field=check(field), key_version=1, ciphertext=value.encode()
        )

    def keep(self, tenant_id: TenantId, value: SealedValue) -> None:
        """What the log commits with an event; nothing of somebody who has been erased."""
        if (tenant_id, value.user_id) not in self.erased:
            self.values[tenant_id, value.user_id, value.field] = value.ciphertext.decode()

    async def read(self, tenant_id: TenantId, user_id: UserId, field: str) -> str | None:
        return self.values.get((tenant_id, user_id, field))

    async def everything(self, tenant_id: TenantId, user_id: UserId) -> dict[str, str]:
        return {
            field: value
            for (tenant, user, field), value in self.values.items()
            if (tenant, user) == (tenant_id, user_id) and field not in SECRETS
        }

    async def replace(
        self, tenant_id: TenantId, user_id: UserId, field: str, before: str, after: str
    ) -> None:
        if self.values.get((tenant_id, user_id, field)) == before:
            self.values[tenant_id, user_id, field] = after

    async def remove(self, tenant_id: TenantId, user_id: UserId, field: str) -> None:
        self.values.pop((tenant_id, user_id, field), None)

    async def erase(self, tenant_id: TenantId, user_id: UserId) -> None:
        await self.destroy(tenant_id, user_id)
        self.erased.add((tenant_id, user_id))

    async def destroy(self, tenant_id: TenantId, user_id: UserId) -> bool:
        await self._pause()
        held = [key for key in self.values if key[:2] == (tenant_id, user_id)]
        for key in held:
            del self.values[key]
        return bool(held)


class Texts:
    """What products wrote, in the clear, for as long as the vault has the person.

    A text is kept when it is sealed and found by its commitment, which only the log tells.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self.kept: dict[str, tuple[UserId, TransactionId, ProductText]] = {}

    async def seal(
        self, tenant_id: TenantId, user_id: UserId, transaction_id: TransactionId, text: ProductText
    ) -> Sealed:
        content = tenant_id.bytes + transaction_id.bytes + msgspec.json.encode(text)
        commitment = hashlib.sha256(content).hexdigest()
        self.kept[commitment] = (user_id, transaction_id, text)
        return Sealed(user_id=user_id, key_version=1, ciphertext=b"", commitment=commitment)

    async def open(
        self, tenant_id: TenantId, user_id: UserId, transaction_id: TransactionId, commitment: str
    ) -> ProductText | None:
        if (tenant_id, user_id) in self._vault.erased:
            return None
        of_user, of_transaction, text = self.kept[commitment]
        assert (of_user, of_transaction) == (user_id, transaction_id)
        return text

    async def of_person(
        self, tenant_id: TenantId, user_id: UserId
    ) -> list[tuple[TransactionId, ProductText]]:
        if (tenant_id, user_id) in self._vault.erased:
            return []
        return [(of, text) for who, of, text in self.kept.values() if who == user_id]


class Sender:
    """Keeps what it was to send: (destination, code, locale)."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, str]] = []
        self.raises: Refusal | None = None

    async def send(self, destination: str, code: str, locale: str) -> None:
        if self.raises is not None:
            raise self.raises
        self.sent.append((destination, code, locale))


class _Challenge(msgspec.Struct):
    opened: OtpChallenge
    code_digest: str
    attempts: int = 0
    consumed_at: datetime | None = None
    user_id: UserId | None = None


class Challenges:
    """Outstanding codes under the rules of the table: five tries, one winner, a minute's repeat."""

    TRIES: Final = 5

    def __init__(self, pause: Hook) -> None:
        self._pause = pause
        self.kept: dict[ChallengeId, _Challenge] = {}

    async def open(self, challenge: OtpChallenge, code_digest: str) -> None:
        await self._pause()
        self.kept[challenge.id] = _Challenge(challenge, code_digest)

    async def discard(self, tenant_id: TenantId, challenge_id: ChallengeId) -> None:
        await self._pause()
        assert self.kept.pop(challenge_id).opened.tenant_id == tenant_id

    async def latest(
        self, tenant_id: TenantId, bound_to: UUID, destination: str, since: datetime
    ) -> OtpChallenge | None:
        await self._pause()
        found = [
            each.opened
            for each in self.kept.values()
            if each.consumed_at is None
            and each.opened.created_at >= since
            and (each.opened.tenant_id, each.opened.bound_to) == (tenant_id, bound_to)
            and each.opened.destination == destination
        ]
        return max(found, key=lambda each: (each.created_at, each.id), default=None)

    async def attempt(
        self,
        tenant_id: TenantId,
        bound_to: UUID,
        challenge_id: ChallengeId,
        code_digest: str,
        now: datetime,
    ) -> OtpAttempt:
        await self._pause()
        held = self.kept.get(challenge_id)
        if held is None or (held.opened.tenant_id, held.opened.bound_to) != (tenant_id, bound_to):
            return OtpAttempt(outcome="unknown")
        outcome = self._outcome(held, held.code_digest == code_digest, now)
        if outcome == "right":
            held.consumed_at = now
        if held.code_digest != code_digest and held.attempts < self.TRIES:
            held.attempts += 1
        left = self.TRIES - held.attempts
        if outcome not in ("right", "repeated"):
            return OtpAttempt(outcome=outcome, attempts_left=left)
        return OtpAttempt(
            outcome=outcome,
            destination=held.opened.destination,
            attempts_left=left,
            user_id=held.user_id,
        )

    async def conclude(
        self, tenant_id: TenantId, challenge_id: ChallengeId, user_id: UserId
    ) -> None:
        await self._pause()
        held = self.kept[challenge_id]
        assert held.opened.tenant_id == tenant_id
        held.user_id = user_id

    async def forget(
        self, tenant_id: TenantId, user_id: UserId, destinations: Sequence[str]
    ) -> None:
        await self._pause()
        for held in list(self.kept.values()):
            known = held.user_id == user_id or held.opened.destination in destinations
            if known and held.opened.tenant_id == tenant_id:
                del self.kept[held.opened.id]

    def _outcome(
        self, held: _Challenge, right: bool, now: datetime
    ) -> Literal["right", "repeated", "wrong", "locked", "expired", "consumed"]:
        open_tries = held.attempts < self.TRIES
        if held.consumed_at is not None:
            lately = now - held.consumed_at < timedelta(seconds=60)
            return "repeated" if right and open_tries and lately else "consumed"
        if not open_tries:
            return "locked"
        if held.opened.expires_at <= now:
            return "expired"
        return "right" if right else "wrong"


class Grants:
    """Open enrolment grants and when they end."""

    def __init__(self) -> None:
        self.until: dict[tuple[TenantId, DeviceId, UserId], datetime] = {}

    async def open(
        self, tenant_id: TenantId, device_id: DeviceId, user_id: UserId, expires_at: datetime
    ) -> None:
        held = self.until.get((tenant_id, device_id, user_id), expires_at)
        self.until[tenant_id, device_id, user_id] = max(held, expires_at)

    async def is_open(
        self, tenant_id: TenantId, device_id: DeviceId, user_id: UserId, now: datetime
    ) -> bool:
        until = self.until.get((tenant_id, device_id, user_id))
        return until is not None and until > now

    async def close(self, tenant_id: TenantId, user_id: UserId) -> None:
        for key in [key for key in self.until if (key[0], key[2]) == (tenant_id, user_id)]:
            del self.until[key]


class Commitments:
    """Salted by the tenant and the subject alone: nobody keeps a secret here."""

    async def commit(self, tenant_id: TenantId, subject: UUID, kind: str, value: bytes) -> str:
        salt = tenant_id.bytes + subject.bytes
        return hashlib.sha256(salt + kind.encode() + b"\0" + value).hexdigest()


class ClientSecrets:
    """Digests of client secrets by owner and number."""

    def __init__(self) -> None:
        self.kept: dict[tuple[TenantId, UUID, int], str] = {}

    async def store(
        self, tenant_id: TenantId, owner: UUID, number: int, secret_digest: str
    ) -> None:
        assert (tenant_id, owner, number) not in self.kept, "the table has a primary key"
        self.kept[tenant_id, owner, number] = secret_digest

    async def destroy(self, tenant_id: TenantId, owner: UUID, number: int) -> None:
        self.kept.pop((tenant_id, owner, number), None)

    async def digest_of(self, tenant_id: TenantId, owner: UUID, number: int) -> str | None:
        return self.kept.get((tenant_id, owner, number))


class OneTenantsClients:
    """A directory in which every client is of one tenant, whether there is one or not."""

    def __init__(self, tenant_id: TenantId) -> None:
        self._tenant_id = tenant_id

    async def tenant_of(self, client_id: UUID) -> TenantId | None:
        del client_id
        return self._tenant_id


class Assertions:
    """Assertions of the form `client id/number`; each is accepted once."""

    def __init__(self) -> None:
        self.shown: set[str] = set()

    def check_keys(self, jwks: Sequence[PublicJwk]) -> None:
        if any(jwk.kid == "unusable" for jwk in jwks):
            raise Invalid("client_keys_invalid")

    def named(self, assertion: str) -> str:
        return assertion.partition("/")[0]

    async def accept(self, assertion: str, client: OAuthClient, audiences: Set[str]) -> None:
        assert self.named(assertion) == wire("cli", client.id)
        if assertion in self.shown or "https://identity.example" not in audiences:
            raise Unauthenticated("invalid_client")
        self.shown.add(assertion)


class Contexts:
    """Contexts that are kept until a product has been told of them; `erased` people have none."""

    def __init__(self) -> None:
        self.kept: dict[tuple[TenantId, UserId, TransactionId], bytes] = {}
        self.erased: set[UserId] = set()

    async def keep(
        self, tenant_id: TenantId, user_id: UserId, transaction_id: TransactionId, context: bytes
    ) -> bool:
        if user_id in self.erased:
            return False
        self.kept.setdefault((tenant_id, user_id, transaction_id), context)
        return True

    async def read(
        self, tenant_id: TenantId, user_id: UserId, transaction_id: TransactionId
    ) -> bytes | None:
        return self.kept.get((tenant_id, user_id, transaction_id))

    async def forget(
        self, tenant_id: TenantId, user_id: UserId, transaction_id: TransactionId
    ) -> None:
        self.kept.pop((tenant_id, user_id, transaction_id), None)
