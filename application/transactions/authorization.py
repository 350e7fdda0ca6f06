"""The question to the product: its body, its assertion, its deadline (004 §10.4, §10.5)."""

import base64
import hashlib
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from application.ports import (
    AssertionSigner,
    AuthorizeCall,
    Authorized,
    AuthorizeFailed,
    LinkedServiceGateway,
)
from domain.ids import DeviceId, LinkedServiceId, TenantId, TransactionId, wire
from domain.linked_service import LinkedService
from domain.transaction import TransactionAuthorizationRequested, TransactionIdentified

ASSERTION_MAX_S: Final = 60
LEAST_S: Final = 0.05
"""With less than this left the product is not asked: it could not answer in time."""

ACR: Final = {"server": "palm.1n.server4", "device": "palm.1n.local2"}


_json: Final = msgspec.json.Encoder()


class _Body(msgspec.Struct, frozen=True, kw_only=True):
    user_id: str
    tenant_id: str
    device_id: str
    transaction_id: str
    action: str
    context: msgspec.Raw
    idempotency_key: str
    attempt: int


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """All that one attempt at the product rests on."""

    tenant_id: TenantId
    device_id: DeviceId
    transaction_id: TransactionId
    identified: TransactionIdentified
    intent: TransactionAuthorizationRequested
    service: LinkedService
    context: bytes
    context_hash: str
    trace_id: UUID | None = None
    simulated: bool = False


class Authorization:
    def __init__(self, gateway: LinkedServiceGateway, signer: AssertionSigner, issuer: str) -> None:
        self._gateway = gateway
        self._signer = signer
        self._issuer = issuer

    async def ask(self, question: Question, now: datetime, remaining_s: float) -> Authorized:
        """Ask the product once, within what is left of the device's budget.

        Raises AuthorizeFailed; with `reached` False when no byte can have left us.
        """
        deadline_s = min(question.intent.timeout_ms / 1000, remaining_s)
        if deadline_s < LEAST_S:
            raise AuthorizeFailed("authorize_timeout", reached=False, detail="no budget left")
        intent = question.intent
        control = question.service.control
        if control.rehearses(question.device_id, now):
            raise AuthorizeFailed("circuit_open", reached=False, detail="drill", drill=True)
        claims = recorded_claims(
            self._issuer,
            question.tenant_id,
            question.device_id,
            question.transaction_id,
            question.identified,
            intent,
            simulated=question.simulated,
        )
        body = _json.encode(
            _Body(
                user_id=claims["sub"],
                tenant_id=claims["tenant_id"],
                device_id=claims["device_id"],
                transaction_id=claims["txn"],
                action=intent.action,
                context=msgspec.Raw(question.context),
                idempotency_key=intent.product_idempotency_key,
                attempt=intent.epoch,
            )
        )
        issued_at = int(now.timestamp())
        bearer = self._signer.sign(
            {
                **claims,
                "context_hash": question.context_hash,
                "body_sha256": digest(body),
                "iat": issued_at,
                "nbf": issued_at,
                "exp": issued_at + min(ASSERTION_MAX_S, int(deadline_s) + 6),
            }
        )
        return await self._gateway.authorize(
            AuthorizeCall(
                tenant_id=question.tenant_id,
                service_id=intent.service_id,
                device_id=question.device_id,
                url=intent.base_url.rstrip("/") + intent.authorize_path,
                bearer=bearer,
                body=body,
                idempotency_key=intent.product_idempotency_key,
                deadline_s=deadline_s,
                breaker=question.service.routing.breaker,
                mode=control.in_force(now),
                trace_id=question.trace_id,
            )
        )


NOT_RECORDED: Final = ("context_hash", "body_sha256", "iat", "nbf", "exp")
"""The claims of an assertion that the log cannot say again: they come of the request's context,
which is nowhere, and of the moment of signing."""


def recorded_claims(
    issuer: str,
    tenant_id: TenantId,
    device_id: DeviceId,
    transaction_id: TransactionId,
    identified: TransactionIdentified,
    intent: TransactionAuthorizationRequested,
    *,
    simulated: bool,
) -> dict[str, Any]:
    """What an assertion says that rests on recorded events alone.

    Only one that is simulated says anything of it, and only one of an intent that has it how well
    the device's key is attested.
    """
    claims: dict[str, Any] = {"simulated": True} if simulated else {}
    if intent.device_assurance is not None:
        claims["device_assurance"] = intent.device_assurance
    return claims | {
        "aud": [intent.product_key, audience(issuer, tenant_id, intent.service_id)],
        "sub": wire("usr", identified.user_id),
        "tenant_id": wire("ten", tenant_id),
        "device_id": wire("dev", device_id),
        "txn": wire("txn", transaction_id),
        "action": intent.action,
        "idempotency_key": intent.product_idempotency_key,
        "acr": ACR[identified.match_source],
        "match_source": identified.match_source,
        "jti": intent.jti,
    }


def audience(issuer: str, tenant_id: UUID, service_id: LinkedServiceId) -> str:
    """The audience that is this service's alone, over all tenants (design §2 row 4)."""
    return f"{issuer}/tenants/{wire('ten', tenant_id)}/linked-services/{wire('lsvc', service_id)}"


def digest(content: bytes) -> str:
    """SHA-256, base64url without padding."""
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def product_key_of(transaction_id: TransactionId) -> str:
    """The key a product is idempotent on: one per transaction, over all devices and attempts."""
    return wire("txn", transaction_id)
