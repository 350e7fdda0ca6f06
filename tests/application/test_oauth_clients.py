"""The registry of OAuth clients: nobody hands on more than they hold, and secrets rotate."""

from collections.abc import Awaitable, Callable

import msgspec
import pytest

from application.ports import CommitFailed
from application.principals import DevicePrincipal, IntegratorPrincipal
from application.tenants.oauth_clients import CLIENTS_MAX, Changed, OAuthClients
from domain import oauth_client as c
from domain.errors import Conflict, Forbidden, Invalid, NotFound, PreconditionFailed
from domain.ids import OAuthClientId
from tests import builders
from tests.application.world import BACKEND, OTHER_TENANT, TILL, World
from tests.builders import DEVICE
from tests.spec import CORRELATION, STREAM, TENANT

METADATA = c.ClientMetadata(name="Wallet backend", scopes=("devices:read", "users:read"))


def backend(*scopes: str) -> IntegratorPrincipal:
    return IntegratorPrincipal(
        tenant_id=TENANT,
        actor="client:cli_1",
        correlation_id=CORRELATION,
        client_id=OAuthClientId(STREAM),
        scopes=frozenset(scopes),
    )


async def made(world: World) -> Changed:
    return await world.oauth_clients().register(BACKEND, METADATA)


async def test_a_backend_registers_a_client_with_what_it_holds() -> None:
    world = World()
    caller = backend("oauth_clients:write", "devices:read", "users:read")
    found = await world.oauth_clients().register(caller, METADATA)
    assert found.client.metadata == METADATA
    assert found.secret is not None


@pytest.mark.parametrize(
    "caller",
    [
        backend("oauth_clients:write", "devices:read"),
        backend("oauth_clients:write", "devices:read", "users:write"),
        backend(),
        TILL,
    ],
    ids=["one missing", "another", "nothing", "a device"],
)
async def test_nobody_hands_on_a_scope_that_they_do_not_hold(
    caller: IntegratorPrincipal | DevicePrincipal,
) -> None:
    world = World()
    before = world.log.read_now()
    with pytest.raises(Forbidden, match="scope_not_held"):
        await world.oauth_clients().register(caller, METADATA)
    assert (world.log.read_now(), world.secrets.kept) == (before, {})


Command = Callable[[OAuthClients, IntegratorPrincipal, OAuthClientId], Awaitable[object]]

COMMANDS: dict[str, Command] = {
    "change": lambda of, who, which: of.change(
        who, which, None, lambda m: msgspec.structs.replace(m, scopes=("devices:read",))
    ),
    "add a secret": lambda of, who, which: of.add_secret(who, which),
    "retire a secret": lambda of, who, which: of.retire_secret(who, which, 1),
    "suspend": lambda of, who, which: of.suspend(who, which),
    "resume": lambda of, who, which: of.resume(who, which),
    "delete": lambda of, who, which: of.delete(who, which, None),
}


@pytest.mark.parametrize("name", COMMANDS)
async def test_whoever_holds_less_than_a_client_has_no_hand_on_it(name: str) -> None:
    """Else they would give themselves a secret of it, or take its scopes away and give them back
    to another."""
    world = World()
    client = (await made(world)).client
    before = world.events(client.id)
    caller = backend("oauth_clients:write", "devices:read")
    with pytest.raises(Forbidden, match="scope_not_held"):
        await COMMANDS[name](world.oauth_clients(), caller, client.id)
    assert world.events(client.id) == before


@pytest.mark.parametrize("name", COMMANDS)
async def test_another_tenants_client_and_what_is_no_client_are_not_there(name: str) -> None:
    world = World()
    client = (await made(world)).client
    caller = backend("oauth_clients:write", *METADATA.scopes)
    elsewhere = msgspec.structs.replace(caller, tenant_id=OTHER_TENANT)
    for who, which in ((elsewhere, client.id), (caller, OAuthClientId(DEVICE))):
        with pytest.raises(NotFound, match="oauth_client_not_found"):
            await COMMANDS[name](world.oauth_clients(), who, which)


