"""Read model `audit`: one line per fact, written for every event, so nobody can forget to audit.

The log always has the event. Whether the tenant sees a line of it here is the tenant's own
setting `audit_enabled` at that moment of the log (design §2 row 2), which the reducer follows
from `tenant.created` and `tenant.settings_changed`; a line is never added or taken away later.
The change that switches the lines off is the last one shown.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, LiteralString
from uuid import UUID

import msgspec
from psycopg import sql

from domain.audit import AuditRead
from domain.catalogue import EVENTS
from domain.certification import LinkedServiceCertificationStarted, LinkedServiceCertified
from domain.circuit import CircuitClosed, CircuitOpened
from domain.events import Recorded
from domain.health import LinkedServiceBecameHealthy, LinkedServiceBecameUnhealthy
from domain.ids import TenantId
from domain.personal_data import PersonalDataAccessed
from domain.presence import (
    DeviceCameBack,
    DeviceCertificateForked,
    DeviceClockCorrected,
    DeviceClockSkewed,
    DeviceWentOffline,
)
from domain.tenant import TenantCreated, TenantSettingsChanged
from projections.published import Severity, SubjectKind, published
from projections.read_model import Connection, Page, ReadModel, fetch_one, page
from projections.stream_rows import json_rows, upsert

DDL: Final = """
    CREATE TABLE audit (
        position       bigint      PRIMARY KEY,
        tenant_id      uuid        NOT NULL,
        recorded_at    timestamptz NOT NULL,
        action         text        NOT NULL,
        severity       text        NOT NULL,
        actor          text        NOT NULL,
        subject_kind   text        NOT NULL,
        subject_id     uuid        NOT NULL,
        correlation_id uuid        NOT NULL,
        event          text        NOT NULL,
        facts          jsonb       NOT NULL
    );
    CREATE INDEX audit_listing ON audit (tenant_id, position);
    CREATE INDEX audit_subject ON audit (tenant_id, subject_id, position);
    CREATE INDEX audit_action ON audit (tenant_id, action, position);
    CREATE INDEX audit_correlation ON audit (tenant_id, correlation_id, position);
    CREATE TABLE audit_settings (
        tenant_id uuid    PRIMARY KEY,
        enabled   boolean NOT NULL
    );
"""

LEFT_OUT: Final = frozenset(
    {
        "anchor_pem",
        "certificate_pem",
        "chain_pem",
        "csr_pem",
        "scores",
        "thresholds",
        "candidates",
        "vendor_thresholds",
        "tenant_key",
        "text_in_clear",
    }
)
"""Fields that no audit line shows: bulky, biometric (read model `transactions` has the scores,
for those who may see them), what a product wrote to a person, or a namespace that is nobody's
business."""


class AuditRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line. `event` is the stored name, `facts` the event's data without what is left out."""

    position: int
    tenant_id: TenantId
    recorded_at: datetime
    action: str
    severity: Severity
    actor: str
    subject_kind: SubjectKind
    subject_id: UUID
    correlation_id: UUID
    event: str
    facts: Mapping[str, Any]


class _AuditSetting(msgspec.Struct, frozen=True, kw_only=True):
    tenant_id: TenantId
    enabled: bool


_UPSERT: Final = upsert("audit", AuditRow, "position")
_UPSERT_SETTINGS: Final = upsert("audit_settings", _AuditSetting, "tenant_id")
_SETTINGS: Final = sql.SQL(
    "SELECT tenant_id, enabled FROM audit_settings WHERE tenant_id = ANY(%s)"
)


def line(recorded: Recorded) -> AuditRow | None:
    """The audit line of one event; None for a fact that is not shown."""
    shown = published(recorded.event)
    if shown.action is None:
        return None
    facts: dict[str, Any] = msgspec.to_builtins(recorded.event)
    return AuditRow(
        position=recorded.position,
        tenant_id=recorded.tenant_id,
        recorded_at=recorded.recorded_at,
        action=shown.action,
        severity=shown.severity,
        actor=recorded.actor,
        subject_kind=shown.subject,
        subject_id=subject_of(recorded),
        correlation_id=recorded.correlation_id,
        event=recorded.event.NAME,
        facts={name: value for name, value in facts.items() if name not in LEFT_OUT},
    )


