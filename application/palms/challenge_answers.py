"""A device's side of challenges: it waits, answers with scans, or declines (broker.md §3.6).

An attempt is taken in the log before the scan is looked at. What the vendor says nothing of does
not count; what came of an attempt is answered again to the same scan.
"""

from collections.abc import Callable, Sequence
from typing import Final, cast, get_args
from uuid import UUID, uuid5

import msgspec

from application.admission import admitted
from application.execute import execute, stream_of
from application.palms.challenge_outcomes import completed, reason_of
from application.palms.challenges import challenge_of
from application.palms.comparisons import Comparisons
from application.palms.enrollments import consented
from application.palms.palm_intake import PalmIntake
from application.ports import (
    Clock,
    EventLog,
    IdSource,
    ProductTexts,
    Scan,
    StaleStream,
    Streams,
)
from application.ports.challenges import Bells, OpenChallenges
from application.principals import DevicePrincipal
from domain import enrollment as e
from domain import palm_challenge as pc
from domain import tenant as t
from domain import user as u
from domain.erasure import erasure_id
from domain.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from domain.ids import TransactionId
from domain.matching import check_picture

_user: Final = stream_of(u.UserSignedUp, u.rebuild)
_SAYS_NOTHING: Final = get_args(pc.DropReason)


class Offered(msgspec.Struct, frozen=True, kw_only=True):
    """A challenge as the device is told of it. `message` is what it shows."""

    challenge: pc.PalmChallenge
    message: str | None


