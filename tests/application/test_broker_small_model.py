"""A device that matched by itself is believed within bounds (design §2 row 16): a tenant of the
small model, a capable device, a person of its own gallery, scores that pass, its own signature."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest

from application.palms.recognition import DeviceMatch
from domain import transaction as x
from domain.attestation import Attestation, AttestationPolicy
from domain.errors import Forbidden
from domain.events import DomainEvent
from domain.ids import DeviceId, PalmRef, UserId, wire
from domain.matching import MatchPolicy, ScoredPalm
from tests import builders
from tests.application.world import (
    ALI,
    CERTIFICATE,
    KEY,
    OTHER_DEVICE,
    OTHER_PALM,
    OTHER_TENANT,
    OTHER_USER,
    World,
    asking,
    device,
    transaction,
)
from tests.builders import DEVICE, PALM, USER
from tests.spec import STREAM

GATE = OTHER_DEVICE
"""The device that can match; the palm was enrolled at it."""

ATTESTED = Attestation(level="tee", boot="verified", locked=True)


def small_world(**settings: Any) -> World:
    world = World()
    world.settings(palm_model="small", **settings)
    world.given(
        GATE,
        builders.device_registered(small_model_capable=True),
        builders.device_pairing_code_issued(),
        builders.device_paired(attestation=ATTESTED),
    )
    world.given(
        OTHER_USER,
        builders.user_signed_up(),
        builders.user_consent_granted(),
        builders.user_palm_added(palm_ref=OTHER_PALM),
    )
    world.given(
        OTHER_PALM,
        builders.enrollment_started(user_id=OTHER_USER, device_id=GATE),
        builders.enrollment_completed(),
    )
    return world


def matched(
    world: World,
    user_id: UserId = OTHER_USER,
    *,
    scores: tuple[float, float] = (0.9, 0.91),
    thresholds: tuple[float, float] = (0.8, 0.8),
    instead: Mapping[str, Any] | None = None,
) -> DeviceMatch:
    """What the device says, with its signature over that, or over something else `instead`."""
    said: dict[str, Any] = {
        "idempotency_key": KEY,
        "scan_sha256": hashlib.sha256(ALI).hexdigest(),
        "user_id": wire("usr", user_id),
        "model_version": "3.2.1",
        "library_version": "11",
        "scores": list(scores),
        "thresholds": list(thresholds),
    }
    message = world.canonical.canonical({**said, **(instead or {})})
    signature = base64.b64encode(world.signatures.sign(CERTIFICATE, message)).decode()
    words = {name: said[name] for name in said if name not in ("idempotency_key", "scan_sha256")}
    return msgspec.convert({**words, "signature": signature}, DeviceMatch)


async def test_a_gate_that_matched_by_itself_opens_without_the_vendor() -> None:
    world = small_world()
    reply = await world.transact(asking(match=matched(world)), device=device(GATE))
    assert reply.answer.decision == "allow"
    identified = world.events(reply.transaction_id)[1]
    assert identified == x.TransactionIdentified(
        user_id=OTHER_USER,
        palm_ref=OTHER_PALM,
        match_source="device",
        scores=(0.9, 0.91),
        thresholds=(0.8, 0.8),
        policy_version=1,
        identify_ms=0.0,
        user_version=3,
        candidates=(ScoredPalm(0, (0.9, 0.91)),),
        vendor_thresholds=(0.8, 0.8),
    )
    (claims,) = world.signer.claims
    assert (claims["match_source"], claims["acr"]) == ("device", "palm.1n.local2")
    assert claims["device_assurance"] == "tee"
    assert world.palms.budgets_s == []


async def test_a_capable_device_may_still_ask_the_vendor() -> None:
    world = small_world()
    await world.transact(device=device(GATE))
    (claims,) = world.signer.claims
    assert (claims["match_source"], claims["acr"]) == ("server", "palm.1n.server4")
    assert len(world.palms.budgets_s) == 1


@pytest.mark.parametrize(
    ("scores", "thresholds", "minimum", "passes", "least"),
    [
        ((0.8, 0.8), (0.8, 0.8), (0.0, 0.0), True, (0.8, 0.8)),
        ((0.79, 0.9), (0.8, 0.8), (0.0, 0.0), False, (0.8, 0.8)),
        ((0.9, 0.79), (0.8, 0.8), (0.0, 0.0), False, (0.8, 0.8)),
        ((0.9, 0.9), (0.0, 0.0), (0.95, 0.0), False, (0.95, 0.0)),
        ((0.9, 0.9), (0.0, 0.0), (0.0, 0.95), False, (0.0, 0.95)),
        ((0.9, 0.9), (0.95, 0.0), (0.5, 0.9), False, (0.95, 0.9)),
        ((0.9, 0.9), (0.0, 0.0), (0.9, 0.9), True, (0.9, 0.9)),
    ],
)
async def test_the_stricter_of_the_devices_and_the_tenants_thresholds_holds(
    scores: tuple[float, float],
    thresholds: tuple[float, float],
    minimum: tuple[float, float],
    passes: bool,
    least: tuple[float, float],
) -> None:
    world = small_world(match_policy=MatchPolicy(version=4, minimum=(*minimum, 0.0, 0.0)))
    match = matched(world, scores=scores, thresholds=thresholds)
    reply = await world.transact(asking(match=match), device=device(GATE))
    second = world.events(reply.transaction_id)[1]
    assert isinstance(second, x.TransactionIdentified | x.TransactionNotRecognized)
    assert (second.scores, second.thresholds, second.policy_version) == (scores, least, 4)
    assert (reply.answer.decision, reply.answer.reason) == (
        ("allow", None) if passes else ("not_recognized", "low_confidence")
    )
    assert len(world.product.calls) == passes


def _large_model(world: World) -> None:
    world.settings(palm_model="large")


def _stronger_keys(world: World) -> None:
    world.settings(palm_model="small", attestation=AttestationPolicy(small_model="strongbox"))


def _as_it_is(world: World) -> None:
    del world


@pytest.mark.parametrize(
    ("arrange", "device_id", "user_id"),
    [
        (_large_model, GATE, OTHER_USER),
        (_stronger_keys, GATE, OTHER_USER),
        (_as_it_is, DEVICE, OTHER_USER),
        (_as_it_is, GATE, USER),
        (_as_it_is, GATE, UserId(PALM)),
    ],
    ids=["large model", "attested too weakly", "incapable device", "enrolled elsewhere", "nobody"],
)
async def test_a_device_that_may_not_say_so_is_refused(
    arrange: Callable[[World], None], device_id: DeviceId, user_id: UserId
) -> None:
    world = small_world()
    arrange(world)
    with pytest.raises(Forbidden) as raised:
        await world.transact(asking(match=matched(world, user_id)), device=device(device_id))
    assert raised.value.code == "small_model_not_allowed"
    assert world.names(transaction(device_id=device_id)) == []


@pytest.mark.parametrize(
    "past",
    [
        [],
        [builders.enrollment_started(user_id=OTHER_USER, device_id=GATE)],
        [
            builders.enrollment_started(user_id=OTHER_USER, device_id=GATE),
            builders.enrollment_failed(),
        ],
        [builders.enrollment_started(user_id=OTHER_USER), builders.enrollment_completed()],
    ],
    ids=["unknown", "unfinished", "given up", "at another device"],
)
async def test_the_gallery_holds_what_was_completed_at_this_device(
    past: list[DomainEvent],
) -> None:
    """The person has a second palm, which alone would not do."""
    second = PalmRef(STREAM)
    world = small_world()
    world.given(OTHER_USER, builders.user_palm_added(palm_ref=second, hand="left"))
    if past:
        world.given(second, *past)
    reply = await world.transact(asking(match=matched(world)), device=device(GATE))
    assert reply.answer.decision == "allow"
    alone = small_world()
    alone.given(USER, builders.user_palm_added(palm_ref=second, hand="left"))
    if past:
        alone.given(second, *past)
    with pytest.raises(Forbidden, match="small_model_not_allowed"):
        await alone.transact(asking(match=matched(alone, USER)), device=device(GATE))


@pytest.mark.parametrize("user_id", ["", "usr_1", "dev_" + "0" * 32, "usr_" + "G" * 32])
async def test_what_is_no_persons_id_is_refused(user_id: str) -> None:
    world = small_world()
    match = msgspec.structs.replace(matched(world, user_id=OTHER_USER), user_id=user_id)
    with pytest.raises(Forbidden, match="match_signature_invalid"):
        await world.transact(asking(match=match), device=device(GATE))
    signed = msgspec.structs.replace(matched(world, instead={"user_id": user_id}), user_id=user_id)
    with pytest.raises(Forbidden, match="small_model_not_allowed"):
        await world.transact(asking(match=signed), device=device(GATE))


@pytest.mark.parametrize(
    "signed_otherwise",
    [
        {"idempotency_key": "till-4-00000000002"},
        {"scan_sha256": hashlib.sha256(b"another picture").hexdigest()},
        {"user_id": wire("usr", USER)},
        {"model_version": "3.2.2"},
        {"library_version": "12"},
        {"scores": [0.99, 0.99]},
        {"thresholds": [0.7, 0.8]},
        {"more": "than that"},
    ],
    ids=lambda changed: next(iter(changed)),
)
async def test_a_signature_over_anything_else_is_refused(signed_otherwise: dict[str, Any]) -> None:
    world = small_world()
    match = matched(world, instead=signed_otherwise)
    with pytest.raises(Forbidden) as raised:
        await world.transact(asking(match=match), device=device(GATE))
    assert raised.value.code == "match_signature_invalid"


@pytest.mark.parametrize("signature", ["", "AAAA", "not base64!", "AAA", "ééé"])
async def test_what_is_no_signature_is_refused(signature: str) -> None:
    world = small_world()
    match = msgspec.structs.replace(matched(world), signature=signature)
    with pytest.raises(Forbidden, match="match_signature_invalid"):
        await world.transact(asking(match=match), device=device(GATE))


async def test_a_device_without_a_certificate_of_its_own_cannot_have_signed() -> None:
    """Revoked a moment ago, while its request was on its way."""
    world = small_world()
    world.given(GATE, builders.device_revoked())
    with pytest.raises(Forbidden, match="match_signature_invalid"):
        await world.transact(asking(match=matched(world)), device=device(GATE))


async def test_a_person_who_may_not_be_served_is_refused_here_as_well() -> None:
    world = small_world()
    world.given(OTHER_USER, builders.user_suspended())
    reply = await world.transact(asking(match=matched(world)), device=device(GATE))
    assert (reply.answer.decision, reply.answer.reason) == ("deny", "user_suspended")


async def test_a_person_of_another_tenant_is_nobody() -> None:
    world = small_world()
    world.given(STREAM, builders.user_signed_up(), tenant_id=OTHER_TENANT)
    match = matched(world, UserId(STREAM))
    with pytest.raises(Forbidden, match="small_model_not_allowed"):
        await world.transact(asking(match=match), device=device(GATE))
