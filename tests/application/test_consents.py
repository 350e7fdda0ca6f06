"""What a person who proved a code at a device agrees to (004 diagram 4.4; design §2 row 6)."""

import base64
import hashlib
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from application.people.consents import GrantedConsent
from application.people.signups import GRANT_S
from application.principals import DevicePrincipal
from domain import user as u
from domain.errors import Conflict, Forbidden, Invalid, Refusal, Unauthenticated
from domain.ids import UserId
from domain.personal_fields import consent_text
from tests import builders
from tests.application.turns import race
from tests.application.world import (
    OTHER_DEVICE,
    OTHER_TENANT,
    OTHER_USER,
    TILL,
    World,
    device,
)
from tests.builders import DEVICE
from tests.spec import TENANT


def proved(world: World) -> UserId:
    """A person who proved a code at the till just now."""
    world.given(OTHER_USER, builders.user_signed_up())
    until = world.clock.now() + timedelta(seconds=GRANT_S)
    world.grants.until[TENANT, DEVICE, OTHER_USER] = until
    return OTHER_USER


async def consent(
    world: World,
    user_id: UserId,
    *,
    consent_type: str = u.PALM_ENROLLMENT,
    version: str = "1",
    at: DevicePrincipal = TILL,
) -> GrantedConsent:
    return await world.consents().grant(
        at,
        user_id,
        consent_type=consent_type,
        version=version,
        locale="ar-SA",
        text_sha256="7e" * 32,
    )


async def test_what_a_person_agrees_to_is_recorded_with_its_words() -> None:
    world = World()
    user_id = proved(world)
    granted = await consent(world, user_id)
    assert (granted.granted_at, granted.repeated) == (world.clock.now(), False)
    assert world.events(user_id)[-1] == u.UserConsentGranted(
        consent_id=granted.consent_id,
        consent_type=u.PALM_ENROLLMENT,
        consent_version="1",
        method="device_screen",
        locale="ar-SA",
        text_sha256="7e" * 32,
        device_id=DEVICE,
    )


async def test_the_same_purpose_again_says_nothing_and_shows_the_first() -> None:
    world = World()
    user_id = proved(world)
    first = await consent(world, user_id)
    await consent(world, user_id, consent_type="palm_payment")
    world.clock.advance(5)
    again = await consent(world, user_id)
    assert again == GrantedConsent(
        consent_id=first.consent_id, granted_at=first.granted_at, repeated=True
    )
    assert world.names(user_id).count("user.consent_granted") == 2


async def test_a_purpose_withdrawn_can_be_agreed_to_anew() -> None:
    world = World()
    user_id = proved(world)
    first = await consent(world, user_id)
    world.given(user_id, builders.user_consent_withdrawn())
    again = await consent(world, user_id)
    assert (again.repeated, again.consent_id == first.consent_id) == (False, False)


async def test_words_that_are_no_longer_current_cannot_be_agreed_to() -> None:
    world = World()
    user_id = proved(world)
    world.settings(consent_version="2")
    with pytest.raises(Conflict) as raised:
        await consent(world, user_id)
    assert (raised.value.code, raised.value.extra) == (
        "consent_version_outdated",
        {"current": "2"},
    )
    with pytest.raises(Invalid, match="consent_type_invalid"):
        await consent(world, user_id, consent_type="Palm!", version="2")


@pytest.mark.parametrize("why", ["never proved", "at another device", "too long ago"])
async def test_without_a_grant_nobody_consents_for_anybody(why: str) -> None:
    world = World()
    user_id, at = OTHER_USER, TILL
    if why != "never proved":
        user_id = proved(world)
    if why == "at another device":
        world.given(OTHER_DEVICE, builders.device_registered())
        at = device(OTHER_DEVICE)
    if why == "too long ago":
        world.clock.advance(GRANT_S)
    before = world.names(user_id)
    with pytest.raises(Forbidden, match="enrollment_not_granted"):
        await consent(world, user_id, at=at)
    assert world.names(user_id) == before


