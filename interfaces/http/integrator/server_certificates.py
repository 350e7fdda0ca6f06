"""`/v1/admin/ssl/server-cert`: what our own listeners show, for whoever runs the platform (003
§3.4). Only a client or a person of the platform itself may ask."""

from datetime import datetime
from typing import Annotated, Final

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from application.execute import Done
from application.ports.server_certificates import Shown
from application.principals import Manager
from domain.errors import NotFound
from domain.ids import PLATFORM
from domain.server_certificate import Certificate, OpenRequest, Source
from interfaces.http.json_body import StrictJSON
from interfaces.http.positions import positioned
from interfaces.http.refusals import BODY, WRITE, Refusals, merged
from interfaces.http.services import Services

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]

PEM_CHARACTERS_MAX: Final = 32 * 1024
DAY_S: Final = 86_400

OF_PLATFORM: Final[Refusals] = {404: ("server_certificate_not_found",)}
CHANGE: Final[Refusals] = merged(
    WRITE, OF_PLATFORM, {409: ("server_certificate_missing", "server_certificate_expired")}
)


class ServerCertificateShown(msgspec.Struct, frozen=True, kw_only=True):
    """`source` is `platform` for our own server CA's, `own` for one that was brought, and `file`
    for one in files of this process's; `days_left` are whole ones, negative once it has run out."""

    source: Source
    subject: str
    issuer: str
    serial: str
    key: str
    names: list[str]
    fingerprint_sha256: str
    not_before: datetime
    not_after: datetime
    days_left: int
    certificate: str


class ServerCertificatesShown(msgspec.Struct, frozen=True, kw_only=True):
    """`public` is what the API's listeners show, `device` what the device listener does, both of
    the process that answers. `installed` waits to be activated, `former` is what a step back shows.
    `names` are those by which clients and devices know us."""

    public: ServerCertificateShown | None
    device: ServerCertificateShown | None
    installed: ServerCertificateShown | None
    former: ServerCertificateShown | None
    names: list[str]
    csr_open: bool


