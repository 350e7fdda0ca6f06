"""`POST /v1/device/pair`: a code and a key become a device (003 §3.9). No certificate yet."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from application.fleet.certificates import Pairing
from domain.ids import wire
from interfaces.http.caller_address import budget_address
from interfaces.http.json_body import StrictJSON
from interfaces.http.refusals import BODY, WRITE, Refusals, merged
from interfaces.http.request_id import correlation_id
from interfaces.http.services import Services

Given = NamedDependency[Services]

Line = Annotated[str, msgspec.Meta(min_length=1, max_length=80, pattern=r"^[\x20-\x7e]+$")]


class DeviceInfo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the device says of itself; recorded as its own word."""

    serial: Line | None = None
    model: Line | None = None
    os: Line | None = None
    fw_version: Line | None = None
    app_version: Line | None = None


class AttestationGiven(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The chain (PEM, the key's own certificate first) in which hardware vouches for the key of the
    request: `KeyStore.getCertificateChain()` on Android."""

    format: Literal["android-key"]
    chain: Annotated[
        tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=8192)], ...],
        msgspec.Meta(min_length=1, max_length=10),
    ]


ATTESTATION: Final[Refusals] = {
    422: ("attestation_invalid",),
    503: ("attestation_status_stale",),
}
"""Where a key may be attested."""


class PairingRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    code: Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
    csr: Annotated[str, msgspec.Meta(min_length=1, max_length=16_384)]
    device_info: DeviceInfo = DeviceInfo()
    attestation: AttestationGiven | None = None


class Paired(msgspec.Struct, frozen=True, kw_only=True):
    """The device's certificate, the chain behind it, and the CA to trust for our listeners."""

    device_id: str
    tenant_id: str
    certificate: str
    chain: str
    ca_bundle: str
    not_after: datetime
    renew_after: datetime
    device_api: str


def chain_of(given: AttestationGiven | None) -> tuple[str, ...] | None:
    return None if given is None else given.chain


def shown(services: Services, pairing: Pairing) -> Paired:
    return Paired(
        device_id=wire("dev", pairing.device_id),
        tenant_id=wire("ten", pairing.tenant_id),
        certificate=pairing.certificate_pem,
        chain=pairing.chain_pem,
        ca_bundle=pairing.ca_bundle_pem,
        not_after=pairing.not_after,
        renew_after=pairing.renew_after,
        device_api=services.device_api,
    )


@post(
    "/v1/device/pair",
    operation_id="pairDevice",
    tags=["Device"],
    summary="Redeem a pairing code with a certificate request",
    dto=StrictJSON[PairingRequest],
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
                "code_binding_mismatch",
            ),
            403: ("tenant_suspended",),
            404: ("pairing_code_invalid",),
            409: ("key_already_used", "device_not_pairable"),
            422: ("attestation_required",),
            429: ("rate_limited", "pairing_paused"),
        },
    ),
)
async def pair(
    request: Request[Any, Any, Any], data: JSONBody[PairingRequest], services: Given
) -> Response[Paired]:
    info = {
        name: value
        for name in DeviceInfo.__struct_fields__
        if (value := getattr(data.device_info, name)) is not None
    }
    pairing = await services.pairings.pair(
        data.code,
        data.csr,
        info,
        chain_of(data.attestation),
        address=budget_address(request),
        correlation_id=correlation_id(request),
    )
    return Response(shown(services, pairing), headers={"cache-control": "no-store"})


HANDLERS = (pair,)
