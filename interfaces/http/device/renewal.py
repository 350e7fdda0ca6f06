"""`POST /v1/device/certificate/renew`: a new certificate for a new key (broker.md §3.2)."""

from typing import Annotated

import msgspec
from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from application.principals import DevicePrincipal
from interfaces.http.device.pairing import ATTESTATION, AttestationGiven, Paired, chain_of, shown
from interfaces.http.json_body import StrictJSON
from interfaces.http.refusals import BODY, WRITE, merged
from interfaces.http.services import Services

Given = NamedDependency[Services]
Device = NamedDependency[DevicePrincipal]


class RenewalRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request for a key that no certificate of ours was ever made for; attested, if the device
    was paired with a key that was."""

    csr: Annotated[str, msgspec.Meta(min_length=1, max_length=16_384)]
    attestation: AttestationGiven | None = None


@post(
    "/v1/device/certificate/renew",
    operation_id="renewCertificate",
    tags=["Device"],
    summary="Get a certificate for a new key, with the one that is about to run out",
    dto=StrictJSON[RenewalRequest],
    return_dto=None,
    device_operation="renew",
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
            409: ("renewal_too_early", "key_already_used"),
            422: ("attestation_downgrade",),
        },
    ),
)
async def renew(
    data: JSONBody[RenewalRequest], device: Device, services: Given
) -> Response[Paired]:
    pairing = await services.renewals.renew(device, data.csr, chain_of(data.attestation))
    return Response(shown(services, pairing), headers={"cache-control": "no-store"})


HANDLERS = (renew,)