async def test_a_suspended_person_agrees_to_nothing() -> None:
    world = World()
    user_id = proved(world)
    world.given(user_id, builders.user_suspended())
    before = world.names(user_id)
    with pytest.raises(Forbidden, match="user_suspended"):
        await consent(world, user_id)
    assert world.names(user_id) == before


async def test_one_consent_sent_twice_at_once_is_one_in_every_order() -> None:
    async def scene() -> tuple[World, list[Coroutine[Any, Any, GrantedConsent]]]:
        world = World()
        user_id = proved(world)
        return world, [consent(world, user_id) for _ in range(2)]

    async def check(world: World, first: object, second: object) -> None:
        assert isinstance(first, GrantedConsent), first
        assert isinstance(second, GrantedConsent), second
        assert first.consent_id == second.consent_id
        assert sorted([first.repeated, second.repeated]) == [False, True]

    await race(scene, check, steps=8)


@pytest.mark.parametrize(
    ("arrange", "at", "refusal", "code"),
    [
        ("scanner", device(OTHER_DEVICE), Forbidden, "device_type_not_allowed"),
        ("nothing", device(OTHER_DEVICE), Unauthenticated, "device_unknown"),
        ("no tenant", device(OTHER_DEVICE, OTHER_TENANT), Unauthenticated, "device_unknown"),
    ],
)
async def test_a_device_that_may_not_take_consent_is_refused(
    arrange: str, at: DevicePrincipal, refusal: type[Refusal], code: str
) -> None:
    world = World()
    if arrange != "nothing":
        scanner = builders.device_registered(type="personal_scanner", bound_product=None)
        world.given(OTHER_DEVICE, scanner, tenant_id=at.tenant_id)
    with pytest.raises(refusal, match=code):
        await consent(world, OTHER_USER, at=at)


async def test_the_words_are_kept_in_the_vault_and_committed_to_in_the_log() -> None:
    """Seen to fail when the words, or their plain digest, stand in the event."""
    world = World()
    user_id = proved(world)
    words = "I, Sara Al-Harbi, agree.\nI may take it back."
    plain = hashlib.sha256(words.encode()).hexdigest()

    async def agreed(text_sha256: str | None = None) -> GrantedConsent:
        return await world.consents().grant(
            TILL,
            user_id,
            consent_type=u.PALM_ENROLLMENT,
            version="1",
            locale="en",
            text_sha256=text_sha256,
            text=words,
        )

    granted = await agreed(plain)
    assert (await agreed()).repeated
    ((field, value),) = (await world.vault.everything(TENANT, user_id)).items()
    assert field == consent_text(granted.consent_id)
    kept = msgspec.json.decode(value)
    assert kept["text"] == words
    salted = bytes.fromhex(kept["salt"]) + b"consent_text\0" + words.encode()
    commitment = base64.urlsafe_b64encode(hashlib.sha256(salted).digest()).rstrip(b"=").decode()
    event = world.events(user_id)[-1]
    assert isinstance(event, u.UserConsentGranted)
    assert (event.text_commitment, event.text_sha256) == (commitment, None)
    assert "Sara" not in repr(world.log.stream(user_id))
    with pytest.raises(Invalid, match="consent_text_mismatch"):
        await agreed("7e" * 32)


async def test_words_of_somebody_erased_meanwhile_are_not_kept() -> None:
    world = World()
    user_id = proved(world)
    await world.vault.erase(TENANT, user_id)
    with pytest.raises(Conflict, match="personal_key_destroyed"):
        await world.consents().grant(
            TILL,
            user_id,
            consent_type=u.PALM_ENROLLMENT,
            version="1",
            locale="en",
            text_sha256=None,
            text="I agree.",
        )
    assert "user.consent_granted" not in world.names(user_id)
