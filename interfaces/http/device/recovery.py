"""For devices without a usable certificate: a nonce, where it stands, and the way back."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from application.fleet.recovery import NONCE_S, Action, Standing
from interfaces.http.caller_address import budget_address
from interfaces.http.device.pairing import ATTESTATION, Paired, shown
from interfaces.http.json_body import StrictJSON
from interfaces.http.refusals import BODY, WRITE, merged
from interfaces.http.request_id import correlation_id
from interfaces.http.services import Services

Given = NamedDependency[Services]

NOT_KEPT = {"cache-control": "no-store"}


class NonceShown(msgspec.Struct, frozen=True, kw_only=True):
    """To be signed once, within `expires_in` seconds, for `audience`."""

    nonce: str
    expires_in: int
    audience: str


class ProofBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A compact JWS by the key of a device certificate, which is in its header as `x5c`."""

    proof: Annotated[str, msgspec.Meta(min_length=1, max_length=49_152)]


class CertificateStanding(msgspec.Struct, frozen=True, kw_only=True):
    """What the TLS layer cannot say: where the certificate stands, and what to do about it."""

    status: Standing
    action: Action
    server_time: datetime


@post(
    "/v1/device/nonce",
    operation_id="issueNonce",
    tags=["Device"],
    summary="A number for a device to sign; for those below",
    public=True,
    refusals={429: ("rate_limited",)},
)
async def nonce(request: Request[Any, Any, Any], services: Given) -> Response[NonceShown]:
    issued = await services.recoveries.nonce(budget_address(request))
    body = NonceShown(nonce=issued, expires_in=NONCE_S, audience=services.issuer)
    return Response(body, headers=NOT_KEPT)


@post(
    "/v1/device/certificate/status",
    operation_id="getCertificateStatus",
    tags=["Device"],
    summary="Why a device is not let in, and what it should do",
    status_code=200,
    dto=StrictJSON[ProofBody],
    return_dto=None,
    request_max_body_size=65_536,
    public=True,
    refusals=merged(BODY, {401: ("proof_invalid",)}),
)
async def status(data: JSONBody[ProofBody], services: Given) -> Response[CertificateStanding]:
    found = await services.recoveries.status(data.proof)
    body = CertificateStanding(
        status=found.status, action=found.action, server_time=found.server_time
    )
    return Response(body, headers=NOT_KEPT)


@post(
    "/v1/device/certificate/recover",
    operation_id="recoverCertificate",
    tags=["Device"],
    summary="A certificate for a new key, by the key of one that has run out",
    dto=StrictJSON[ProofBody],
    return_dto=None,
    request_max_body_size=65_536,
    public=True,
    refusals=merged(
        BODY,
        WRITE,
        ATTESTATION,
        {
            400: (
                "csr_invalid",
                "csr_signature_invalid",
                "key_policy_violation",
                "key_reuse_forbidden",
            ),
            401: ("proof_invalid",),
            403: ("device_revoked", "recovery_window_passed", "device_ca_distrusted"),
            409: ("certificate_not_expired", "certificate_superseded", "key_already_used"),
            422: ("attestation_downgrade",),
        },
    ),
)
async def recover(
    request: Request[Any, Any, Any], data: JSONBody[ProofBody], services: Given
) -> Response[Paired]:
    pairing = await services.recoveries.recover(data.proof, correlation_id(request))
    return Response(shown(services, pairing), headers=NOT_KEPT)


HANDLERS = (nonce, status, recover)
