"""A person is erased: refused at once, step by step gone, and finished whatever dies in between."""

from collections.abc import Sequence
from typing import Any

import pytest

from application.identifiers import identifier_claim
from application.people.erasures import AT_ONCE, ErasureReport, ErasureRounds
from application.ports import CommitFailed, OtpChallenge, PalmVendorFailed
from application.principals import Caller
from domain import claim as k
from domain import enrollment as e
from domain import erasure as r
from domain import user as u
from domain.errors import Conflict, Forbidden, Malformed, NotFound
from domain.events import DomainEvent
from domain.ids import ChallengeId, TenantId, UserId
from infrastructure.keys.keyring import KeyringUnusable
from tests import builders
from tests.application.world import (
    BACKEND,
    MOBILE,
    OTHER_USER,
    TENANT_KEY,
    TILL,
    Killed,
    World,
    kill,
    scan,
)
from tests.builders import DEVICE, NOW, PALM, USER
from tests.spec import TENANT

STREAM = r.erasure_id(USER)
ALL = [
    "erasure.requested",
    "erasure.access_ended",
    "erasure.keys_destroyed",
    "erasure.templates_removed",
    "erasure.completed",
]


async def peopled() -> World:
    """Ali with a mobile, an open code and a grant; somebody else with the same things."""
    world = World()
    for user_id, mobile in ((USER, MOBILE), (OTHER_USER, "+966507654321")):
        await world.vault.store(TENANT, user_id, "mobile", mobile)
        claim = identifier_claim(world.digests, TENANT, k.MOBILE, mobile)
        world.given(claim, builders.claim_taken(kind=k.MOBILE, owner=user_id))
        challenge = OtpChallenge(
            id=ChallengeId(world.ids.uuid()),
            tenant_id=TENANT,
            bound_to=DEVICE,
            destination=mobile,
            created_at=NOW,
            expires_at=NOW,
        )
        await world.challenges.open(challenge, "digest")
        await world.grants.open(TENANT, DEVICE, user_id, NOW.replace(year=2027))
    world.given(OTHER_USER, builders.user_signed_up())
    return world


async def erase(world: World, reference: str | None = None) -> ErasureReport:
    return await world.erasures().request(BACKEND, USER, reference)


def left(world: World) -> dict[str, Sequence[Any]]:
    """What is kept of the two people outside the log."""
    return {
        "values": sorted(world.vault.values.values()),
        "challenges": [each.opened.destination for each in world.challenges.kept.values()],
        "grants": [user_id for _, _, user_id in world.grants.until],
        "templates": list(world.palms.enrolled),
    }


OTHERS = {
    "values": ["+966507654321"],
    "challenges": ["+966507654321"],
    "grants": [OTHER_USER],
    "templates": [],
}


async def test_everything_of_the_person_goes_and_nothing_of_anybody_else() -> None:
    world = await peopled()
    report = await erase(world, "DSR-7")
    assert report.erasure.status == "completed"
    assert world.names(STREAM) == ALL
    assert [step.event for step in report.steps] == world.events(STREAM)
    assert left(world) == OTHERS
    assert world.events(STREAM)[0] == r.ErasureRequested(
        user_id=USER, consents_withdrawn=(u.PALM_ENROLLMENT,), reference="DSR-7"
    )
    assert world.events(USER)[3:] == [
        u.UserConsentWithdrawn(consent_type=u.PALM_ENROLLMENT, consent_id=builders.CONSENT),
        u.UserErasureStarted(),
        u.UserPalmRemovalStarted(palm_ref=PALM, reason="erasure"),
        u.UserPalmRemoved(palm_ref=PALM),
        u.UserErased(),
    ]
    assert world.events(PALM)[-1] == e.EnrollmentTemplateRemoved(vendor_answer="deleted")


async def test_the_request_the_refusal_and_the_free_mobile_are_one_commit() -> None:
    world = await peopled()
    await erase(world)
    claim = identifier_claim(world.digests, TENANT, k.MOBILE, MOBILE)
    first = {
        recorded.command_id
        for stream, number in ((STREAM, 0), (USER, 4), (claim, 1))
        for recorded in [world.log.stream(stream)[number]]
    }
    assert len(first) == 1
    assert world.events(claim)[-1] == k.ClaimReleased(kind=k.MOBILE)


