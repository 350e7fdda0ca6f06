"""Read model `oauth_clients`: the backends that may call for a tenant, and what they may do."""

from datetime import datetime
from typing import Final, Literal, LiteralString, get_args

import msgspec

from domain.events import Recorded
from domain.folding import UnexpectedEvent
from domain.ids import OAuthClientId, TenantId
from domain.oauth_client import (
    ClientMetadata,
    OAuthClientChanged,
    OAuthClientDeleted,
    OAuthClientDisabled,
    OAuthClientEvent,
    OAuthClientRegistered,
    OAuthClientResumed,
    OAuthClientSecretAdded,
    OAuthClientSecretRetired,
    OAuthClientSuspended,
)
from projections.read_model import Connection, Page, ReadModel, page
from projections.stream_rows import StreamRows

OAuthClientStatus = Literal["active", "suspended", "deleted"]

DDL: Final = """
    CREATE TABLE oauth_clients (
        client_id     uuid        PRIMARY KEY,
        tenant_id     uuid        NOT NULL,
        version       bigint      NOT NULL,
        position      bigint      NOT NULL,
        last_position bigint      NOT NULL,
        metadata      jsonb       NOT NULL,
        secrets       jsonb       NOT NULL,
        status        text        NOT NULL,
        registered_at timestamptz NOT NULL,
        changed_at    timestamptz NOT NULL
    );
    CREATE INDEX oauth_clients_listing ON oauth_clients (tenant_id, position);
"""


class OAuthClientRow(msgspec.Struct, frozen=True, kw_only=True):
    """One client. `version` is its stream's (the ETag); `secrets` are numbers of live ones."""

    client_id: OAuthClientId
    tenant_id: TenantId
    version: int
    position: int
    last_position: int
    metadata: ClientMetadata
    secrets: tuple[int, ...]
    status: OAuthClientStatus
    registered_at: datetime
    changed_at: datetime


def reduce(row: OAuthClientRow | None, recorded: Recorded) -> OAuthClientRow:
    """The client's row after one more fact."""
    event = recorded.event
    if isinstance(event, OAuthClientRegistered):
        metadata = ClientMetadata(**msgspec.structs.asdict(event))
        return OAuthClientRow(
            client_id=OAuthClientId(recorded.stream_id),
            tenant_id=recorded.tenant_id,
            version=recorded.version,
            position=recorded.position,
            last_position=recorded.position,
            metadata=metadata,
            secrets=(1,) if metadata.has_secrets else (),
            status="active",
            registered_at=recorded.recorded_at,
            changed_at=recorded.recorded_at,
        )
    if row is None:
        raise UnexpectedEvent(event)
    replace = msgspec.structs.replace
    row = replace(
        row,
        version=recorded.version,
        last_position=recorded.position,
        changed_at=recorded.recorded_at,
    )
    match event:
        case OAuthClientChanged(metadata=metadata):
            return replace(
                row, metadata=metadata, secrets=row.secrets if metadata.has_secrets else ()
            )
        case OAuthClientSecretAdded(secret=secret):
            return replace(row, secrets=(*row.secrets, secret))
        case OAuthClientSecretRetired(secret=secret):
            return replace(row, secrets=tuple(n for n in row.secrets if n != secret))
        case OAuthClientSuspended() | OAuthClientDisabled():
            return replace(row, status="suspended")
        case OAuthClientResumed():
            return replace(row, status="active")
        case OAuthClientDeleted():
            return replace(row, status="deleted", secrets=())
        case other:
            raise UnexpectedEvent(other)


READ_MODEL: Final = ReadModel(
    name="oauth_clients",
    version=1,
    tables=("oauth_clients",),
    ddl=DDL,
    listens_to=get_args(OAuthClientEvent),
    project=StreamRows("oauth_clients", "client_id", OAuthClientRow, reduce).project,
)

_BY_TENANT: Final[LiteralString] = """
    SELECT * FROM read_models.oauth_clients
    WHERE tenant_id = %(tenant_id)s
      AND position > coalesce(%(after)s::bigint, 0)
      AND status <> 'deleted'
    ORDER BY position
    LIMIT %(limit)s
"""
_COUNT: Final[LiteralString] = """
    SELECT count(*) FROM read_models.oauth_clients
    WHERE tenant_id = %s AND status <> 'deleted'
"""


_TLS_CERTIFICATES: Final[LiteralString] = """
    SELECT coalesce((SELECT least(position, (SELECT min(h.position) - 1
                                             FROM public.projection_halts h
                                             WHERE h.name = 'oauth_clients'))
                     FROM public.projection_positions WHERE name = 'oauth_clients'), 0),
           coalesce(jsonb_agg(DISTINCT pem) FILTER (WHERE pem IS NOT NULL), '[]')
    FROM read_models.oauth_clients
    LEFT JOIN LATERAL jsonb_array_elements_text(metadata -> 'tls_certificates') pem ON true
    WHERE status <> 'deleted'
"""


async def tls_certificates(connection: Connection) -> tuple[int, list[str]]:
    """(position, the certificates that clients of all tenants registered up to it, PEM).

    Needs the projector's role.
    """
    found = await (await connection.execute(_TLS_CERTIFICATES)).fetchone()
    assert found is not None, "an aggregate without GROUP BY answers with one row"
    return found[0], found[1]


async def by_tenant(
    connection: Connection, tenant_id: TenantId, *, after: int | None = None, limit: int = 50
) -> Page[OAuthClientRow]:
    """A tenant's clients in the order of their registration, without the deleted ones."""
    parameters = {"tenant_id": tenant_id, "after": after}
    return await page(connection, _BY_TENANT, parameters, OAuthClientRow, limit=limit)


async def count(connection: Connection, tenant_id: TenantId) -> int:
    """How many clients are not deleted."""
    found = await (await connection.execute(_COUNT, (tenant_id,))).fetchone()
    assert found is not None, "count(*) answers with one row"
    number: int = found[0]
    return number
