"""What a person agreed to and withdrew, from the first time on, and a receipt for each.

A receipt has the fields of ISO/IEC TS 27560:2023 and is signed, so that whoever is shown one
verifies it with our JWKS and asks nobody. It is made anew when it is asked for, and not stored.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec

from application.ports import Clock, EventLog
from domain import tenant as t
from domain import user as u
from domain.errors import NotFound
from domain.events import Recorded
from domain.ids import ConsentId, TenantId, UserId, wire

SCHEMA: Final = "ISO/IEC TS 27560:2023"


class ReceiptSigner(Protocol):
    def sign(self, claims: Mapping[str, Any]) -> str:
        """A compact JWS, `typ: consent-receipt+jwt`; `iss` is ours whatever is given."""
        ...


class ConsentRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One time that a person agreed to a purpose, and how that ended.

    `event` names the event in the transparency log, `withdrawal` that of the withdrawal.
    """

    consent_id: ConsentId
    consent_type: str
    version: str
    method: u.ConsentMethod
    locale: str
    text_sha256: str | None
    text_commitment: str | None
    granted_at: datetime
    granted_by: str
    event: str
    withdrawn_at: datetime | None = None
    withdrawn_by: str | None = None
    withdrawal: str | None = None


class ConsentRecords:
    def __init__(self, log: EventLog, signer: ReceiptSigner, clock: Clock) -> None:
        self._log = log
        self._signer = signer
        self._clock = clock

    async def of_user(self, tenant_id: TenantId, user_id: UserId) -> Sequence[ConsentRecord]:
        """In the order in which they were given. Raises NotFound (`user_not_found`)."""
        past = await self._log.load(tenant_id, user_id)
        if not past or not isinstance(past[0].event, u.UserSignedUp):
            raise NotFound("user_not_found")
        found: list[ConsentRecord] = []
        newest: dict[str, int] = {}
        for recorded in past:
            event = recorded.event
            if isinstance(event, u.UserConsentGranted):
                newest[event.consent_type] = len(found)
                found.append(_given(event, recorded))
            elif isinstance(event, u.UserConsentWithdrawn):
                at = newest[event.consent_type]
                found[at] = msgspec.structs.replace(
                    found[at],
                    withdrawn_at=recorded.recorded_at,
                    withdrawn_by=recorded.actor,
                    withdrawal=_event(recorded),
                )
        return found

    async def receipt(self, tenant_id: TenantId, user_id: UserId, consent_id: ConsentId) -> str:
        """A signed receipt of one consent, as it is now.

        Raises NotFound (`user_not_found`, `consent_not_found`).
        """
        records = await self.of_user(tenant_id, user_id)
        found = next((each for each in records if each.consent_id == consent_id), None)
        if found is None:
            raise NotFound("consent_not_found")
        tenant = t.rebuild(await self._log.load(tenant_id, tenant_id))
        assert tenant is not None, "a person is a tenant's"
        now = int(self._clock.now().timestamp())
        return self._signer.sign(_claims(tenant, user_id, found, now))


def _given(event: u.UserConsentGranted, recorded: Recorded) -> ConsentRecord:
    return ConsentRecord(
        consent_id=event.consent_id,
        consent_type=event.consent_type,
        version=event.consent_version,
        method=event.method,
        locale=event.locale,
        text_sha256=event.text_sha256,
        text_commitment=event.text_commitment,
        granted_at=recorded.recorded_at,
        granted_by=recorded.actor,
        event=_event(recorded),
    )


def _event(recorded: Recorded) -> str:
    return f"{wire('usr', recorded.stream_id)}:{recorded.version}"


def _claims(tenant: t.Tenant, user_id: UserId, record: ConsentRecord, now: int) -> dict[str, Any]:
    history = [_happened("consent_given", record.granted_at, record.event, record.granted_by)]
    if record.withdrawn_at is not None:
        history.append(
            _happened(
                "consent_withdrawn",
                record.withdrawn_at,
                record.withdrawal or "",
                record.withdrawn_by or "",
            )
        )
    return {
        "sub": wire("usr", user_id),
        "iat": now,
        "jti": wire("cst", record.consent_id),
        "tenant_id": wire("ten", tenant.id),
        "receipt_metadata": {
            "schema_version": SCHEMA,
            "receipt_id": wire("cst", record.consent_id),
        },
        "record_metadata": {
            "record_id": wire("cst", record.consent_id),
            "pii_principal_id": wire("usr", user_id),
        },
        "pii_processing": {
            "privacy_notice": {
                "version": record.version,
                "language": record.locale,
                "text_sha256": record.text_sha256,
                "text_commitment": record.text_commitment,
            },
            "purposes": [
                {
                    "purpose": record.consent_type,
                    "lawful_basis": "consent",
                    "collection_method": record.method,
                }
            ],
        },
        "party_identification": [
            {
                "party_id": wire("ten", tenant.id),
                "party_name": tenant.name,
                "party_role": "pii_controller",
            }
        ],
        "event_history": history,
    }


def _happened(state: str, at: datetime, event: str, by: str) -> dict[str, str]:
    return {
        "event_time": at.isoformat(),
        "event_state": state,
        "event": event,
        "entity": by.partition(":")[0],
    }
