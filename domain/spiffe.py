"""A device's name inside its certificate: one SPIFFE ID that says which tenant's device it is.

The form is `spiffe://<trust-domain>/tenant/<ten_…>/device/<dev_…>` (design §8, SPIFFE-ID §2).
A name that is merely equivalent under URI rules is not read: two spellings of one device would
be two identities for whoever compares strings.
"""

import re
from functools import lru_cache
from typing import Final

import msgspec

from domain.ids import DeviceId, TenantId, parse, wire

_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,253}[a-z0-9])?", re.ASCII)


class DeviceIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Whose certificate it is."""

    tenant_id: TenantId
    device_id: DeviceId


def device_uri(trust_domain: str, tenant_id: TenantId, device_id: DeviceId) -> str:
    """The URI that stands as the only SAN of a device certificate.

    Raises ValueError for a trust domain outside lower-case letters, digits, `.`, `-` and `_`,
    or longer than 255 (SPIFFE-ID §2.1 and §2.3); it comes from configuration, never from a caller.
    """
    if _TRUST_DOMAIN.fullmatch(trust_domain) is None:
        raise ValueError(f"{trust_domain!r} is not a SPIFFE trust domain")
    return (
        f"spiffe://{trust_domain}/tenant/{wire('ten', tenant_id)}/device/{wire('dev', device_id)}"
    )


@lru_cache(maxsize=4096)
def read_device_uri(trust_domain: str, uri: str) -> DeviceIdentity | None:
    """Whom a SAN names, or None: only the exact text that `device_uri` writes is read.

    A device shows the same name with every request, so the last few thousand are remembered.
    """
    head, _, rest = uri.partition(f"spiffe://{trust_domain}/tenant/")
    if head or not rest:
        return None
    tenant_text, separator, device_text = rest.partition("/device/")
    tenant_id, device_id = parse("ten", tenant_text), parse("dev", device_text)
    if not separator or tenant_id is None or device_id is None:
        return None
    return DeviceIdentity(tenant_id=TenantId(tenant_id), device_id=DeviceId(device_id))


def webhooks_path(tenant_id: TenantId) -> str:
    """The path of the name by which a tenant's webhooks show themselves to its endpoints."""
    return f"tenant/{wire('ten', tenant_id)}/webhooks"
