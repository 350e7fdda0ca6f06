"""`/v1/users/{id}/sessions`: where a person is signed in, for the tenant's support."""

from litestar import delete, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from application.principals import Manager
from domain.ids import UserId
from interfaces.http.integrator.users import NOT_FOUND, USER
from interfaces.http.parameters import path_id
from interfaces.http.refusals import WRITE, merged
from interfaces.http.services import Services
from interfaces.http.user.sessions import SessionList, session

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]


@get(
    "/v1/users/{user_id:str}/sessions",
    operation_id="listUserSessions",
    tags=["Users"],
    summary="A person's open sessions, newest first",
    permission="users.read",
    refusals={404: (NOT_FOUND,)},
)
async def index(user_id: FromPath[str], integrator: Integrator, services: Given) -> SessionList:
    found = UserId(path_id(USER, user_id, NOT_FOUND))
    await services.users.get(integrator.tenant_id, found)
    lines = await services.user_sessions.of_user(integrator.tenant_id, found)
    return SessionList(items=[session(line) for line in lines])


@delete(
    "/v1/users/{user_id:str}/sessions",
    operation_id="endUserSessions",
    tags=["Users"],
    summary="Sign a person out everywhere",
    status_code=204,
    permission="users.write",
    refusals=merged(WRITE, {404: (NOT_FOUND,)}),
)
async def end(user_id: FromPath[str], integrator: Integrator, services: Given) -> None:
    found = UserId(path_id(USER, user_id, NOT_FOUND))
    await services.users.get(integrator.tenant_id, found)
    await services.user_sessions.end_all(integrator, found, "revoked_by_integrator")


HANDLERS = (index, end)