async def test_a_rotation_of_secrets_by_number() -> None:
    world = World()
    first = await made(world)
    second = await world.oauth_clients().add_secret(BACKEND, first.client.id)
    assert second.secret not in (None, first.secret)
    assert second.client.secrets == (1, 2)
    with pytest.raises(Conflict, match="too_many_secrets"):
        await world.oauth_clients().add_secret(BACKEND, first.client.id)
    retired = await world.oauth_clients().retire_secret(BACKEND, first.client.id, 1)
    assert retired.client.secrets == (2,)
    assert [number for _, _, number in world.secrets.kept] == [2]


async def test_a_repeat_of_a_registration_shows_no_secret_and_makes_none() -> None:
    world = World()
    key = "register-0000000001"
    first = await world.oauth_clients().register(BACKEND, METADATA, key)
    again = await world.oauth_clients().register(BACKEND, METADATA, key)
    assert (first.client.id, again.secret) == (again.client.id, None)
    assert len(world.secrets.kept) == 1
    other = msgspec.structs.replace(METADATA, name="Other")
    with pytest.raises(Invalid, match="idempotency_key_reused"):
        await world.oauth_clients().register(BACKEND, other, key)


async def test_a_registration_whose_commit_failed_can_be_repeated() -> None:
    """Seen to fail where the secret was kept before the event: the repeat met the first's."""
    world = World()
    key = "register-0000000001"

    async def fail() -> None:
        raise CommitFailed("the connection broke")

    world.log.before(c.OAuthClientRegistered, fail)
    with pytest.raises(CommitFailed):
        await world.oauth_clients().register(BACKEND, METADATA, key)
    repeated = await world.oauth_clients().register(BACKEND, METADATA, key)
    assert repeated.secret is not None
    assert len(world.secrets.kept) == 1


async def test_two_registrations_of_one_key_at_once_show_one_secret() -> None:
    world = World()
    key = "register-0000000001"
    told: list[Changed] = []

    async def other() -> None:
        told.append(await world.oauth_clients().register(BACKEND, METADATA, key))

    world.log.before(c.OAuthClientRegistered, other)
    told.append(await world.oauth_clients().register(BACKEND, METADATA, key))
    assert [each.secret is not None for each in told] == [True, False]
    assert len(world.secrets.kept) == 1


async def test_a_change_is_of_the_version_that_was_seen() -> None:
    world = World()
    client = (await made(world)).client
    registry = world.oauth_clients()

    def renamed(metadata: c.ClientMetadata) -> c.ClientMetadata:
        return msgspec.structs.replace(metadata, name="Renamed")

    changed = await registry.change(BACKEND, client.id, 1, renamed)
    assert (changed.client.metadata.name, changed.client.version) == ("Renamed", 2)
    with pytest.raises(PreconditionFailed, match="version_mismatch"):
        await registry.change(BACKEND, client.id, 1, renamed)


async def test_keys_that_cannot_be_used_or_reached_are_refused() -> None:
    world = World()
    keys = msgspec.structs.replace(
        METADATA,
        auth_method="private_key_jwt",
        jwks=(c.PublicJwk(kty="EC", kid="unusable"),),
    )
    with pytest.raises(Invalid, match="client_keys_invalid"):
        await world.oauth_clients().register(BACKEND, keys)
    world.egress.forbidden.add("https://10.0.0.1/jwks")
    away = msgspec.structs.replace(keys, jwks=(), jwks_uri="https://10.0.0.1/jwks")
    with pytest.raises(Invalid, match="url_forbidden"):
        await world.oauth_clients().register(BACKEND, away)
    client = (await made(world)).client
    with pytest.raises(Invalid, match="url_forbidden"):
        await world.oauth_clients().change(BACKEND, client.id, None, lambda _: away)


async def test_a_tenant_has_so_many_clients_and_no_more() -> None:
    world = World()
    world.client_count.of[TENANT] = CLIENTS_MAX
    caller = backend("oauth_clients:write", *METADATA.scopes)
    with pytest.raises(Conflict, match="too_many_oauth_clients"):
        await world.oauth_clients().register(caller, METADATA)
    assert (await made(world)).client.status == "active", "whoever runs the platform is not bound"


async def test_a_deleted_client_is_not_there() -> None:
    world = World()
    client = (await made(world)).client
    await world.oauth_clients().delete(BACKEND, client.id, 1)
    with pytest.raises(NotFound, match="oauth_client_not_found"):
        await world.oauth_clients().get(TENANT, client.id)
    assert world.events(client.id)[-1] == builders.oauth_client_deleted()
