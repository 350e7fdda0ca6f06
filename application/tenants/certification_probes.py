"""The requests of a certification: a good one, and every way to spoil it.

All of them are about a person whom nobody is and a transaction that never was. What a failing case
sent can be made again at any time, with assertions of that moment, and pasted into a shell.
"""

import shlex
from collections.abc import Mapping
from typing import Any, Final, Literal
from uuid import UUID

import msgspec

from application.ports import CanonicalJSON, Clock, IdSource
from application.ports.probes import Probe, ProbeSigner, SignedAs
from application.transactions.authorization import audience, digest
from domain.certification import CaseName, missing_endpoint, tester
from domain.ids import LinkedServiceId, TenantId, TransactionId, wire
from domain.linked_service import LinkedService

LIFETIME_S: Final = 60
Door = Literal["authorize", "void", "advice"]


class Spoilt(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a request; a plain one is right in every way.

    `members` replaces what body and assertion say alike, `claims` what the assertion alone says.
    `altered_body` is sent in place of what was signed; `altered_context` is another context than
    that of which the assertion has the hash. `other_context` is one that is signed for.
    """

    signed: SignedAs | None = "ours"
    members: Mapping[str, Any] = {}
    claims: Mapping[str, Any] = {}
    shift_s: int = 0
    altered_body: bool = False
    altered_context: bool = False
    other_context: bool = False


RIGHT: Final = Spoilt()


class Probes:
    """Makes requests to one service. `key` names the purchase that a request is about."""

    def __init__(
        self,
        service: LinkedService,
        action: str,
        context: Mapping[str, Any],
        issuer: str,
        signer: ProbeSigner,
        canonical: CanonicalJSON,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self.service = service
        self.action = action
        self._context = dict(context)
        self._issuer = issuer
        self._signer = signer
        self._canonical = canonical
        self._clock = clock
        self._ids = ids

    def fresh_key(self) -> UUID:
        return self._ids.uuid()

    def missing(self, case: CaseName) -> str | None:
        """Which endpoint a case wants that the product has not."""
        routing = self.service.routing
        return missing_endpoint(
            case, void=routing.void_path is not None, advice=routing.advice_path is not None
        )

    def health(self) -> Probe:
        routing = self.service.routing
        url = routing.base_url.rstrip("/") + routing.health_path
        return Probe(method="GET", url=url, headers={}, body=b"")

    def ask(
        self, key: UUID, spoilt: Spoilt = RIGHT, *, door: Door = "authorize", action: str = ""
    ) -> Probe:
        """A request about this purchase; `action` is another than the door's own, if given."""
        routing = self.service.routing
        path = {
            "authorize": routing.authorize_path,
            "void": routing.void_path,
            "advice": routing.advice_path,
        }[door]
        assert path is not None, "a service without this endpoint is not asked there"
        action = action or (self.action if door == "authorize" else door)
        context = {} if door == "void" else self._context
        if spoilt.other_context:
            context = {**context, "certification": "another request under the same key"}
        members = self._members(key, action, door) | dict(spoilt.members)
        signed = self._encode(members, context)
        sent = signed
        if spoilt.altered_context:
            sent = signed = self._encode(members, {**context, "altered": True})
        if spoilt.altered_body:
            sent = self._encode({**members, "altered": True}, context)
        claims = self._claims(members, self._canonical.canonical(context), signed, spoilt)
        headers = {"Content-Type": "application/json", "Idempotency-Key": wire("txn", key)}
        if spoilt.signed is not None:
            headers["Authorization"] = f"Bearer {self._signer.sign(claims, spoilt.signed)}"
        return Probe(
            method="POST", url=routing.base_url.rstrip("/") + path, headers=headers, body=sent
        )

    def _members(self, key: UUID, action: str, door: Door) -> dict[str, Any]:
        service = self.service
        members: dict[str, Any] = {
            "user_id": wire("usr", tester(service.id)),
            "tenant_id": wire("ten", service.tenant_id),
            "device_id": wire("dev", service.id),
            "transaction_id": wire("txn", TransactionId(key)),
            "action": action,
            "idempotency_key": wire("txn", key),
            "attempt": 1,
        }
        if door == "void":
            members |= {
                "reason": "timeout",
                "voided_action": self.action,
                "original_reference_id": None,
            }
        if door == "advice":
            members |= {
                "reason": "authorize_timeout",
                "advised_action": self.action,
                "drill": False,
                "decided_at": self._clock.now(),
            }
        return members

    def _encode(self, members: Mapping[str, Any], context: Mapping[str, Any]) -> bytes:
        raw = msgspec.Raw(self._canonical.canonical(dict(context)))
        return msgspec.json.encode({**members, "context": raw})

    def _claims(
        self, members: Mapping[str, Any], context: bytes, body: bytes, spoilt: Spoilt
    ) -> dict[str, Any]:
        service = self.service
        issued_at = int(self._clock.now().timestamp()) + spoilt.shift_s
        claims = {
            "aud": [
                service.product_key,
                audience(self._issuer, service.tenant_id, service.id),
            ],
            "sub": members["user_id"],
            "tenant_id": members["tenant_id"],
            "device_id": members["device_id"],
            "txn": members["transaction_id"],
            "action": members["action"],
            "context_hash": digest(context),
            "body_sha256": digest(body),
            "idempotency_key": members["idempotency_key"],
            "acr": "palm.1n.server4",
            "match_source": "server",
            "device_assurance": "unattested",
            "iss": self._issuer,
            "iat": issued_at,
            "nbf": issued_at,
            "exp": issued_at + LIFETIME_S,
            "jti": self._ids.uuid().hex,
        }
        return claims | dict(spoilt.claims)

    def elsewhere(self) -> Spoilt:
        """For the product of another tenant that has the same key there."""
        tenant = TenantId(self._ids.uuid())
        theirs = audience(self._issuer, tenant, LinkedServiceId(self._ids.uuid()))
        return Spoilt(
            members={"tenant_id": wire("ten", tenant)},
            claims={"aud": [self.service.product_key, theirs]},
        )

    def another_product(self) -> Spoilt:
        """For another product of the same tenant."""
        service = LinkedServiceId(self._ids.uuid())
        theirs = audience(self._issuer, self.service.tenant_id, service)
        return Spoilt(claims={"aud": [f"not-{self.service.product_key}", theirs]})


def curl(probe: Probe) -> str:
    """The request as a line for a shell."""
    words = ["curl", "-sS", "-i", "-X", probe.method, probe.url]
    for name, value in probe.headers.items():
        words += ["-H", f"{name}: {value}"]
    if probe.body:
        words += ["--data-binary", probe.body.decode()]
    return shlex.join(words)