class NewServerCsr(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`replace` gives up a request that is open."""

    replace: bool = False


class ServerCsr(msgspec.Struct, frozen=True, kw_only=True):
    """The request for your CA to sign, PKCS#10 in PEM, and the names that stand in it."""

    csr: str
    names: list[str]
    made_at: datetime


class NewServerCertificate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What your CA made of the request: PEM, the certificate first, then each issuer after what it
    signed. A root at the end is not shown to clients, but given to devices to trust."""

    certificate: Annotated[str, msgspec.Meta(min_length=1, max_length=PEM_CHARACTERS_MAX)]


class Activation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """With `for_devices` the device listener shows it too; `force` leaves behind the devices that
    were certified before its CA was given to them."""

    for_devices: bool = False
    force: bool = False


class StepBack(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`to` is the fingerprint of the one that you want back; another is not shown then."""

    to: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")] | None = None


class Reissue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`everywhere` shows it in place of what you brought, too."""

    everywhere: bool = False


async def told(services: Services) -> ServerCertificatesShown:
    state = await services.server_certificates.state()
    before = state.before()
    return ServerCertificatesShown(
        public=_shown(services, services.shown_certificates.shown("public")),
        device=_shown(services, services.shown_certificates.shown("device")),
        installed=_shown(
            services, None if state.installed is None else state.installed.certificate
        ),
        former=_shown(services, None if before in (None, state.showing) else before.public),
        names=list(services.server_certificates.names.told),
        csr_open=state.request is not None,
    )


def _shown(
    services: Services, certificate: Certificate | Shown | None
) -> ServerCertificateShown | None:
    if certificate is None:
        return None
    facts = services.server_certificates.facts(certificate.chain_pem)
    left = certificate.not_after - services.clock.now()
    return ServerCertificateShown(
        source=certificate.source,
        subject=facts.subject,
        issuer=facts.issuer,
        serial=facts.serial,
        key=facts.key,
        names=list(certificate.names),
        fingerprint_sha256=certificate.fingerprint_sha256,
        not_before=certificate.not_before,
        not_after=certificate.not_after,
        days_left=int(left.total_seconds() // DAY_S),
        certificate=certificate.chain_pem,
    )


@get(
    "/v1/admin/ssl/server-cert",
    operation_id="getServerCertificate",
    tags=["Platform"],
    summary="What our own listeners show, what waits, and what was shown before",
    permission="server_certificate.read",
    refusals=OF_PLATFORM,
)
async def show(integrator: Integrator, services: Given) -> Response[ServerCertificatesShown]:
    _platform(integrator)
    return await _answer(services, None)


@post(
    "/v1/admin/ssl/server-cert/csr",
    operation_id="makeServerCsr",
    tags=["Platform"],
    summary="Have a key made for our listeners, and a request for your CA to sign",
    dto=StrictJSON[NewServerCsr],
    return_dto=None,
    permission="server_certificate.write",
    refusals=merged(BODY, WRITE, OF_PLATFORM),
)
async def make_csr(
    data: JSONBody[NewServerCsr], integrator: Integrator, services: Given
) -> Response[ServerCsr]:
    _platform(integrator)
    made, done = await services.server_certificates.make_csr(integrator, replace=data.replace)
    return Response(csr_shown(made), headers={} if done is None else positioned(done))


@get(
    "/v1/admin/ssl/server-cert/csr",
    operation_id="getServerCsr",
    tags=["Platform"],
    summary="The request that waits for your CA",
    permission="server_certificate.read",
    refusals=merged(OF_PLATFORM, {404: ("server_csr_not_found",)}),
)
async def show_csr(integrator: Integrator, services: Given) -> ServerCsr:
    _platform(integrator)
    return csr_shown(await services.server_certificates.open_request())


@post(
    "/v1/admin/ssl/server-cert/install",
    operation_id="installServerCertificate",
    tags=["Platform"],
    summary="Bring the certificate that your CA signed; it is not shown before it is activated",
    status_code=200,
    dto=StrictJSON[NewServerCertificate],
    return_dto=None,
    permission="server_certificate.write",
    refusals=merged(
        BODY,
        WRITE,
        OF_PLATFORM,
        {
            400: ("certificate_invalid",),
            409: ("server_csr_missing",),
            422: (
                "certificate_key_mismatch",
                "certificate_names_missing",
                "certificate_chain_broken",
                "certificate_weak",
                "certificate_not_valid_yet",
                "certificate_run_out",
                "certificate_of_a_ca",
                "certificate_not_for_servers",
            ),
        },
    ),
)
async def install(
    data: JSONBody[NewServerCertificate], integrator: Integrator, services: Given
) -> Response[ServerCertificatesShown]:
    _platform(integrator)
    done = await services.server_certificates.install(integrator, data.certificate)
    return await _answer(services, done)


@post(
    "/v1/admin/ssl/server-cert/activate",
    operation_id="activateServerCertificate",
    tags=["Platform"],
    summary="Show the certificate that was brought, from the next handshake on",
    status_code=200,
    dto=StrictJSON[Activation],
    return_dto=None,
    permission="server_certificate.write",
    refusals=merged(
        BODY,
        CHANGE,
        {
            409: ("devices_left_behind",),
            422: ("certificate_names_missing", "certificate_anchor_missing"),
            503: ("position_not_reached",),
        },
    ),
)
async def activate(
    data: JSONBody[Activation], integrator: Integrator, services: Given
) -> Response[ServerCertificatesShown]:
    _platform(integrator)
    done = await services.server_certificates.activate(
        integrator, for_devices=data.for_devices, force=data.force
    )
    return await _answer(services, done)


@post(
    "/v1/admin/ssl/server-cert/rollback",
    operation_id="rollBackServerCertificate",
    tags=["Platform"],
    summary="Show again what was shown before",
    status_code=200,
    dto=StrictJSON[StepBack],
    return_dto=None,
    permission="server_certificate.write",
    refusals=merged(BODY, CHANGE),
)
async def roll_back(
    data: JSONBody[StepBack], integrator: Integrator, services: Given
) -> Response[ServerCertificatesShown]:
    _platform(integrator)
    done = await services.server_certificates.roll_back(integrator, data.to)
    return await _answer(services, done)


@post(
    "/v1/admin/ssl/server-cert/renew",
    operation_id="renewServerCertificate",
    tags=["Platform"],
    summary="Have our own server CA issue one now, over a new key",
    status_code=200,
    dto=StrictJSON[Reissue],
    return_dto=None,
    permission="server_certificate.write",
    refusals=merged(BODY, WRITE, OF_PLATFORM),
)
async def renew(
    data: JSONBody[Reissue], integrator: Integrator, services: Given
) -> Response[ServerCertificatesShown]:
    _platform(integrator)
    done = await services.server_certificates.renew(integrator, everywhere=data.everywhere)
    return await _answer(services, done)


async def _answer(services: Services, done: Done | None) -> Response[ServerCertificatesShown]:
    headers = {"cache-control": "no-store", **({} if done is None else positioned(done))}
    return Response(await told(services), headers=headers)


def csr_shown(request: OpenRequest) -> ServerCsr:
    return ServerCsr(csr=request.csr_pem, names=list(request.names), made_at=request.made_at)


def _platform(integrator: Manager) -> None:
    """Raises NotFound (`server_certificate_not_found`): a tenant has none."""
    if integrator.tenant_id != PLATFORM:
        raise NotFound("server_certificate_not_found")


HANDLERS = (show, make_csr, show_csr, install, activate, roll_back, renew)
