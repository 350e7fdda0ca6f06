"""What a device is told of its certificate: the certificate itself, and when to renew it."""

from datetime import datetime

import msgspec

from application.ports import CertificateAuthority, CertificateRequest, IssuedCertificate
from domain.device_ca import DeviceCA
from domain.errors import Malformed
from domain.ids import DeviceId, TenantId
from domain.tenant import TenantSettings


class Pairing(msgspec.Struct, frozen=True, kw_only=True):
    """What a device gets for its CSR: with a code, or with the certificate that it has."""

    tenant_id: TenantId
    device_id: DeviceId
    certificate_pem: str
    chain_pem: str
    ca_bundle_pem: str
    not_after: datetime
    renew_after: datetime


def renew_after(issued: IssuedCertificate, settings: TenantSettings) -> datetime:
    """From when on a new one is given; so long before the end that a device has many tries."""
    life = issued.not_after - issued.not_before
    return issued.not_before + life * settings.certificate_renew_percent / 100


def check_key(request: CertificateRequest, settings: TenantSettings) -> None:
    """What the tenant wants beyond what every key must be.

    Raises Malformed (`key_policy_violation`).
    """
    allowed = settings.certificate_key_types
    if request.key_type not in allowed:
        raise Malformed("key_policy_violation", f"keys of this tenant: {', '.join(allowed)}")


def told_to_renew(
    issued: IssuedCertificate, settings: TenantSettings, ca: DeviceCA, device_id: DeviceId
) -> datetime:
    """From when on a device is told to renew: earlier where another device CA issues by now."""
    due = renew_after(issued, settings)
    moved = ca.renewal_from(device_id)
    return due if issued.authority == ca.issuing or moved is None else min(due, moved)


def paired(
    authority: CertificateAuthority,
    tenant_id: TenantId,
    device_id: DeviceId,
    issued: IssuedCertificate,
    settings: TenantSettings,
) -> Pairing:
    return Pairing(
        tenant_id=tenant_id,
        device_id=device_id,
        certificate_pem=issued.certificate_pem,
        chain_pem=issued.chain_pem,
        ca_bundle_pem=authority.ca_bundle_pem(),
        not_after=issued.not_after,
        renew_after=told_to_renew(issued, settings, authority.state, device_id),
    )
