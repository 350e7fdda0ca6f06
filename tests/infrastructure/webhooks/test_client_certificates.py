"""What a tenant brings as our client certificate: what is read, and what is refused."""

from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from domain.errors import Invalid, Malformed
from infrastructure.webhooks.client_certificates import X509ClientCertificates
from tests.house.world import key_and_csr
from tests.infrastructure.webhooks.tenant_ca import TenantCA

_, CSR = key_and_csr()
CA = TenantCA()
READER = X509ClientCertificates()


def test_a_certificate_is_read_with_its_chain() -> None:
    leaf = CA.signed(CSR)
    now = datetime.now(UTC)
    read = READER.read(f"\n{leaf}{CA.pem}", now)
    assert read.chain_pem == leaf + CA.pem
    assert read.not_before < now < read.not_after
    assert len(read.spki_sha256) == len(read.fingerprint_sha256) == 64
    assert READER.read(leaf, now).fingerprint_sha256 == read.fingerprint_sha256


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "hello",
        CSR,
        CA.signed(CSR).replace("MII", "MIX"),
        CA.signed(CSR) + CSR,
        CA.signed(CSR) * 6,
        "x" * 40_000,
        CA.signed(CSR) + "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n",
    ],
    ids=["empty", "text", "csr", "broken", "mixed", "many", "long", "private key"],
)
def test_what_is_no_certificate_is_refused(pem: str) -> None:
    with pytest.raises(Malformed, match="certificate_invalid"):
        READER.read(pem, datetime.now(UTC))


@pytest.mark.parametrize(
    ("spoilt", "why"),
    [
        ({"usages": ()}, "it is not for clients"),
        ({"usages": (ExtendedKeyUsageOID.SERVER_AUTH,)}, "it is not for clients"),
        ({"usages": (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)}, "it is not for clients"),
        ({"ca": True}, "it is the certificate of a CA"),
        ({"days": 0}, "it has run out"),
        ({"begins_in_days": 2}, "it is not valid yet"),
    ],
    ids=["no usage", "for servers", "for anything", "a CA", "over", "not yet"],
)
def test_what_a_server_would_refuse_is_refused(spoilt: dict[str, Any], why: str) -> None:
    with pytest.raises(Invalid, match="certificate_unsuitable") as refused:
        READER.read(CA.signed(CSR, **spoilt), datetime.now(UTC))
    assert why in str(refused.value.detail)


def test_a_chain_out_of_order_of_another_issuer_or_weak_is_refused() -> None:
    leaf = CA.signed(CSR)
    weak = TenantCA(key_bits=1024)
    for chain in (CA.pem + leaf, leaf + TenantCA().pem, leaf + leaf, weak.signed(CSR) + weak.pem):
        with pytest.raises(Invalid, match="certificate_unsuitable"):
            READER.read(chain, datetime.now(UTC))
