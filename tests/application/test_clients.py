"""An integrator's client: its secret seen once, its scopes settled at the token endpoint
(003 §3.7; RFC 6749 §4.4)."""

from collections.abc import Callable

import pytest

from application.clients import SYMBOLS, Grant, Registered
from domain import oauth_client as c
from domain.errors import Invalid, Unauthenticated
from domain.ids import wire
from tests import builders
from tests.application.world import BACKEND, Killed, World, kill
from tests.builders import DEVICE
from tests.spec import TENANT

SCOPES = frozenset({"devices:read", "users:read"})


async def registered(world: World) -> Registered:
    return await world.clients().register(BACKEND, "Wallet backend", SCOPES)


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
    found = await world.clients().grant(wire("cli", client.client_id), client.secret, scope)
    assert found == Grant(tenant_id=TENANT, client_id=client.client_id, scopes=granted)


@pytest.mark.parametrize(
    "scope", ["", " ", "devices:write", "devices:read devices:write", "Devices:read"]
)
async def test_a_scope_that_it_does_not_have_is_refused(scope: str) -> None:
    world = World()
    client = await registered(world)
    with pytest.raises(Invalid, match="invalid_scope"):
        await world.clients().grant(wire("cli", client.client_id), client.secret, scope)


def _of_nobody(client: Registered) -> tuple[str, str]:
    return wire("cli", DEVICE), client.secret


def _malformed(client: Registered) -> tuple[str, str]:
    return client.client_id.hex, client.secret


def _wrong_secret(client: Registered) -> tuple[str, str]:
    return wire("cli", client.client_id), client.secret[:-1]


@pytest.mark.parametrize("said", [_of_nobody, _malformed, _wrong_secret])
async def test_every_reason_not_to_know_a_client_is_the_same_refusal(
    said: Callable[[Registered], tuple[str, str]],
) -> None:
    world = World()
    client_id, secret = said(await registered(world))
    with pytest.raises(Unauthenticated) as raised:
        await world.clients().grant(client_id, secret, None)
    assert raised.value.code == "invalid_client"


async def test_a_disabled_client_gets_nothing() -> None:
    world = World()
    client = await registered(world)
    world.given(client.client_id, builders.oauth_client_disabled())
    with pytest.raises(Unauthenticated, match="invalid_client"):
        await world.clients().grant(wire("cli", client.client_id), client.secret, None)


async def test_a_client_that_died_before_it_was_registered_opens_nothing() -> None:
    """Its secret was kept, its registration was not."""
    world = World()
    world.log.before(c.OAuthClientRegistered, kill)
    with pytest.raises(Killed):
        await registered(world)
    ((client_id, _),) = world.secrets.kept
    await world.secrets.store(
        TENANT, client_id, world.digests.digest("client_secret", "what nobody was told")
    )
    with pytest.raises(Unauthenticated, match="invalid_client"):
        await world.clients().grant(wire("cli", client_id), "what nobody was told", None)
