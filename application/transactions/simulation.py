"""A transaction without a device and without a palm, for whoever builds a product (broker.md §3.8).

Everything but the palm is real: the person is looked up and may be refused, the intent is durable
before the product is asked, the product is called at its endpoint with an assertion of the
platform, and what is owed afterwards is delivered. What did not happen is said everywhere: the
first event and every assertion are marked `simulated`. Only a tenant that was made as a sandbox
has any of it, and no palm vendor is ever asked.
"""

import hashlib
from typing import Any, Final, Literal
from uuid import uuid5

import msgspec

from application.execute import stream_of
from application.palms.recognition import DeviceMatch, NotRecognised, Recognised
from application.ports import (
    CanonicalJSON,
    Clock,
    CommitFailed,
    Commitments,
    EventLog,
    IdSource,
    PalmQueryForbidden,
    PalmVendorFailed,
    ProductTexts,
    Scan,
    StaleStream,
    Streams,
)
from application.principals import DevicePrincipal, Manager
from application.transactions.asked import Asked, TransactionRequest
from application.transactions.attempt import Attempts
from application.transactions.decisions import Decisions
from application.transactions.product_texts import worded
from domain import device as d
from domain import tenant as t
from domain import transaction as x
from domain import user as u
from domain.errors import Conflict, Forbidden, NotFound, Unavailable
from domain.ids import DeviceId, TransactionId, UserId, transaction_id
from domain.matching import Scores, effective_thresholds

Palm = Literal[
    "match",
    "no_match",
    "low_confidence",
    "ambiguous",
    "forbidden",
    "vendor_error",
    "vendor_timeout",
]
"""What the palm vendor is taken to have said."""

_VENDOR: Final[Scores] = (0.7, 0.7, 0.7, 0.7)
_NOT_RECOGNISED: Final[dict[str, x.NotRecognizedReason]] = {
    "no_match": "no_candidate",
    "low_confidence": "low_confidence",
    "ambiguous": "ambiguous",
}
_user: Final = stream_of(u.UserSignedUp, u.rebuild)


