"""An integrator's client proves itself, by a secret or an assertion, and its scopes are settled
(003 §3.7; RFC 6749 §4.4)."""

from collections.abc import Callable

import pytest

from application.tenants.clients import AssertionShown, Grant, Registered, SecretShown, grant
from application.tenants.oauth_clients import SYMBOLS
from domain import oauth_client as c
from domain.errors import Invalid, Unauthenticated
from domain.events import DomainEvent
from domain.ids import wire
from tests import builders
from tests.application.world import BACKEND, Killed, World, kill
from tests.builders import DEVICE
from tests.spec import TENANT

SCOPES = frozenset({"devices:read", "users:read"})
US = frozenset({"https://identity.example"})


async def registered(world: World) -> Registered:
    return await world.clients().register(BACKEND, "Wallet backend", SCOPES)


async def authenticated(world: World, client: Registered) -> c.OAuthClient:
    shown = SecretShown(client_id=wire("cli", client.client_id), secret=client.secret)
    return await world.clients().authenticate(shown, US)


async def test_a_client_gets_its_secret_once_and_nobody_keeps_it() -> None:
    world = World()
    client = await registered(world)
    assert len(client.secret) == SYMBOLS
    assert world.events(client.client_id) == [
        c.OAuthClientRegistered(name="Wallet backend", scopes=("devices:read", "users:read"))
    ]
    assert client.secret not in repr(world.secrets.kept)
    assert client.secret not in repr(world.log.read_now())
    assert (await registered(world)).secret != client.secret
    assert (await authenticated(world, client)).id == client.client_id


@pytest.mark.parametrize(
    ("name", "scopes", "code"),
    [
        ("", SCOPES, "client_name_invalid"),
        ("Wallet", frozenset({"everything"}), "scope_unknown"),
        ("Wallet", frozenset[str](), "scope_unknown"),
    ],
)
async def test_a_client_that_makes_no_sense_leaves_nothing(
    name: str, scopes: frozenset[str], code: str
) -> None:
    world = World()
    before = world.log.read_now()
    with pytest.raises(Invalid) as raised:
        await world.clients().register(BACKEND, name, scopes)
    assert raised.value.code == code
    assert (world.log.read_now(), world.secrets.kept) == (before, {})


@pytest.mark.parametrize(
    ("scope", "granted"),
    [
        (None, ("devices:read", "users:read")),
        ("devices:read", ("devices:read",)),
        ("users:read  devices:read users:read", ("devices:read", "users:read")),
    ],
)
async def test_a_client_is_granted_what_it_asks_of_what_it_has(
    scope: str | None, granted: tuple[str, ...]
) -> None:
    world = World()
    client = await registered(world)
    found = grant(await authenticated(world, client), scope)
    assert found == Grant(tenant_id=TENANT, client_id=client.client_id, scopes=granted)


@pytest.mark.parametrize(
    "scope", ["", " ", "devices:write", "devices:read devices:write", "Devices:read"]
)
async def test_a_scope_that_it_does_not_have_is_refused(scope: str) -> None:
    world = World()
    client = await authenticated(world, await registered(world))
    with pytest.raises(Invalid, match="invalid_scope"):
        grant(client, scope)


def _of_nobody(client: Registered) -> SecretShown:
    return SecretShown(client_id=wire("cli", DEVICE), secret=client.secret)


def _malformed(client: Registered) -> SecretShown:
    return SecretShown(client_id=client.client_id.hex, secret=client.secret)


def _wrong_secret(client: Registered) -> SecretShown:
    return SecretShown(client_id=wire("cli", client.client_id), secret=client.secret[:-1])


def _no_secret(client: Registered) -> SecretShown:
    return SecretShown(client_id=wire("cli", client.client_id), secret="")


def _assertion(client: Registered) -> AssertionShown:
    return AssertionShown(client_id=None, assertion=f"{wire('cli', client.client_id)}/1")


@pytest.mark.parametrize("said", [_of_nobody, _malformed, _wrong_secret, _no_secret, _assertion])
async def test_every_reason_not_to_know_a_client_is_the_same_refusal(
    said: Callable[[Registered], SecretShown | AssertionShown],
) -> None:
    world = World()
    shown = said(await registered(world))
    with pytest.raises(Unauthenticated) as raised:
        await world.clients().authenticate(shown, US)
    assert (raised.value.code, raised.value.detail) == ("invalid_client", None)


@pytest.mark.parametrize(
    "event",
    [
        builders.oauth_client_suspended(),
        builders.oauth_client_deleted(),
        builders.oauth_client_disabled(),
        builders.oauth_client_secret_retired(),
        builders.oauth_client_changed(),
    ],
    ids=lambda event: event.NAME,
)
async def test_a_secret_opens_nothing_once_it_or_its_client_has_ended(event: DomainEvent) -> None:
    """What is kept of the secret stays where it is: it is the log that ends it."""
    world = World()
    client = await registered(world)
    assert await authenticated(world, client)
    world.given(client.client_id, event)
    with pytest.raises(Unauthenticated, match="invalid_client"):
        await authenticated(world, client)


async def test_an_assertion_proves_a_client_of_that_method_once() -> None:
    world = World()
    metadata = builders.oauth_client_changed().metadata
    made = await world.oauth_clients().register(BACKEND, metadata)
    assert (made.secret, world.secrets.kept) == (None, {})
    name = wire("cli", made.client.id)
    shown = AssertionShown(client_id=name, assertion=f"{name}/1")
    assert (await world.clients().authenticate(shown, US)).id == made.client.id
    refused: list[SecretShown | AssertionShown] = [
        shown,
        AssertionShown(client_id=wire("cli", DEVICE), assertion=f"{name}/2"),
        AssertionShown(client_id=None, assertion=f"{wire('cli', DEVICE)}/3"),
        SecretShown(client_id=name, secret=""),
    ]
    for each in refused:
        with pytest.raises(Unauthenticated, match="invalid_client"):
            await world.clients().authenticate(each, US)
    assert world.assertions.shown == {f"{name}/1"}


async def test_a_secret_without_a_registered_client_opens_nothing() -> None:
    world = World()
    client_id = world.ids.uuid()
    digest = world.digests.digest("client_secret", "what nobody was told")
    await world.secrets.store(TENANT, client_id, 1, digest)
    shown = SecretShown(client_id=wire("cli", client_id), secret="what nobody was told")
    with pytest.raises(Unauthenticated, match="invalid_client"):
        await world.clients().authenticate(shown, US)


async def test_a_client_whose_registration_died_before_its_secret_has_none() -> None:
    """Nobody was told any; whoever registered it has another made, and that one opens."""
    world = World()
    world.log.after(c.OAuthClientRegistered, kill)
    with pytest.raises(Killed):
        await registered(world)
    assert world.secrets.kept == {}
    (registration,) = [
        each for each in world.log.read_now() if isinstance(each.event, c.OAuthClientRegistered)
    ]
    added = await world.oauth_clients().add_secret(BACKEND, registration.stream_id)
    assert added.secret is not None
    shown = SecretShown(client_id=wire("cli", registration.stream_id), secret=added.secret)
    assert await world.clients().authenticate(shown, US)