async def test_asking_again_changes_nothing() -> None:
    world = await peopled()
    first = await erase(world, "DSR-7")
    events = len(world.log.read_now())
    again = await erase(world, "DSR-8")
    assert (again, len(world.log.read_now())) == (first, events)


async def test_a_vendor_that_cannot_delete_leaves_it_pending_and_nobody_is_recognised() -> None:
    world = await peopled()
    world.palms.delete_raises = PalmVendorFailed("palm_vendor_timeout")
    report = await erase(world)
    assert (report.erasure.status, report.erasure.pending) == ("pending", (PALM,))
    assert world.names(STREAM) == [*ALL[:3], "erasure.templates_pending"]
    assert left(world) == {**OTHERS, "templates": [(TENANT_KEY, PALM)]}
    reply = await world.transact()
    assert reply.answer.decision == "not_recognized"
    await erase(world)
    assert world.names(STREAM)[3:] == ["erasure.templates_pending"], "said once"
    with pytest.raises(Conflict, match="erasure_not_completed"):
        await world.erasures().completed(TENANT, USER)
    world.palms.delete_raises = None
    assert await rounds(world) == 1
    assert world.names(STREAM) == [*ALL[:3], "erasure.templates_pending", *ALL[3:]]
    assert left(world) == OTHERS