class Simulated(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be simulated: which palm, at a device that is bound to which product.

    `user_id` is whose palm it is, for `match` alone.
    """

    idempotency_key: str
    product_key: str
    action: str
    palm: Palm
    user_id: UserId | None
    context: dict[str, Any]
    deadline_ms: int | None


class Played(msgspec.Struct, frozen=True):
    """A simulated transaction; `answer` is None where a device would be told to try again."""

    transaction_id: TransactionId
    answer: x.Answer | None


class ChosenPalm:
    """Stands where the vendor is asked (`attempt.Recognizes`), and answers as it was told."""

    def __init__(self, palm: Palm, user: u.User | None) -> None:
        self._palm = palm
        self._user = user

    async def by_vendor(
        self, tenant: t.Tenant, scan: Scan, deadline_s: float
    ) -> Recognised | NotRecognised:
        del scan, deadline_s
        policy = tenant.settings.match_policy
        least = effective_thresholds(policy, _VENDOR)
        match self._palm:
            case "forbidden":
                raise PalmQueryForbidden
            case "vendor_error":
                raise PalmVendorFailed("palm_vendor_error")
            case "vendor_timeout":
                raise PalmVendorFailed("palm_vendor_timeout")
            case "match":
                assert self._user is not None, "a palm that matches is somebody's"
                event = x.TransactionIdentified(
                    user_id=self._user.id,
                    palm_ref=None,
                    match_source="server",
                    scores=least,
                    thresholds=least,
                    policy_version=policy.version,
                    identify_ms=0.0,
                    user_version=self._user.version,
                    vendor_thresholds=_VENDOR,
                )
                return Recognised(user=self._user, event=event)
            case palm:
                return NotRecognised(
                    reason=_NOT_RECOGNISED[palm],
                    scores=None if palm == "no_match" else least,
                    thresholds=least,
                    policy_version=policy.version,
                    identify_ms=0.0,
                    candidates=(),
                    vendor_thresholds=_VENDOR,
                )

    async def by_device(
        self, tenant: t.Tenant, device: d.Device, match: DeviceMatch, key: str, scan_sha256: str
    ) -> Recognised | NotRecognised:
        del tenant, device, match, key, scan_sha256
        raise AssertionError("no device matches in a simulation")


class Simulations:
    def __init__(
        self,
        log: EventLog,
        streams: Streams,
        decisions: Decisions,
        canonical: CanonicalJSON,
        commitments: Commitments,
        texts: ProductTexts,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._streams = streams
        self._decisions = decisions
        self._canonical = canonical
        self._commitments = commitments
        self._texts = texts
        self._clock = clock
        self._ids = ids

    async def transact(self, caller: Manager, what: Simulated) -> Played:
        """The transaction, decided, or left undecided by a vendor that is taken to have failed.

        The same key is the same transaction. Raises Forbidden (`tenant_not_sandbox`), NotFound
        (`user_not_found`), Invalid (`idempotency_key_reused`), Conflict (`request_in_progress`)
        and Unavailable (`commit_failed`).
        """
        tenant = t.rebuild(await self._log.load(caller.tenant_id, caller.tenant_id))
        if tenant is None or not tenant.sandbox:
            raise Forbidden("tenant_not_sandbox", "only a sandbox tenant simulates")
        user = None
        if what.palm == "match":
            past = await self._log.load(caller.tenant_id, what.user_id) if what.user_id else ()
            user = _user(past)
            if user is None:
                raise NotFound("user_not_found")
        asked = await self._asked(caller, tenant, what)
        attempts = Attempts(
            self._streams, ChosenPalm(what.palm, user), self._decisions, self._clock, self._ids
        )
        known = x.rebuild(await self._log.load(caller.tenant_id, asked.id))
        if known is not None:
            x.check_same_request(known, asked.fingerprint)
            if known.decision is not None:
                return Played(asked.id, x.answer(await worded(self._texts, known)))
            if known.vendor_failed is not None:
                return Played(asked.id, None)
        try:
            decided = await attempts.begin(asked, known)
        except StaleStream as error:
            raise Conflict("request_in_progress", retry_after_s=1) from error
        except CommitFailed as error:
            raise Unavailable("commit_failed", retry_after_s=1) from error
        except Unavailable as error:
            if error.code not in ("palm_vendor_error", "palm_vendor_timeout"):
                raise
            # That the vendor fails is what was asked for, and it is recorded.
            return Played(asked.id, None)
        return Played(asked.id, x.answer(decided))

    async def _asked(self, caller: Manager, tenant: t.Tenant, what: Simulated) -> Asked:
        """As a device of the tenant would have asked that nobody ever registered."""
        started = self._clock.monotonic()
        device = _device(caller, what)
        context = self._canonical.canonical(what.context)
        name = transaction_id(device.id, what.idempotency_key)
        said = (what.palm, what.user_id, what.product_key, what.action)
        plain = hashlib.sha256(context + b"\0" + msgspec.json.encode(said)).hexdigest()
        commit = self._commitments.commit
        salted = await commit(caller.tenant_id, name, "request", plain.encode())
        scan = Scan(
            format="simulated",
            rgb=b"",
            ir=b"",
            hand="unknown",
            sha256="0" * 64,
            quality=100,
            liveness=1,
        )
        return Asked(
            device=DevicePrincipal(
                tenant_id=caller.tenant_id,
                actor=caller.actor,
                correlation_id=caller.correlation_id,
                device_id=device.id,
                fingerprint="simulated",
            ),
            state=device,
            tenant=tenant,
            request=TransactionRequest(
                idempotency_key=what.idempotency_key,
                scan=scan,
                context=what.context,
                deadline_ms=what.deadline_ms,
            ),
            id=name,
            fingerprint=x.Fingerprint(salted, plain),
            context_commitment=await commit(caller.tenant_id, name, "context", context),
            context=context,
            started=started,
            deadline_s=(what.deadline_ms or tenant.settings.default_deadline_ms) / 1000,
            simulated=True,
        )


def _device(caller: Manager, what: Simulated) -> d.Device:
    bound = f"simulator:{what.product_key}:{what.action}"
    return d.Device(
        id=DeviceId(uuid5(caller.tenant_id, bound)),
        tenant_id=caller.tenant_id,
        version=0,
        registered=d.DeviceRegistered(
            type="pos",
            name="Simulator",
            serial=None,
            bound_product=what.product_key,
            bound_action=what.action,
        ),
        status="active",
    )