class ChallengeAnswers:
    def __init__(
        self,
        log: EventLog,
        streams: Streams,
        waiting: OpenChallenges,
        bells: Bells,
        texts: ProductTexts,
        intake: PalmIntake,
        comparisons: Comparisons,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._streams = streams
        self._waiting = waiting
        self._bells = bells
        self._texts = texts
        self._intake = intake
        self._comparisons = comparisons
        self._clock = clock
        self._ids = ids

    async def poll(self, device: DevicePrincipal, wait_s: float) -> Sequence[Offered]:
        """What the device is asked, as soon as it is asked anything; nothing after `wait_s`.

        Raises Conflict (`poll_superseded`) when it asks anew meanwhile, Unavailable
        (`position_not_reached`), Forbidden (`device_type_not_allowed`, `device_locked`).
        """
        await admitted(self._streams, device, "poll_challenges")
        ends_at = self._clock.monotonic() + wait_s
        with self._bells.listen(device.device_id, alone=True) as bell:
            while True:
                found = await self._open(device)
                offered = [await self._offer(device, each) for each in found]
                told = [each for each in offered if each is not None]
                left_s = ends_at - self._clock.monotonic()
                if told or left_s <= 0 or bell.closed:
                    return told
                await bell.rung(min(left_s, self._until_offered_s(found)))
                if bell.superseded:
                    raise Conflict("poll_superseded", "the device asked anew")

    async def respond(
        self, device: DevicePrincipal, challenge_id: UUID, number: int, scan: Scan
    ) -> pc.PalmChallenge:
        """Answer with a palm; the challenge after it.

        Raises NotFound (`challenge_not_found`), Gone (`challenge_expired`), Conflict
        (`challenge_closed`, `attempt_out_of_order`, `request_in_progress`,
        `palm_type_not_allowed`), Invalid (`low_quality`, `liveness_failed`, of a picture that is
        not looked at and does not count) and Unavailable (`palm_vendor_error`,
        `palm_vendor_timeout`), after which the attempt may be made again.
        """
        tenant = await admitted(self._streams, device, "answer_challenge")
        challenge = await self._own(device, challenge_id)
        if challenge.of_attempt(number, scan.sha256) is not None:
            return challenge
        check_picture(tenant.settings.match_policy, scan.quality, scan.liveness)
        await self._decide(
            device,
            challenge_id,
            lambda held: pc.attempt(held, number, scan.sha256, self._clock.now()),
        )
        try:
            outcome = await self._looked_at(device, tenant, challenge, number, scan)
        except (Unavailable, Conflict) as error:
            if error.code in _SAYS_NOTHING:
                reason = cast("pc.DropReason", error.code)
                await self._decide(
                    device, challenge_id, lambda held: pc.drop_attempt(held, number, reason)
                )
            raise
        await self._settle(device, challenge_id, outcome)
        settled = await self._own(device, challenge_id)
        if settled.of_attempt(number, scan.sha256) is None:
            raise Conflict("challenge_closed", extra={"status": settled.status})
        return settled

    async def decline(
        self, device: DevicePrincipal, challenge_id: UUID, reason: pc.DeclineReason
    ) -> None:
        """Raises NotFound (`challenge_not_found`), Conflict (`challenge_closed`,
        `request_in_progress`)."""
        await admitted(self._streams, device, "answer_challenge")
        await self._own(device, challenge_id)
        await self._decide(
            device, challenge_id, lambda held: pc.decline(held, reason, self._clock.now())
        )

    async def _open(self, device: DevicePrincipal) -> list[pc.PalmChallenge]:
        found = [
            challenge_of(await self._log.load(device.tenant_id, each))
            for each in await self._waiting.of_device(device.tenant_id, device.device_id)
        ]
        return [each for each in found if each is not None and each.is_open]

    async def _offer(self, device: DevicePrincipal, challenge: pc.PalmChallenge) -> Offered | None:
        """Told once for each time that it is due, whichever process the device asks."""
        told = False

        def decide(held: pc.PalmChallenge) -> list[pc.PalmChallengeEvent]:
            nonlocal told
            events = pc.deliver(held, self._clock.now())
            told = bool(events)
            return events

        if challenge.is_due(self._clock.now()):
            await self._decide(device, challenge.id, decide)
        if not told:
            return None
        message = None
        commitment = challenge.opened.text_commitment
        if commitment is not None:
            text = await self._texts.open(
                device.tenant_id,
                challenge.opened.user_id,
                TransactionId(challenge.id),
                commitment,
            )
            if text is None:
                return None  # the person is erased
            message = text.display_message
        return Offered(challenge=challenge, message=message)

    def _until_offered_s(self, found: Sequence[pc.PalmChallenge]) -> float:
        now = self._clock.now()
        later = [(each.offered_at - now).total_seconds() for each in found if each.offered_at > now]
        return min(later, default=float("inf"))

    async def _looked_at(
        self,
        device: DevicePrincipal,
        tenant: t.Tenant,
        challenge: pc.PalmChallenge,
        number: int,
        scan: Scan,
    ) -> pc.Outcome:
        user = _user(await self._log.load(device.tenant_id, challenge.opened.user_id))
        assert user is not None, "a challenge is only ever opened for a user"
        if challenge.opened.purpose == "enrollment":
            return await self._enrolled(device, tenant, user, challenge, number, scan)
        compared = await self._comparisons.compare(tenant, user, scan)
        if compared.result == "no_match":
            assert compared.reason is not None, "why it is no match is known"
            return pc.PalmChallengeMissed(
                attempt=number,
                scan_sha256=scan.sha256,
                reason=compared.reason,
                scores=compared.scores,
                thresholds=compared.thresholds,
                policy_version=compared.policy_version,
            )
        return msgspec.structs.replace(
            completed(challenge, number, scan, compared.result, compared.reason),
            palm_ref=compared.palm_ref,
            scores=compared.scores,
            thresholds=compared.thresholds,
            policy_version=compared.policy_version,
            compare_ms=compared.compare_ms,
        )

    async def _enrolled(
        self,
        device: DevicePrincipal,
        tenant: t.Tenant,
        user: u.User,
        challenge: pc.PalmChallenge,
        number: int,
        scan: Scan,
    ) -> pc.Outcome:
        """What refuses the person or the palm is an outcome; whatever else goes wrong is raised."""
        opened = challenge.opened
        assert opened.hand is not None, "an enrolment is of one hand"
        try:
            started = e.EnrollmentStarted(
                user_id=user.id,
                device_id=device.device_id,
                hand=opened.hand,
                scan_sha256=scan.sha256,
                consent_version=consented(tenant, user),
                quality=scan.quality,
                liveness=scan.liveness,
                captured_at=scan.captured_at,
            )
            enrolled = await self._intake.take(
                device,
                tenant,
                started,
                msgspec.structs.replace(scan, hand=opened.hand),
                uuid5(challenge.id, f"enrollment:{number}:{scan.sha256}"),
                replace=opened.replace,
            )
        except Forbidden as refused:
            return completed(challenge, number, scan, "refused", reason_of(refused))
        except Invalid as poor:
            if poor.code != "low_quality":
                raise
            hints = tuple(str(hint) for hint in cast("Sequence[object]", poor.extra["hints"]))
            return pc.PalmChallengeMissed(
                attempt=number, scan_sha256=scan.sha256, reason="low_quality", hints=hints
            )
        except Conflict as conflict:
            if conflict.code not in ("duplicate_palm", "palm_already_enrolled"):
                raise
            return completed(challenge, number, scan, "rejected", reason_of(conflict))
        return msgspec.structs.replace(
            completed(challenge, number, scan, "enrolled", None), palm_ref=enrolled.palm_ref
        )

    async def _own(self, device: DevicePrincipal, challenge_id: UUID) -> pc.PalmChallenge:
        """Raises NotFound for what is asked of another device, as for what is not there."""
        challenge = challenge_of(await self._log.load(device.tenant_id, challenge_id))
        if challenge is None or challenge.opened.device_id != device.device_id:
            raise NotFound("challenge_not_found")
        return challenge

    async def _settle(
        self, device: DevicePrincipal, challenge_id: UUID, outcome: pc.Outcome
    ) -> None:
        """A match is of nobody whose erasure has begun by then (decision 38)."""
        if not isinstance(outcome, pc.PalmChallengeCompleted) or outcome.result != "match":
            await self._decide(device, challenge_id, lambda held: pc.settle(held, outcome))
            return
        erasure = erasure_id(outcome.user_id)
        try:
            await self._decide(
                device, challenge_id, lambda held: pc.settle(held, outcome), unless_begun=erasure
            )
        except StaleStream as stale:
            if erasure not in stale.streams:
                raise
            refused = msgspec.structs.replace(outcome, result="refused", reason="user_erased")
            await self._settle(device, challenge_id, refused)

    async def _decide(
        self,
        device: DevicePrincipal,
        challenge_id: UUID,
        decide: Callable[[pc.PalmChallenge], Sequence[pc.PalmChallengeEvent]],
        unless_begun: UUID | None = None,
    ) -> None:
        def known(held: pc.PalmChallenge | None) -> Sequence[pc.PalmChallengeEvent]:
            assert held is not None, "events are never removed from the log"
            return decide(held)

        await execute(
            self._log,
            device.origin(self._ids.uuid()),
            device.tenant_id,
            challenge_id,
            challenge_of,
            known,
            unless_begun=unless_begun,
        )
