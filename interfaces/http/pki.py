"""`/v1/pki`: what verifies our certificates, for devices and for proxies of others (RFC 5280)."""

import base64
import hashlib
from datetime import datetime
from typing import Any, Final

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec

from domain.device_ca import Phase
from domain.errors import Unavailable
from interfaces.http.services import Services

Given = NamedDependency[Services]

PEM: Final = "application/x-pem-file"
CRL: Final = "application/pkix-crl"
KEPT: Final = "public, max-age=300"
"""A CA is announced long before anything is signed by it."""
CRL_KEPT: Final = "public, max-age=60"

SAME: Final = {304: ResponseSpec(data_container=None, description="What you have is current")}

AnyRequest = Request[Any, Any, Any]


class DeviceAuthority(msgspec.Struct, frozen=True, kw_only=True):
    """A device CA that is trusted; one of them issues."""

    authority: int
    issues: bool
    certificate: str


class Authorities(msgspec.Struct, frozen=True, kw_only=True):
    """Every CA of this platform that counts. `version` grows with each step of a rotation."""

    version: int
    phase: Phase
    issuing_since: datetime | None
    device_cas: list[DeviceAuthority]
    server_ca: str


def _answer(request: AnyRequest, content: bytes, kind: str, kept: str = KEPT) -> Any:
    """What is asked for with its ETag, or that it is what the caller has (RFC 9110 §13.1.2)."""
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"etag": etag, "cache-control": kept}
    given = ",".join(request.headers.getall("if-none-match", []))
    seen = {each.strip().removeprefix("W/") for each in given.split(",")}
    if etag in seen or "*" in seen:
        return Response(b"", status_code=304, media_type=kind, headers=headers)
    return Response(content, media_type=kind, headers=headers)


@get(
    "/v1/pki/ca-bundle",
    operation_id="getCABundle",
    public=True,
    tags=["Keys"],
    summary="The CA that signs our own listeners' certificates (PEM)",
    media_type=PEM,
    responses=SAME,
)
async def ca_bundle(request: AnyRequest, services: Given) -> Response[bytes]:
    found: Response[bytes] = _answer(request, services.authority.ca_bundle_pem().encode(), PEM)
    return found


@get(
    "/v1/pki/device-cas",
    operation_id="getDeviceCAs",
    public=True,
    tags=["Keys"],
    summary="The CAs that sign devices (PEM), the one that issues first",
    media_type=PEM,
    responses=SAME,
)
async def device_cas(request: AnyRequest, services: Given) -> Response[bytes]:
    found: Response[bytes] = _answer(request, services.authority.device_ca_pem().encode(), PEM)
    return found


@get(
    "/v1/pki/authorities",
    operation_id="getAuthorities",
    public=True,
    tags=["Keys"],
    summary="All of our CAs, with the version of the bundle and the phase of a rotation",
    responses=SAME,
)
async def authorities(request: AnyRequest, services: Given) -> Response[Authorities]:
    state = services.authority.state
    shown = Authorities(
        version=state.version + 1,
        phase=state.phase,
        issuing_since=state.issuing_since,
        device_cas=[
            DeviceAuthority(
                authority=number,
                issues=number == state.issuing,
                certificate=services.authority.device_ca(number),
            )
            for number in state.trusted
        ],
        server_ca=services.authority.ca_bundle_pem(),
    )
    found: Response[Authorities] = _answer(request, msgspec.json.encode(shown), "application/json")
    return found


@get(
    "/v1/pki/device-ca.crl",
    operation_id="getDeviceCRL",
    public=True,
    tags=["Keys"],
    summary="The CRL of the CA that issues (DER, RFC 5280)",
    media_type=CRL,
    responses=SAME,
    refusals={503: ("crl_unavailable",)},
)
async def device_crl(request: AnyRequest, services: Given) -> Response[bytes]:
    listed = await services.revocation_lists.current(services.authority.state.issuing)
    if listed is None:
        raise Unavailable("crl_unavailable", retry_after_s=1)
    found: Response[bytes] = _answer(request, listed.der, CRL, CRL_KEPT)
    return found


@get(
    "/v1/pki/device-crls",
    operation_id="getDeviceCRLs",
    public=True,
    tags=["Keys"],
    summary="The CRLs of all CAs that are trusted for devices (PEM), as proxies read them",
    media_type=PEM,
    responses=SAME,
    refusals={503: ("crl_unavailable",)},
)
async def device_crls(request: AnyRequest, services: Given) -> Response[bytes]:
    listed = await services.revocation_lists.trusted()
    if len(listed) < len(services.authority.state.trusted):
        raise Unavailable("crl_unavailable", retry_after_s=1)
    pem = b"".join(_pem(each.der) for each in listed)
    found: Response[bytes] = _answer(request, pem, PEM, CRL_KEPT)
    return found


def _pem(der: bytes) -> bytes:
    text = base64.encodebytes(der).replace(b"\n", b"")
    lines = b"".join(text[at : at + 64] + b"\n" for at in range(0, len(text), 64))
    return b"-----BEGIN X509 CRL-----\n" + lines + b"-----END X509 CRL-----\n"


HANDLERS = (ca_bundle, device_cas, authorities, device_crl, device_crls)
