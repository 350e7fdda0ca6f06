"""Managed users: signed up by a backend, changed, suspended, and one person's alone."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any
from uuid import UUID

import pytest

from application.identifiers import Values, identifier_claim
from application.ports import CommitFailed
from application.principals import Caller
from domain import claim as k
from domain import user as u
from domain.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    PreconditionFailed,
)
from domain.ids import UserId
from tests.application.turns import race
from tests.application.world import MOBILE, OTHER_TENANT, TILL, World
from tests.builders import DEVICE, USER
from tests.spec import CORRELATION, TENANT

BACKEND = Caller(tenant_id=TENANT, actor="client:cli_1", correlation_id=CORRELATION)
KEY = "signup-0000000001"
EMAIL = "Sara@Example.com"


async def signed_up(world: World, key: str | None = None, **values: str) -> u.User:
    user, _ = await world.users().sign_up(BACKEND, of(values), key)
    return user


def of(values: dict[str, str]) -> Values:
    fields: tuple[u.PersonalField, ...] = ("name", "mobile", "email", "external_id")
    return {field: values[field] for field in fields if field in values}


def owner(world: World, kind: str, value: str) -> UUID | None:
    claim = k.rebuild(world.log.stream(identifier_claim(world.digests, TENANT, kind, value)))
    return None if claim is None else claim.owner


async def test_values_go_to_the_vault_and_the_log_knows_their_names_only() -> None:
    world = World()
    user = await signed_up(world, name=" Sara ", mobile=MOBILE, email=EMAIL, external_id="crm|7")
    kept = {"name": "Sara", "mobile": MOBILE, "email": "sara@example.com", "external_id": "crm|7"}
    assert await world.vault.everything(TENANT, user.id) == kept
    (event,) = world.events(user.id)
    assert isinstance(event, u.UserSignedUp)
    assert (event.method, set(event.fields)) == ("integrator", set(kept))
    for kind in (k.MOBILE, k.EMAIL, k.EXTERNAL_ID):
        assert owner(world, kind, kept[kind]) == user.id
    assert await world.users().by_external_id(TENANT, "crm|7") == user.id
    assert await world.users().by_external_id(OTHER_TENANT, "crm|7") is None


async def test_the_same_key_is_the_same_person_and_never_another() -> None:
    world = World()
    first = await signed_up(world, KEY, email=EMAIL)
    again = await signed_up(world, KEY, email=EMAIL)
    assert again == first
    with pytest.raises(Invalid) as refused:
        await signed_up(world, KEY, email="other@example.com")
    assert refused.value.code == "idempotency_key_reused"
    assert (await world.vault.everything(TENANT, first.id)) == {"email": "sara@example.com"}


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"mobile": MOBILE}, "mobile_taken"),
        ({"email": "SARA@example.com"}, "email_taken"),
        ({"external_id": "crm|7"}, "external_id_taken"),
    ],
)
async def test_what_is_one_persons_cannot_become_anothers(
    values: dict[str, str], code: str
) -> None:
    world = World()
    await signed_up(world, mobile=MOBILE, email=EMAIL, external_id="crm|7")
    other = await signed_up(world, name="Another")
    with pytest.raises(Conflict) as refused:
        await signed_up(world, **values)
    assert refused.value.code == code
    with pytest.raises(Conflict) as refused:
        await world.users().change(BACKEND, other.id, None, of(values))
    assert refused.value.code == code
    assert await world.vault.everything(TENANT, other.id) == {"name": "Another"}


async def test_a_mobile_of_a_persons_sign_up_at_a_device_is_taken_too() -> None:
    world = World()
    challenged = await world.sign_ups().sign_up(TILL, MOBILE, "en")
    code = world.sender.sent[-1][1]
    verified = await world.sign_ups().verify(TILL, challenged.challenge_id, code)
    with pytest.raises(Conflict):
        await signed_up(world, mobile=MOBILE)
    user, _ = await world.users().change(
        BACKEND, verified.user_id, None, {"mobile": "+966509999999"}
    )
    assert owner(world, k.MOBILE, MOBILE) is None
    assert owner(world, k.MOBILE, "+966509999999") == user.id


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"mobile": "12"}, "mobile_invalid"),
        ({"email": "nobody"}, "email_invalid"),
        ({"email": "a@b"}, "email_invalid"),
        ({"email": "two@@example.com"}, "email_invalid"),
        ({"email": "سارة@example.com"}, "email_invalid"),
        ({"email": "a" * 65 + "@example.com"}, "email_invalid"),
        ({"external_id": "no spaces"}, "external_id_invalid"),
    ],
)
async def test_what_makes_no_sense_is_refused(values: dict[str, str], code: str) -> None:
    world = World()
    with pytest.raises(Invalid) as refused:
        await signed_up(world, **values)
    assert refused.value.code == code
    assert world.vault.values == {}


async def test_two_who_want_one_address_at_once_get_it_once() -> None:
    """Seen to fail when the claim is not part of the commit."""

    async def scene() -> tuple[World, Sequence[Coroutine[Any, Any, u.User]]]:
        world = World()
        return world, [signed_up(world, name=name, email=EMAIL) for name in "ab"]

    async def check(world: World, *outcomes: u.User | BaseException) -> None:
        (won,) = (outcome for outcome in outcomes if isinstance(outcome, u.User))
        (lost,) = (outcome for outcome in outcomes if isinstance(outcome, BaseException))
        assert isinstance(lost, Conflict)
        assert owner(world, k.EMAIL, "sara@example.com") == won.id

    await race(scene, check, steps=8)


async def test_a_change_is_of_the_version_that_was_seen() -> None:
    world = World()
    user = await signed_up(world, name="Sara", email=EMAIL)
    users = world.users()
    changed, done = await users.change(BACKEND, user.id, 1, {"email": "s@example.org"})
    assert done.events == [
        u.UserChanged(changed=("email",), fields=("email", "name"), claims=changed.claims)
    ]
    assert owner(world, k.EMAIL, "sara@example.com") is None
    assert owner(world, k.EMAIL, "s@example.org") == user.id
    with pytest.raises(PreconditionFailed):
        await users.change(BACKEND, user.id, 1, {"name": "Late"})
    assert (await world.vault.read(TENANT, user.id, "name")) == "Sara"
    nothing, done = await users.change(BACKEND, user.id, None, {})
    assert (nothing.version, done.position) == (changed.version, None)


async def test_who_dies_right_after_the_commit_has_changed_event_claim_and_value() -> None:
    """Seen to fail, the vault having the value before, when values are stored after the append."""
    world = World()
    user = await signed_up(world, email=EMAIL)

    async def dies() -> None:
        raise CommitFailed("the process is gone")

    world.log.after(u.UserChanged, dies)
    with pytest.raises(CommitFailed):
        await world.users().change(BACKEND, user.id, 1, {"email": "s@example.org"})
    assert world.names(user.id) == ["user.signed_up", "user.changed"]
    assert await world.vault.read(TENANT, user.id, "email") == "s@example.org"
    assert owner(world, k.EMAIL, "s@example.org") == user.id


async def test_who_dies_right_before_the_commit_has_changed_nothing() -> None:
    """Seen to fail when values are stored before the append."""
    world = World()
    user = await signed_up(world, email=EMAIL)

    async def dies() -> None:
        raise CommitFailed("the process is gone")

    world.log.before(u.UserChanged, dies)
    with pytest.raises(CommitFailed):
        await world.users().change(BACKEND, user.id, 1, {"email": "s@example.org"})
    assert world.names(user.id) == ["user.signed_up"]
    assert await world.vault.read(TENANT, user.id, "email") == "sara@example.com"
    assert owner(world, k.EMAIL, "s@example.org") is None


async def test_suspended_and_resumed() -> None:
    world = World()
    users = world.users()
    user, _ = await users.suspend(BACKEND, USER, None, "fraud_suspected")
    assert user.status == "suspended"
    _, done = await users.suspend(BACKEND, USER, None, "requested")
    assert done.events == []
    with pytest.raises(PreconditionFailed):
        await users.resume(BACKEND, USER, 1)
    user, _ = await users.resume(BACKEND, USER, user.version)
    assert user.status == "active"


async def test_kyc_is_a_status_and_a_level() -> None:
    world = World()
    user, _ = await world.users().change_kyc(BACKEND, USER, None, "verified", "enhanced")
    assert (user.kyc_status, user.kyc_level) == ("verified", "enhanced")
    for level in ("Not A Name", "x" * 33):
        with pytest.raises(Invalid):
            await world.users().change_kyc(BACKEND, USER, None, "verified", level)
    with pytest.raises(Invalid):
        await world.users().change_kyc(BACKEND, USER, None, "pending", "basic")


async def test_whoever_is_erased_is_not_changed_and_leaves_every_identifier_free() -> None:
    world = World()
    user = await signed_up(world, mobile=MOBILE, email=EMAIL, external_id="crm|7")
    await world.erasures().request(BACKEND, user.id)
    for kind, value in (
        (k.MOBILE, MOBILE),
        (k.EMAIL, "sara@example.com"),
        ("external_id", "crm|7"),
    ):
        assert owner(world, kind, value) is None
    attempts: list[Callable[[], Awaitable[object]]] = [
        lambda: world.users().change(BACKEND, user.id, None, {"name": "Sara"}),
        lambda: world.users().suspend(BACKEND, user.id, None, "requested"),
        lambda: world.users().resume(BACKEND, user.id, None),
        lambda: world.users().change_kyc(BACKEND, user.id, None, "verified", None),
    ]
    for attempt in attempts:
        with pytest.raises(Forbidden):
            await attempt()
    assert await world.vault.everything(TENANT, user.id) == {}
    assert (await signed_up(world, mobile=MOBILE, email=EMAIL, external_id="crm|7")).id != user.id


@pytest.mark.parametrize("stream", [UserId(UUID(int=7)), UserId(DEVICE)])
async def test_what_is_no_person_is_not_found(stream: UserId) -> None:
    with pytest.raises(NotFound):
        await World().users().suspend(BACKEND, stream, None, "requested")
