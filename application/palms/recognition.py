"""Whose palm it is: asked of the vendor, or taken from a device that may say so (004 §10.3)."""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec

from application.execute import stream_of
from application.ports import (
    CANDIDATES_MAX,
    Candidates,
    CanonicalJSON,
    Clock,
    DeviceSignatures,
    PalmVendorFailed,
    PalmVerifier,
    Scan,
    Streams,
)
from domain import enrollment as e
from domain import user as u
from domain.attestation import reaches
from domain.device import Device
from domain.errors import Forbidden
from domain.ids import PalmRef, UserId, parse
from domain.matching import Candidate, ScoredPalm, judge, judge_pair, one_palm_each
from domain.tenant import Tenant
from domain.transaction import NotRecognizedReason, TransactionIdentified

CANDIDATES_SOUGHT: Final = 5
"""How many of them are compared; more are asked for only where some are nobody's any more."""

_user: Final = stream_of(u.UserSignedUp, u.rebuild)

Pair = tuple[Annotated[float, msgspec.Meta(ge=0, le=1)], Annotated[float, msgspec.Meta(ge=0, le=1)]]


class DeviceMatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A match that the device made itself under the small model (design §2 row 16).

    `signature` is base64 of the device key's signature over the canonical JSON (RFC 8785) of
    `{"idempotency_key", "scan_sha256", "user_id", "model_version", "library_version", "scores",
    "thresholds"}`.
    """

    user_id: Annotated[str, msgspec.Meta(max_length=64)]
    model_version: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    library_version: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    scores: Pair
    thresholds: Pair
    signature: Annotated[str, msgspec.Meta(max_length=1024)]


class Recognised(msgspec.Struct, frozen=True, kw_only=True):
    user: u.User
    event: TransactionIdentified


class NotRecognised(msgspec.Struct, frozen=True, kw_only=True):
    reason: NotRecognizedReason
    scores: tuple[float, ...] | None
    thresholds: tuple[float, ...]
    policy_version: int
    identify_ms: float
    candidates: tuple[ScoredPalm, ...]
    vendor_thresholds: tuple[float, ...]


class Recognition:
    def __init__(
        self,
        streams: Streams,
        palms: PalmVerifier,
        signatures: DeviceSignatures,
        canonical: CanonicalJSON,
        clock: Clock,
    ) -> None:
        self._streams = streams
        self._palms = palms
        self._signatures = signatures
        self._canonical = canonical
        self._clock = clock

    async def by_vendor(
        self, tenant: Tenant, scan: Scan, deadline_s: float, *, only: UserId | None = None
    ) -> Recognised | NotRecognised:
        """1:N in the tenant's own namespace; 1:1, with the palms of `only` alone, where named.

        Raises PalmQueryForbidden and PalmVendorFailed.
        """
        started = self._clock.monotonic()
        answered = await self._palms.identify(
            tenant.tenant_key, scan, k=CANDIDATES_SOUGHT, deadline_s=deadline_s
        )
        people = await self._palms_of_people(tenant, answered)
        if _crowded_out(answered, people, only):
            left_s = deadline_s - (self._clock.monotonic() - started)
            if left_s <= 0:
                raise PalmVendorFailed("palm_vendor_timeout")
            answered = await self._palms.identify(
                tenant.tenant_key, scan, k=CANDIDATES_MAX, deadline_s=left_s
            )
            people = await self._palms_of_people(tenant, answered)
        identify_ms = _ms(self._clock.monotonic() - started)
        owned = [(owner, palm) for owner, palm in people if only is None or owner == only]
        policy = tenant.settings.match_policy
        owners = one_palm_each(policy, owned, answered.thresholds)
        match = judge(policy, list(owners.values()), answered.thresholds)
        if match.verdict != "match" or match.best is None:
            return NotRecognised(
                reason="no_candidate" if match.verdict == "match" else match.verdict,
                scores=match.best.scores if match.best is not None else None,
                thresholds=match.effective,
                policy_version=policy.version,
                identify_ms=identify_ms,
                candidates=_scored(owned),
                vendor_thresholds=answered.thresholds,
            )
        best = match.best
        user_id = next(owner for owner, palm in owners.items() if palm is best)
        user = await self._streams.state(tenant.id, user_id, u.rebuild)
        assert user is not None, "an enrolled palm belongs to a user"
        event = TransactionIdentified(
            user_id=user_id,
            palm_ref=best.palm_ref,
            match_source="server",
            scores=best.scores,
            thresholds=match.effective,
            policy_version=policy.version,
            identify_ms=identify_ms,
            user_version=user.version,
            candidates=_scored(owned),
            vendor_thresholds=answered.thresholds,
        )
        return Recognised(user=user, event=event)

    async def by_device(
        self, tenant: Tenant, device: Device, match: DeviceMatch, key: str, scan_sha256: str
    ) -> Recognised | NotRecognised:
        """The device's own word, within bounds: a capable device, its gallery, its signature.

        Raises Forbidden (`small_model_not_allowed`) when the device may not say so, and
        (`match_signature_invalid`) when it did not sign what it said.
        """
        if tenant.settings.palm_model != "small" or not device.registered.small_model_capable:
            raise Forbidden("small_model_not_allowed")
        if not reaches(device.assurance, tenant.settings.attestation.small_model):
            raise Forbidden("small_model_not_allowed", "its key is not attested well enough")
        if not self._is_signed(device, match, key, scan_sha256):
            raise Forbidden("match_signature_invalid")
        found = parse("usr", match.user_id)
        user = None if found is None else await self._streams.state(tenant.id, found, _user)
        palm = None if user is None else await self._enrolled_at(device, user)
        if user is None or palm is None:
            raise Forbidden("small_model_not_allowed", "not in this device's gallery")
        policy = tenant.settings.match_policy
        passed, least = judge_pair(policy, match.scores, match.thresholds)
        compared = (ScoredPalm(0, match.scores),)
        if not passed:
            return NotRecognised(
                reason="low_confidence",
                scores=match.scores,
                thresholds=least,
                policy_version=policy.version,
                identify_ms=0.0,
                candidates=compared,
                vendor_thresholds=match.thresholds,
            )
        event = TransactionIdentified(
            user_id=user.id,
            palm_ref=palm,
            match_source="device",
            scores=match.scores,
            thresholds=least,
            policy_version=policy.version,
            identify_ms=0.0,
            user_version=user.version,
            candidates=compared,
            vendor_thresholds=match.thresholds,
        )
        return Recognised(user=user, event=event)

    async def _palms_of_people(
        self, tenant: Tenant, answered: Candidates
    ) -> list[tuple[UserId, Candidate]]:
        """The first few candidates that are enrolled palms, each with the person whose it is."""
        owned: list[tuple[UserId, Candidate]] = []
        for candidate in answered.found:
            enrolled = await self._streams.state(tenant.id, candidate.palm_ref, e.rebuild)
            # A palm that is being taken away from its person is nobody's.
            if enrolled is None or enrolled.template != "kept":
                continue
            owned.append((enrolled.started.user_id, candidate))
            if len(owned) == CANDIDATES_SOUGHT:
                break
        return owned

    def _is_signed(self, device: Device, match: DeviceMatch, key: str, scan_sha256: str) -> bool:
        said: dict[str, Any] = {
            "idempotency_key": key,
            "scan_sha256": scan_sha256,
            "user_id": match.user_id,
            "model_version": match.model_version,
            "library_version": match.library_version,
            "scores": list(match.scores),
            "thresholds": list(match.thresholds),
        }
        try:
            signature = base64.b64decode(match.signature, validate=True)
        except (binascii.Error, ValueError):
            return False
        message = self._canonical.canonical(said)
        return any(
            self._signatures.verify(each.certificate_pem, message, signature)
            for each in device.usable(self._clock.now())
        )

    async def _enrolled_at(self, device: Device, user: u.User) -> PalmRef | None:
        """A palm of the person that was enrolled at this very device: its gallery."""
        for palm_ref in user.palms:
            enrolled = await self._streams.state(user.tenant_id, palm_ref, e.rebuild)
            if (
                enrolled is not None
                and enrolled.template == "kept"
                and enrolled.started.device_id == device.id
            ):
                return palm_ref
        return None


def _crowded_out(
    answered: Candidates, people: Sequence[tuple[UserId, Candidate]], only: UserId | None
) -> bool:
    """Whether palms that are nobody's stand where the one sought, or a second person, might.

    A second person is wanted since a palm that looks like two people's is `ambiguous`.
    """
    full = len(answered.found) >= CANDIDATES_SOUGHT
    if not full or len(people) == len(answered.found):
        return False
    owners = {owner for owner, _ in people}
    return len(owners) < 2 if only is None else only not in owners


def _scored(owned: Sequence[tuple[UserId, Candidate]]) -> tuple[ScoredPalm, ...]:
    """The scores to keep; of the people nothing but who is whom among them."""
    people: dict[UserId, int] = {}
    return tuple(
        ScoredPalm(people.setdefault(owner, len(people)), candidate.scores)
        for owner, candidate in owned
    )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
