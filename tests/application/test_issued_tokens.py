"""Tokens that were issued: who may ask about one, who may give it back, and where that ends."""

from uuid import UUID

import msgspec
import pytest

from application.tenants.clients import Registered
from domain import access_token as a
from domain import oauth_client as c
from domain.errors import Unauthenticated
from domain.ids import access_token_id
from infrastructure.keys.signing_keys import SigningKey, SigningKeys
from infrastructure.tokens.access_tokens import AccessTokens
from tests import builders
from tests.application.world import BACKEND, OTHER_TENANT, World
from tests.spec import CORRELATION, TENANT

ISSUER = "https://identity.example"
KEY = SigningKey.generate()


def tokens(world: World) -> AccessTokens:
    return AccessTokens(SigningKeys(KEY), ISSUER, ISSUER, world.clock, world.ids)


async def client(world: World) -> tuple[Registered, c.OAuthClient]:
    made = await world.clients().register(BACKEND, "backend", frozenset({"users:read"}))
    return made, await world.oauth_clients().get(TENANT, made.client_id)


def issued(world: World, to: c.OAuthClient) -> str:
    return tokens(world).issue(TENANT, to.id, ["users:read"]).access_token


async def test_a_good_token_is_known_within_its_tenant_and_nowhere_else() -> None:
    world = World()
    _, ours = await client(world)
    token = issued(world, ours)
    of = world.issued_tokens(tokens(world))
    found = await of.introspect(ours, token)
    assert found is not None
    assert (found.client_id, found.scopes) == (ours.id, frozenset({"users:read"}))
    theirs = msgspec.structs.replace(ours, tenant_id=OTHER_TENANT)
    assert await of.introspect(theirs, token) is None
    assert await of.introspect(ours, token[:-2]) is None


@pytest.mark.parametrize(
    "event", [builders.oauth_client_suspended(), builders.oauth_client_deleted()]
)
async def test_the_token_of_a_client_that_is_not_active_is_not_good(
    event: c.OAuthClientEvent,
) -> None:
    world = World()
    _, ours = await client(world)
    token = issued(world, ours)
    world.given(ours.id, event)
    of = world.issued_tokens(tokens(world))
    assert await of.introspect(ours, token) is None
    with pytest.raises(Unauthenticated, match="token_invalid"):
        await of.good(token)


async def test_a_token_ends_when_its_client_gives_it_back_and_only_this_one() -> None:
    world = World()
    _, ours = await client(world)
    token, other = issued(world, ours), issued(world, ours)
    of = world.issued_tokens(tokens(world))
    found, _ = await of.good(token)
    before = len(world.log.read_now())
    for _ in range(2):
        await of.revoke(ours, token, CORRELATION)
    assert world.events(access_token_id(ours.id, found.jti)) == [
        a.AccessTokenRevoked(client_id=ours.id, expires_at=found.expires_at)
    ]
    assert len(world.log.read_now()) == before + 1
    with pytest.raises(Unauthenticated, match="token_invalid"):
        await of.good(token)
    assert await of.introspect(ours, token) is None
    assert await of.introspect(ours, other) is not None


async def test_nobody_gives_back_what_is_not_theirs() -> None:
    world = World()
    _, ours = await client(world)
    _, others = await client(world)
    token = issued(world, ours)
    of = world.issued_tokens(tokens(world))
    before = world.log.read_now()
    for asking, shown in ((others, token), (ours, token[:-2]), (ours, "x"), (ours, "")):
        await of.revoke(asking, shown, UUID(int=1))
    assert world.log.read_now() == before
    assert await of.introspect(ours, token) is not None