def subject_of(recorded: Recorded) -> UUID:
    """Whom or what an event is about: the stream's id, but for an access the person, for a
    reading the tenant whose audit it is, for health, certification, presence and circuits the
    counterpart or device."""
    match recorded.event:
        case CircuitOpened() | CircuitClosed() as event:
            return event.service_id
        case (
            LinkedServiceBecameUnhealthy()
            | LinkedServiceBecameHealthy()
            | LinkedServiceCertificationStarted()
            | LinkedServiceCertified() as event
        ):
            return event.service_id
        case (
            DeviceWentOffline()
            | DeviceCameBack()
            | DeviceClockSkewed()
            | DeviceClockCorrected()
            | DeviceCertificateForked() as event
        ):
            return event.device_id
        case PersonalDataAccessed() as event:
            return event.user_id
        case AuditRead():
            return recorded.tenant_id
        case _:
            return recorded.stream_id


def reduce(enabled: dict[TenantId, bool], events: Sequence[Recorded]) -> list[AuditRow]:
    """The lines of these events; `enabled` is what each tenant has set, and is brought up to date.

    A tenant that has set nothing has its lines shown.
    """
    lines: list[AuditRow] = []
    for recorded in events:
        shown = enabled.get(recorded.tenant_id, True)
        match recorded.event:
            case TenantCreated() as event:
                shown = enabled[recorded.tenant_id] = event.settings.audit_enabled
            case TenantSettingsChanged() as event:
                enabled[recorded.tenant_id] = event.settings.audit_enabled
                shown = shown or event.settings.audit_enabled
            case _:
                pass
        row = line(recorded) if shown else None
        if row is not None:
            lines.append(row)
    return lines


async def project(connection: Connection, events: Sequence[Recorded]) -> None:
    tenants = list({recorded.tenant_id for recorded in events})
    cursor = await connection.execute(_SETTINGS, (tenants,))
    before: dict[TenantId, bool] = dict(await cursor.fetchall())
    enabled = dict(before)
    lines = reduce(enabled, events)
    if lines:
        await connection.execute(_UPSERT, (json_rows(lines),))
    if enabled != before:
        settings = [_AuditSetting(tenant_id=key, enabled=value) for key, value in enabled.items()]
        await connection.execute(_UPSERT_SETTINGS, (json_rows(settings),))


READ_MODEL: Final = ReadModel(
    name="audit",
    version=1,
    tables=("audit", "audit_settings"),
    ddl=DDL,
    listens_to=tuple(EVENTS.values()),
    project=project,
)

_BY_ID: Final[LiteralString] = """
    SELECT * FROM read_models.audit
    WHERE tenant_id = %(tenant_id)s AND position = %(position)s
"""
_BY_TENANT: Final[LiteralString] = """
    SELECT * FROM read_models.audit
    WHERE tenant_id = %(tenant_id)s
      AND (%(after)s::bigint IS NULL OR position < %(after)s)
      AND (%(action)s::text IS NULL OR action = %(action)s)
      AND (%(severity)s::text IS NULL OR severity = %(severity)s)
      AND (%(actor)s::text IS NULL OR actor = %(actor)s)
      AND (%(subject_id)s::uuid IS NULL OR subject_id = %(subject_id)s)
      AND (%(correlation_id)s::uuid IS NULL OR correlation_id = %(correlation_id)s)
      AND (%(since)s::timestamptz IS NULL OR recorded_at >= %(since)s)
      AND (%(until)s::timestamptz IS NULL OR recorded_at < %(until)s)
    ORDER BY position DESC
    LIMIT %(limit)s
"""


async def by_id(connection: Connection, tenant_id: TenantId, position: int) -> AuditRow | None:
    """The line of the event at this position of the log."""
    parameters = {"tenant_id": tenant_id, "position": position}
    return await fetch_one(connection, _BY_ID, parameters, AuditRow)


async def by_tenant(
    connection: Connection,
    tenant_id: TenantId,
    *,
    action: str | None = None,
    severity: Severity | None = None,
    actor: str | None = None,
    subject_id: UUID | None = None,
    correlation_id: UUID | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    after: int | None = None,
    limit: int = 50,
) -> Page[AuditRow]:
    """A tenant's audit lines, newest first; `since` and `until` bound `recorded_at`."""
    parameters = {
        "tenant_id": tenant_id,
        "action": action,
        "severity": severity,
        "actor": actor,
        "subject_id": subject_id,
        "correlation_id": correlation_id,
        "since": since,
        "until": until,
        "after": after,
    }
    return await page(connection, _BY_TENANT, parameters, AuditRow, limit=limit)
