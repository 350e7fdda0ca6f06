"""`/v1/webhook-mtls`: by which certificates our webhooks show themselves (broker.md §3.9)."""

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from application.principals import Manager
from domain.spiffe import webhooks_path
from domain.webhook_identity import Certificate, OpenRequest, WebhookIdentity
from interfaces.http.json_body import StrictJSON
from interfaces.http.positions import positioned
from interfaces.http.refusals import BODY, WRITE, merged
from interfaces.http.services import Services

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]

PEM_CHARACTERS_MAX: Final = 32 * 1024


class NewWebhookCsr(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`replace` gives up a request that is open, and its key."""

    replace: bool = False


class WebhookCsr(msgspec.Struct, frozen=True, kw_only=True):
    """The request for your CA to sign, PKCS#10 in PEM."""

    csr: str
    made_at: datetime


class NewWebhookCertificate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What your CA made of the request: PEM, the certificate first, then those between it and a
    CA that your servers trust. Without `active_from` it is shown from now on."""

    certificate: Annotated[str, msgspec.Meta(min_length=1, max_length=PEM_CHARACTERS_MAX)]
    active_from: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class WebhookCertificateShown(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate of your CA. `scheduled`: not yet; `shown`: by every delivery with
    `tenant_ca`; `superseded`: a newer one is shown; `expired`: never again."""

    fingerprint_sha256: str
    status: Literal["scheduled", "shown", "superseded", "expired"]
    not_before: datetime
    not_after: datetime
    active_from: datetime
    certificate: str


class WebhookMtlsShown(msgspec.Struct, frozen=True, kw_only=True):
    """`platform_ca_name` is the URI in the certificate that endpoints with `platform_ca` are
    shown; its CA stands at `ca_bundle`. `certificates` are those of your own CA."""

    platform_ca_name: str
    ca_bundle: str
    certificates: list[WebhookCertificateShown]
    csr_open: bool


@get(
    "/v1/webhook-mtls",
    operation_id="getWebhookMtls",
    tags=["Webhooks"],
    summary="The client certificates that your endpoints are shown",
    permission="webhooks.read",
)
async def show(integrator: Integrator, services: Given) -> WebhookMtlsShown:
    identity = await services.webhook_identities.get(integrator.tenant_id)
    return _shown(services, integrator, identity)


@post(
    "/v1/webhook-mtls/csr",
    operation_id="makeWebhookCsr",
    tags=["Webhooks"],
    summary="Have a key made, and a request for your CA to sign",
    dto=StrictJSON[NewWebhookCsr],
    return_dto=None,
    permission="webhooks.write",
    refusals=merged(BODY, WRITE),
)
async def make_csr(
    data: JSONBody[NewWebhookCsr], integrator: Integrator, services: Given
) -> Response[WebhookCsr]:
    made, done = await services.webhook_identities.make_csr(integrator, replace=data.replace)
    return Response(_csr(made), headers={} if done is None else positioned(done))


@get(
    "/v1/webhook-mtls/csr",
    operation_id="getWebhookCsr",
    tags=["Webhooks"],
    summary="The request that waits for your CA",
    permission="webhooks.read",
    refusals={404: ("webhook_csr_not_found",)},
)
async def show_csr(integrator: Integrator, services: Given) -> WebhookCsr:
    return _csr(await services.webhook_identities.open_request(integrator.tenant_id))


@post(
    "/v1/webhook-mtls/certificates",
    operation_id="installWebhookCertificate",
    tags=["Webhooks"],
    summary="Bring the certificate that your CA signed",
    dto=StrictJSON[NewWebhookCertificate],
    return_dto=None,
    permission="webhooks.write",
    refusals=merged(
        BODY,
        WRITE,
        {
            400: ("certificate_invalid",),
            409: ("webhook_csr_missing",),
            422: ("certificate_unsuitable", "certificate_key_mismatch", "active_from_invalid"),
        },
    ),
)
async def install(
    data: JSONBody[NewWebhookCertificate], integrator: Integrator, services: Given
) -> Response[WebhookMtlsShown]:
    identity, done = await services.webhook_identities.install(
        integrator, data.certificate, data.active_from
    )
    return Response(_shown(services, integrator, identity), headers=positioned(done))


def _csr(request: OpenRequest) -> WebhookCsr:
    return WebhookCsr(csr=request.csr_pem, made_at=request.made_at)


def _shown(
    services: Services, integrator: Manager, identity: WebhookIdentity | None
) -> WebhookMtlsShown:
    now = services.clock.now()
    presented = None if identity is None else identity.presented(now)
    certificates = () if identity is None else identity.certificates
    path = webhooks_path(integrator.tenant_id)
    return WebhookMtlsShown(
        platform_ca_name=f"spiffe://{services.trust_domain}/{path}",
        ca_bundle=f"{services.issuer}/v1/pki/ca-bundle",
        certificates=[_certificate(each, presented, now) for each in reversed(certificates)],
        csr_open=identity is not None and identity.request is not None,
    )


def _certificate(
    each: Certificate, presented: Certificate | None, now: datetime
) -> WebhookCertificateShown:
    status: Literal["scheduled", "shown", "superseded", "expired"] = "superseded"
    if each.not_after <= now:
        status = "expired"
    elif each.active_from > now:
        status = "scheduled"
    elif each == presented:
        status = "shown"
    return WebhookCertificateShown(
        fingerprint_sha256=each.fingerprint_sha256,
        status=status,
        not_before=each.not_before,
        not_after=each.not_after,
        active_from=each.active_from,
        certificate=each.chain_pem,
    )


HANDLERS = (show, make_csr, show_csr, install)
