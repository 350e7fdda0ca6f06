"""A device's name is read in exactly one spelling."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ids import DeviceId, TenantId
from domain.spiffe import DeviceIdentity, device_uri, read_device_uri

TRUST_DOMAIN = "link.example"
TENANT = TenantId(UUID("0198c7a0-9e6c-7b1f-8d3e-2a4b5c6d7e8f"))
DEVICE = DeviceId(UUID("0198c7a0-aaaa-7b1f-8d3e-2a4b5c6d7e8f"))
URI = (
    "spiffe://link.example/tenant/ten_0198c7a09e6c7b1f8d3e2a4b5c6d7e8f"
    "/device/dev_0198c7a0aaaa7b1f8d3e2a4b5c6d7e8f"
)


def test_the_written_form_is_the_documented_one() -> None:
    assert device_uri(TRUST_DOMAIN, TENANT, DEVICE) == URI


@given(tenant=st.uuids(), device=st.uuids())
def test_what_is_written_is_read_back(tenant: UUID, device: UUID) -> None:
    uri = device_uri(TRUST_DOMAIN, TenantId(tenant), DeviceId(device))
    assert read_device_uri(TRUST_DOMAIN, uri) == DeviceIdentity(
        tenant_id=TenantId(tenant), device_id=DeviceId(device)
    )


@pytest.mark.parametrize(
    "uri",
    [
        "",
        URI.replace("spiffe:", "SPIFFE:"),
        URI.replace("spiffe:", "https:"),
        URI.replace("link.example", "LINK.example"),
        URI.replace("link.example", "other.example"),
        URI.replace("link.example", "user@link.example"),
        URI.replace("link.example", "link.example:443"),
        URI.replace("link.example", "link.example."),
        URI.replace("link.example/", "link.example//"),
        URI.replace("/tenant/", "/%74enant/"),
        URI.replace("/tenant/", "/x/../tenant/"),
        URI.replace("/device/", "%2fdevice/"),
        URI.replace("/device/", "/device/../device/"),
        URI.replace("ten_0198c7a0", "ten_0198C7A0"),
        URI.replace("ten_", "dev_"),
        URI.replace("/device/dev_", "/device/ten_"),
        URI.replace("8f/device", "8/device"),
        f"{URI}/",
        f"{URI}0",
        f"{URI}?",
        f"{URI}?a=b",
        f"{URI}#a",
        f"{URI}\n",
        f"{URI}\x00",
        f" {URI}",
        f"{URI}/device/dev_0198c7a0aaaa7b1f8d3e2a4b5c6d7e8f",
        f"{URI},{URI}",
        "spiffe://link.example/tenant/ten_0198c7a09e6c7b1f8d3e2a4b5c6d7e8f",
        "spiffe://link.example/tenant/ten_0198c7a0-9e6c-7b1f-8d3e-2a4b5c6d7e8f"
        "/device/dev_0198c7a0aaaa7b1f8d3e2a4b5c6d7e8f",
        URI.replace("8f/device", "\u0668f/device"),
    ],
)
def test_any_other_spelling_names_nobody(uri: str) -> None:
    assert read_device_uri(TRUST_DOMAIN, uri) is None


@given(
    at=st.integers(0, len(URI)),
    drop=st.integers(0, 3),
    insert=st.text(max_size=3),
)
def test_a_mutated_uri_names_nobody_or_is_the_exact_form_of_whom_it_names(
    at: int, drop: int, insert: str
) -> None:
    mutated = URI[:at] + insert + URI[at + drop :]
    named = read_device_uri(TRUST_DOMAIN, mutated)
    assert named is None or device_uri(TRUST_DOMAIN, named.tenant_id, named.device_id) == mutated


@pytest.mark.parametrize(
    "trust_domain",
    ["", "Link.example", "link example", "link/example", "a@b", "a:1", ".a", "a.", "ä", "a" * 256],
)
def test_a_malformed_trust_domain_is_refused(trust_domain: str) -> None:
    with pytest.raises(ValueError, match="trust domain"):
        device_uri(trust_domain, TENANT, DEVICE)
