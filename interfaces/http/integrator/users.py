"""`/v1/users`: a tenant's people, as far as an integrator may see them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from application.principals import Manager
from domain.errors import NotFound
from domain.events import Recorded
from domain.folding import fold
from domain.ids import TenantId, UserId, wire
from domain.palm import Hand
from domain.user import KycStatus, PersonalField, UserSignedUp, UserStatus
from interfaces.http.as_of import AS_OF, AsOf, folding, moment, past_row, told
from interfaces.http.parameters import (
    Cursor,
    Limit,
    MinPosition,
    cursor,
    etag,
    opaque,
    path_id,
    reading,
)
from interfaces.http.refusals import FRESHNESS, PAGE, merged
from interfaces.http.services import Services
from projections import users as view

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]

USER: Final = "usr"
PALM: Final = "plm"
NOT_FOUND: Final = "user_not_found"

ExternalId = Annotated[
    str | None,
    QueryParameter(
        name="external_id",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@|-]{0,127}$",
        description="the person whom you gave this id of yours",
    ),
]


class LatestConsent(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for one purpose; every time stands under `/v1/users/{id}/consents`."""

    id: str
    type: str
    version: str
    granted: bool
    granted_at: datetime
    withdrawn_at: datetime | None


class PalmShown(msgspec.Struct, frozen=True, kw_only=True):
    palm_ref: FromPath[str]
    hand: Hand


class UserShown(msgspec.Struct, frozen=True, kw_only=True):
    """A person by pseudonymous id. `fields` names what the vault holds; no value is here."""

    id: str
    status: UserStatus
    kyc_status: KycStatus
    kyc_level: str | None
    fields: tuple[PersonalField, ...]
    signed_up_by: str
    signed_up_at: datetime
    consents: list[LatestConsent]
    palms: list[PalmShown]
    version: int


class UserPage(msgspec.Struct, frozen=True, kw_only=True):
    items: list[UserShown]
    next: str | None


def shown(row: view.UserRow) -> UserShown:
    consents = [
        LatestConsent(
            id=wire("cst", consent.id),
            type=purpose,
            version=consent.version,
            granted=consent.granted,
            granted_at=consent.granted_at,
            withdrawn_at=consent.withdrawn_at,
        )
        for purpose, consent in sorted(row.consents.items())
    ]
    palms = [PalmShown(palm_ref=wire(PALM, ref), hand=hand) for ref, hand in row.palms.items()]
    return UserShown(
        id=wire(USER, row.user_id),
        status=row.status,
        kyc_status=row.kyc_status,
        kyc_level=row.kyc_level,
        fields=row.fields,
        signed_up_by=row.signed_up_by,
        signed_up_at=row.signed_up_at,
        consents=consents,
        palms=palms,
        version=row.version,
    )


@get(
    "/v1/users",
    operation_id="listUsers",
    tags=["Users"],
    summary="List the tenant's people",
    permission="users.read",
    refusals=merged(PAGE, AS_OF),
)
async def index(
    integrator: Integrator,
    services: Given,
    page: Cursor = None,
    limit: Limit = 50,
    min_position: MinPosition = None,
    as_of: AsOf = None,
    external_id: ExternalId = None,
) -> Response[UserPage]:
    after = cursor(page)
    up_to = await moment(services, as_of)
    if external_id is not None:
        row = await _by_external_id(services, integrator.tenant_id, external_id, up_to)
        return Response(
            UserPage(items=[] if row is None else [shown(row)], next=None), headers=told(up_to)
        )
    if up_to is not None:
        past = await services.history.page(
            integrator.tenant_id,
            UserSignedUp,
            folding(view.reduce),
            up_to=up_to,
            after=after,
            limit=limit,
        )
        items = [shown(row) for row in past.states]
        return Response(UserPage(items=items, next=opaque(past.next)), headers=told(up_to))
    async with reading(services, integrator.tenant_id, view.READ_MODEL, min_position) as connection:
        found = await view.by_tenant(connection, integrator.tenant_id, after=after, limit=limit)
    return Response(UserPage(items=[shown(row) for row in found.rows], next=opaque(found.next)))


@get(
    "/v1/users/{user_id:str}",
    operation_id="getUser",
    tags=["Users"],
    summary="One person",
    permission="users.read",
    refusals=merged(FRESHNESS, AS_OF, {404: (NOT_FOUND,)}),
)
async def show(
    user_id: FromPath[str],
    integrator: Integrator,
    services: Given,
    min_position: MinPosition = None,
    as_of: AsOf = None,
) -> Response[UserShown]:
    found = path_id(USER, user_id, NOT_FOUND)
    up_to = await moment(services, as_of)
    if up_to is not None:
        past = await past_row(
            services,
            integrator.tenant_id,
            found,
            UserSignedUp,
            view.reduce,
            up_to,
            NOT_FOUND,
        )
        return Response(shown(past), headers={**etag(past.version), **told(up_to)})
    async with reading(services, integrator.tenant_id, view.READ_MODEL, min_position) as connection:
        row = await view.by_id(connection, integrator.tenant_id, UserId(found))
    if row is None:
        raise NotFound(NOT_FOUND)
    return Response(shown(row), headers=etag(row.version))


async def now(services: Services, tenant_id: TenantId, user_id: UserId) -> Response[UserShown]:
    """The person as the log has it this moment, with the ETag. Raises NotFound."""
    row = await services.streams.state(tenant_id, user_id, _row)
    if row is None:
        raise NotFound(NOT_FOUND)
    return Response(shown(row), headers=etag(row.version))


async def _by_external_id(
    services: Services, tenant_id: TenantId, external_id: str, up_to: int | None
) -> view.UserRow | None:
    """Whose id it is today, as that person is, or was by then."""
    user_id = await services.users.by_external_id(tenant_id, external_id)
    if user_id is None:
        return None
    if up_to is None:
        return await services.streams.state(tenant_id, user_id, _row)
    past = await services.history.stream(tenant_id, user_id, UserSignedUp, up_to)
    return _row(past)


def _row(past: Sequence[Recorded]) -> view.UserRow | None:
    return fold(view.reduce, past)


HANDLERS = (index, show)
