"""`/v1/users/{id}/accesses`: who was shown a person's data, asked on the person's behalf."""

from datetime import datetime
from typing import Final

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath

from application.execute import stream_of
from application.principals import Manager
from domain import user as u
from domain.errors import NotFound
from domain.ids import UserId
from domain.personal_data import AccessPurpose
from interfaces.http.parameters import Cursor, Limit, MinPosition, cursor, opaque, path_id, reading
from interfaces.http.refusals import PAGE, merged
from interfaces.http.services import Services
from projections import accesses as view

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]

_user: Final = stream_of(u.UserSignedUp, u.rebuild)


class AccessShown(msgspec.Struct, frozen=True, kw_only=True):
    """One access: who saw which fields, and what for. No value is here."""

    accessed_at: datetime
    actor: str
    purpose: AccessPurpose
    reference: str | None
    operation: str
    fields: tuple[str, ...]
    correlation_id: str
    position: int


class AccessPage(msgspec.Struct, frozen=True, kw_only=True):
    items: list[AccessShown]
    next: str | None


def _shown(row: view.AccessRow) -> AccessShown:
    return AccessShown(
        accessed_at=row.accessed_at,
        actor=row.actor,
        purpose=row.purpose,
        reference=row.reference,
        operation=row.operation,
        fields=row.fields,
        correlation_id=str(row.correlation_id),
        position=row.position,
    )


@get(
    "/v1/users/{user_id:str}/accesses",
    operation_id="listAccesses",
    tags=["Users"],
    summary="Who was shown this person's data, newest first",
    permission="users.read",
    refusals=merged(PAGE, {404: ("user_not_found",), 503: ("commit_failed",)}),
)
async def index(
    user_id: FromPath[str],
    integrator: Integrator,
    services: Given,
    page: Cursor = None,
    limit: Limit = 50,
    min_position: MinPosition = None,
) -> AccessPage:
    found = UserId(path_id("usr", user_id, "user_not_found"))
    after = cursor(page)
    if await services.streams.state(integrator.tenant_id, found, _user) is None:
        raise NotFound("user_not_found")
    await services.audit_readings.note(integrator, "accesses")
    async with reading(services, integrator.tenant_id, view.READ_MODEL, min_position) as connection:
        shown = await view.by_user(
            connection, integrator.tenant_id, found, after=after, limit=limit
        )
    return AccessPage(items=[_shown(row) for row in shown.rows], next=opaque(shown.next))


HANDLERS = (index,)
