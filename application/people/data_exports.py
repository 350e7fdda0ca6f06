"""Everything that is held about a person, with its sources (000 compliance, PDPL art. 4)."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final, Literal, Protocol
from uuid import UUID

import msgspec

from application.execute import stream_of
from application.people.personal_data_accesses import PersonalDataAccesses
from application.ports import EventLog, PersonalData, PersonPalms, ProductTexts
from application.principals import Caller
from domain import erasure as r
from domain import user as u
from domain import user_session as us
from domain.comparison import IdentificationCompleted, VerificationCompleted
from domain.errors import NotFound
from domain.events import DomainEvent, Recorded
from domain.ids import TenantId, TransactionId, UserId, wire
from domain.palm_challenge import PalmChallengeOpened

Source = Literal[
    "vault",
    "user",
    "enrollment",
    "erasure",
    "transaction",
    "access",
    "user_session",
    "verification",
    "identification",
    "palm_challenge",
]
BEGINNINGS: Final[Mapping[type[DomainEvent], tuple[Source, str]]] = {
    us.UserSessionStarted: ("user_session", "uss"),
    VerificationCompleted: ("verification", "ver"),
    IdentificationCompleted: ("identification", "idn"),
    PalmChallengeOpened: ("palm_challenge", "pch"),
}
"""How streams begin that name a person and are found nowhere else, and their public ids' prefix."""
OPERATION: Final = "exportPersonalData"
HISTORY: Final = "history"
PRODUCT_TEXT: Final = "product_text"

_user: Final = stream_of(u.UserSignedUp, u.rebuild)


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is held: a value of the vault by its field, or an event by its name.

    `id` is the public id of what the event is about, where it is not the person.
    """

    source: Source
    name: str
    id: str | None = None
    at: datetime | None = None
    value: object


class DataExport(msgspec.Struct, frozen=True, kw_only=True):
    reference: str | None
    items: tuple[Item, ...]


class PersonRecords(Protocol):
    """Which streams tell of a person. Raises Unavailable (`position_not_reached`)."""

    async def transactions(
        self, tenant_id: TenantId, user_id: UserId
    ) -> Sequence[TransactionId]: ...

    async def accesses(self, tenant_id: TenantId, user_id: UserId) -> Sequence[Item]: ...

    async def begun_with(
        self, tenant_id: TenantId, user_id: UserId, beginnings: Collection[type[DomainEvent]]
    ) -> Sequence[UUID]:
        """Streams whose first event is one of these and names the person, the oldest first."""
        ...


class DataExports:
    def __init__(
        self,
        log: EventLog,
        personal_data: PersonalData,
        texts: ProductTexts,
        palms: PersonPalms,
        records: PersonRecords,
        accesses: PersonalDataAccesses,
    ) -> None:
        self._log = log
        self._personal_data = personal_data
        self._texts = texts
        self._palms = palms
        self._records = records
        self._accesses = accesses

    async def export(self, caller: Caller, user_id: UserId, reference: str | None) -> DataExport:
        """What is held, after it is on record that the caller is shown it.

        Raises NotFound (`user_not_found`), Malformed (`access_reference_invalid`), Unavailable
        (`position_not_reached`), CommitFailed.
        """
        tenant_id = caller.tenant_id
        past = await self._log.load(tenant_id, user_id)
        if _user(past) is None:
            raise NotFound("user_not_found")
        values = await self._personal_data.everything(tenant_id, user_id)
        texts = await self._texts.of_person(tenant_id, user_id)
        transactions = await self._records.transactions(tenant_id, user_id)
        await self._accesses.note(
            caller,
            user_id,
            fields=[*values, *([PRODUCT_TEXT] if texts else []), HISTORY],
            purpose="data_subject_request",
            operation=OPERATION,
            reference=reference,
        )
        items = [Item(source="vault", name=field, value=value) for field, value in values.items()]
        items += [
            Item(
                source="vault",
                name=PRODUCT_TEXT,
                # The words of a palm challenge are kept in the same way.
                id=wire("txn" if shown_with in transactions else "pch", shown_with),
                value=text,
            )
            for shown_with, text in texts
        ]
        items += _events("user", None, past)
        for palm_ref in await self._palms.of_person(tenant_id, user_id):
            items += await self._stream(tenant_id, "enrollment", "plm", palm_ref)
        for transaction_id in transactions:
            items += await self._stream(tenant_id, "transaction", "txn", transaction_id)
        for stream_id in await self._records.begun_with(tenant_id, user_id, BEGINNINGS):
            begun = await self._log.load(tenant_id, stream_id)
            source, prefix = BEGINNINGS[type(begun[0].event)]
            items += _events(source, wire(prefix, stream_id), begun)
        erasure = await self._log.load(tenant_id, r.erasure_id(user_id))
        items += _events("erasure", None, erasure)
        items += await self._records.accesses(tenant_id, user_id)
        return DataExport(reference=reference, items=tuple(items))

    async def _stream(
        self, tenant_id: TenantId, source: Source, prefix: str, stream_id: UUID
    ) -> list[Item]:
        past = await self._log.load(tenant_id, stream_id)
        return _events(source, wire(prefix, stream_id), past)


def _events(source: Source, name: str | None, past: Sequence[Recorded]) -> list[Item]:
    return [
        Item(
            source=source,
            name=recorded.event.NAME,
            id=name,
            at=recorded.recorded_at,
            value=recorded.event,
        )
        for recorded in past
    ]
