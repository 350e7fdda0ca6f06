"""How consent looks on the wire, to whomever."""

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec

from application.people.consent_records import ConsentRecord
from application.people.consents import Agreement
from domain.ids import wire
from domain.user import ConsentMethod
from interfaces.http.refusals import BODY, WRITE, Refusals, merged

PREFIX: Final = "cst"
NOT_FOUND: Final = "consent_not_found"

Locale = Annotated[str, msgspec.Meta(pattern="^[a-z]{2}(-[A-Z]{2})?$")]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Version = Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
ConsentTypeName = Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_]{0,62}$")]

GRANT: Final[Refusals] = merged(
    BODY,
    WRITE,
    {
        403: ("user_suspended", "user_erased"),
        409: ("consent_version_outdated",),
        422: ("consent_type_invalid", "consent_text_mismatch"),
    },
)


class Agreed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One purpose, in the words of one locale; `text_sha256` is checked against those that were
    published."""

    consent_type: ConsentTypeName
    version: Version
    locale: Locale = "en"
    text_sha256: Sha256 | None = None

    def agreed(self) -> Agreement:
        return Agreement(
            consent_type=self.consent_type,
            version=self.version,
            locale=self.locale,
            text_sha256=self.text_sha256,
        )


class ConsentGiven(Agreed, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person agrees to, told by the person."""

    method: Literal["app", "web"] = "app"


class Withdrawal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    consent_type: ConsentTypeName


class ConsentShown(msgspec.Struct, frozen=True, kw_only=True):
    """One time that the person agreed. `granted_by` and `withdrawn_by` say what kind of caller told
    us; `event` and `withdrawal` name the events, for the proof in the transparency log."""

    id: str
    consent_type: str
    version: str
    method: ConsentMethod
    locale: str
    text_sha256: str | None
    text_commitment: str | None
    granted_at: datetime
    granted_by: str
    event: str
    status: Literal["granted", "withdrawn"]
    withdrawn_at: datetime | None
    withdrawn_by: str | None
    withdrawal: str | None


class ConsentList(msgspec.Struct, frozen=True, kw_only=True):
    items: list[ConsentShown]


class ReceiptShown(msgspec.Struct, frozen=True, kw_only=True):
    """A compact JWS by a key of our JWKS, with `typ` `consent-receipt+jwt`."""

    receipt: str


def consent_shown(record: ConsentRecord) -> ConsentShown:
    withdrawn_by = record.withdrawn_by
    return ConsentShown(
        id=wire(PREFIX, record.consent_id),
        consent_type=record.consent_type,
        version=record.version,
        method=record.method,
        locale=record.locale,
        text_sha256=record.text_sha256,
        text_commitment=record.text_commitment,
        granted_at=record.granted_at,
        granted_by=record.granted_by.partition(":")[0],
        event=record.event,
        status="granted" if record.withdrawn_at is None else "withdrawn",
        withdrawn_at=record.withdrawn_at,
        withdrawn_by=None if withdrawn_by is None else withdrawn_by.partition(":")[0],
        withdrawal=record.withdrawal,
    )