class Unfinished:
    """Every erasure on record: a hint may be too much."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def find(self, limit: int) -> Sequence[tuple[TenantId, UserId]]:
        assert limit == AT_ONCE
        return [
            (recorded.tenant_id, recorded.event.user_id)
            for recorded in self._world.log.read_now()
            if isinstance(recorded.event, r.ErasureRequested)
        ]


def nobody_fails(tenant_id: TenantId, user_id: UserId, error: Exception) -> None:
    raise error


async def rounds(world: World) -> int:
    return await ErasureRounds(world.erasures(), Unfinished(world), world.ids, nobody_fails).round()


STEPS = ("challenges.forget", "grants.close", "vault.erase", "palms.delete")


@pytest.mark.parametrize("dies_after", STEPS)
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
async def test_a_crash_at_any_effect_is_finished_by_a_worker(
    monkeypatch: pytest.MonkeyPatch, dies_after: str, before: bool
) -> None:
    """Seen to fail when a step's event is appended before its effect: the worker then passes it
    by, and what should have gone is there for ever."""
    world = await peopled()
    owner, method = dies_after.split(".")
    real = getattr(getattr(world, owner), method)

    async def dying(*args: Any, **given: Any) -> Any:
        if not before:
            await real(*args, **given)
        raise Killed

    monkeypatch.setattr(getattr(world, owner), method, dying)
    with pytest.raises(Killed):
        await erase(world)
    monkeypatch.undo()
    assert await rounds(world) == 1
    assert world.names(STREAM) == ALL
    assert left(world) == OTHERS


@pytest.mark.parametrize(
    "event",
    [
        r.ErasureRequested,
        r.ErasureAccessEnded,
        r.ErasureKeysDestroyed,
        e.EnrollmentTemplateRemovalStarted,
        e.EnrollmentTemplateRemoved,
        r.ErasureTemplatesRemoved,
        r.ErasureCompleted,
    ],
    ids=lambda event: str(event.NAME),
)
@pytest.mark.parametrize("durable", [False, True], ids=["lost", "durable"])
async def test_a_crash_at_any_commit_is_finished(event: type[DomainEvent], durable: bool) -> None:
    world = await peopled()
    (world.log.after if durable else world.log.before)(event, kill)
    with pytest.raises(Killed):
        await erase(world)
    if not world.events(STREAM):
        await erase(world)
    await rounds(world)
    assert world.names(STREAM) == ALL
    assert left(world) == OTHERS


@pytest.mark.parametrize(
    "fails", [CommitFailed("away"), KeyringUnusable("no key"), NotFound("erasure_not_found")]
)
async def test_one_that_fails_does_not_keep_a_worker_from_the_others(
    monkeypatch: pytest.MonkeyPatch, fails: Exception
) -> None:
    """Seen to end the round while it let only what passes by itself pass."""
    world = await peopled()
    world.palms.delete_raises = PalmVendorFailed("palm_vendor_error")
    await erase(world)
    world.palms.delete_raises = None
    failing = UserId(world.ids.uuid())

    class WithOneMore(Unfinished):
        async def find(self, limit: int) -> Sequence[tuple[TenantId, UserId]]:
            return [(TENANT, failing), *await super().find(limit)]

    erasures = world.erasures()
    real = erasures.advance

    async def advance(caller: Caller, user_id: UserId) -> ErasureReport:
        if user_id == failing:
            raise fails
        return await real(caller, user_id)

    monkeypatch.setattr(erasures, "advance", advance)
    told: list[tuple[TenantId, UserId, Exception]] = []

    def interrupted(tenant_id: TenantId, user_id: UserId, error: Exception) -> None:
        told.append((tenant_id, user_id, error))

    worker = ErasureRounds(erasures, WithOneMore(world), world.ids, interrupted)
    assert await worker.round() == 1
    assert told == [(TENANT, failing, fails)]


async def test_who_is_erased_is_served_nowhere_and_may_come_back_as_somebody_else() -> None:
    world = await peopled()
    await erase(world)
    await world.grants.open(TENANT, DEVICE, USER, NOW.replace(year=2027))
    with pytest.raises(Forbidden, match="user_erased"):
        await world.enrollments().enroll(TILL, USER, "left", scan(b"another"), None)
    with pytest.raises(Conflict, match="personal_key_destroyed"):
        await world.vault.store(TENANT, USER, "mobile", MOBILE)
    sign_ups = world.sign_ups()
    challenged = await sign_ups.sign_up(TILL, MOBILE, "en")
    verified = await sign_ups.verify(TILL, challenged.challenge_id, world.sender.sent[-1][1])
    assert verified.is_new_user
    assert verified.user_id != USER


async def test_a_person_who_is_erased_during_a_transaction_is_refused() -> None:
    """The palm was recognised just before; the check of the person is what holds."""
    world = await peopled()
    world.given(USER, builders.user_erasure_started())
    reply = await world.transact()
    assert (reply.answer.decision, reply.answer.reason) == ("deny", "user_erased")
    assert world.product.calls == []


@pytest.mark.parametrize("reference", ["", "a b", "x" * 65, "سارة", "+966501234567"])
async def test_a_reference_has_no_room_for_words(reference: str) -> None:
    world = await peopled()
    with pytest.raises(Malformed, match="erasure_reference_invalid"):
        await erase(world, reference)
    assert world.events(STREAM) == []


async def test_a_consent_given_meanwhile_is_withdrawn_and_named_too() -> None:
    """Seen to fail where the consents were read once, before the tries."""
    world = await peopled()
    given = builders.user_consent_granted(consent_type="marketing")

    async def consent() -> None:
        world.given(USER, given)

    world.log.before(r.ErasureRequested, consent)
    await erase(world)
    (requested,) = [each for each in world.events(STREAM) if isinstance(each, r.ErasureRequested)]
    assert requested.consents_withdrawn == ("marketing", u.PALM_ENROLLMENT)
    withdrawn = [each for each in world.events(USER) if isinstance(each, u.UserConsentWithdrawn)]
    assert {each.consent_type for each in withdrawn} == set(requested.consents_withdrawn)


async def test_nobody_else_can_be_erased() -> None:
    world = await peopled()
    other_tenant = BACKEND.__class__(
        tenant_id=TenantId(world.ids.uuid()),
        actor=BACKEND.actor,
        correlation_id=BACKEND.correlation_id,
    )
    for caller, user_id in (
        (BACKEND, UserId(world.ids.uuid())),
        (BACKEND, UserId(DEVICE)),
        (other_tenant, USER),
    ):
        with pytest.raises(NotFound, match="user_not_found"):
            await world.erasures().request(caller, user_id)
    with pytest.raises(NotFound, match="erasure_not_found"):
        await world.erasures().get(TENANT, USER)
