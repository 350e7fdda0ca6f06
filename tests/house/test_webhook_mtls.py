"""Webhooks that show a certificate of the tenant's own CA, to servers that demand one."""

import json
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509

from infrastructure.edge.tls import public_context
from infrastructure.webhooks.clients import NoClientCertificate
from tests.house.test_webhooks import (
    address,
    arrivals,
    endpoint,
    receiver,
    until_state,
)
from tests.house.world import House, Tenancy
from tests.infrastructure.outbound.scripted_server import ScriptedServer, response, scripted
from tests.infrastructure.webhooks.tenant_ca import TenantCA

pytestmark = pytest.mark.asyncio(loop_scope="session")

CERTIFICATES = "/v1/webhook-mtls/certificates"


@asynccontextmanager
async def trusting(house: House, *cas: str) -> AsyncGenerator[tuple[ScriptedServer, list[bytes]]]:
    """A server of the tenant's that lets in whom these CAs certified, and the certificates (DER)
    that it was shown, one for each connection."""
    chain, key = house.platform.authority.issue_server(["localhost"])
    shown: list[bytes] = []

    class Noting(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            shown.append(self.getpeercert(binary_form=True) or b"")

    context = public_context(certificate_chain_pem=chain, private_key_pem=key)
    context.sslobject_class = Noting
    context.load_verify_locations(cadata="".join(cas))
    context.verify_mode = ssl.CERT_REQUIRED
    async with scripted(response(), tls=context) as server:
        yield server, shown


async def csr(tenant: Tenancy, **body: Any) -> str:
    made = await tenant.api.post("/v1/webhook-mtls/csr", json=body)
    assert made.status_code == 201, made.text
    return str(made.json()["csr"])


async def installed(
    tenant: Tenancy, ca: TenantCA, days: int = 90, **fields: Any
) -> list[dict[str, Any]]:
    """The tenant's certificates, the newest first, once its CA has signed the open request."""
    body = {"certificate": ca.signed(await csr(tenant), days=days), **fields}
    answered = await tenant.api.post(CERTIFICATES, json=body)
    assert answered.status_code == 201, answered.text
    return list(answered.json()["certificates"])


async def sent(tenant: Tenancy, made: dict[str, Any]) -> str:
    """The id of a test message that is on its way to this endpoint."""
    asked = await tenant.api.post(f"/v1/webhook-endpoints/{made['id']}/test")
    assert asked.status_code == 202, asked.text
    return str(asked.json()["event_id"])


async def test_the_tenants_ca_signs_our_request_and_its_servers_let_us_in(house: House) -> None:
    """And what its server is not to let in, the platform's certificate, it does not."""
    tenant, ca = await house.tenant(), TenantCA()
    async with trusting(house, ca.pem) as (server, shown):
        body = {"url": address(server), "event_types": ["device.revoked"], "mtls": "tenant_ca"}
        early = await tenant.api.post("/v1/webhook-endpoints", json=body)
        assert (early.status_code, early.json()["code"]) == (422, "webhook_certificate_missing")
        assert (await tenant.api.get("/v1/webhook-mtls/csr")).status_code == 404
        request = await csr(tenant)
        assert request == await csr(tenant), "a request stays open until it is signed"
        (found,) = await installed(tenant, ca)
        assert found["status"] == "shown"
        ours = await endpoint(tenant, address(server), mtls="tenant_ca")
        platforms = await endpoint(tenant, address(server))
        arrived = await sent(tenant, ours)
        await until_state(tenant, ours["id"], ("delivered", None))
        await sent(tenant, platforms)
        await until_state(tenant, platforms["id"], ("pending", "connect"))
        assert [headers["webhook-id"] for headers, _ in await arrivals(server, 1)] == [arrived]
        (certificate,) = [x509.load_der_x509_certificate(each) for each in shown]
        assert certificate.issuer.rfc4514_string() == "CN=Tenant CA"
        signing = x509.load_pem_x509_csr(request.encode())
        assert certificate.public_key() == signing.public_key()


async def test_the_platforms_certificate_says_whose_webhooks_they_are(house: House) -> None:
    ours, theirs = await house.tenant(), await house.tenant()
    bundle = house.platform.authority.ca_bundle_pem()
    async with trusting(house, bundle) as (server, shown):
        for tenant in (ours, theirs, ours):
            made = await endpoint(tenant, address(server))
            await sent(tenant, made)
            await until_state(tenant, made["id"], ("delivered", None))
    named = {_names(each) for each in shown}
    said = {
        (await tenant.api.get("/v1/webhook-mtls")).json()["platform_ca_name"]
        for tenant in (ours, theirs)
    }
    assert named == said
    assert len(named) == 2


def _names(der: bytes) -> str:
    certificate = x509.load_der_x509_certificate(der)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    (name,) = names.value.get_values_for_type(x509.UniformResourceIdentifier)
    return name


async def test_a_certificate_is_replaced_and_every_message_arrives_once(house: House) -> None:
    """The tenant moves to another CA. Its server trusts both until the last message under the old
    one has arrived; then the new one alone."""
    tenant, before, after = await house.tenant(), TenantCA("before"), TenantCA("after")
    await installed(tenant, before)
    async with trusting(house, before.pem, after.pem) as (server, shown):
        made = await endpoint(tenant, address(server), mtls="tenant_ca")
        ids = [await sent(tenant, made) for _ in range(3)]
        later = (datetime.now(UTC) + timedelta(days=7)).isoformat()
        scheduled, current = await installed(tenant, after, active_from=later)
        assert (scheduled["status"], current["status"]) == ("scheduled", "shown")
        ids += [await sent(tenant, made)]
        await until_state(tenant, made["id"], *[("delivered", None)] * 4)
        newest, _ = await installed(tenant, after)
        assert newest["status"] == "shown"
        ids += [await sent(tenant, made) for _ in range(3)]
        await until_state(tenant, made["id"], *[("delivered", None)] * 7)
        told = [headers["webhook-id"] for headers, _ in await arrivals(server, 7)]
    assert sorted(told) == sorted(ids)
    issuers = [x509.load_der_x509_certificate(each).issuer.rfc4514_string() for each in shown]
    assert set(issuers) == {"CN=before", "CN=after"}
    assert issuers == sorted(issuers, reverse=True), "never the old one again"
    async with trusting(house, after.pem) as (server, _):
        made = await endpoint(tenant, address(server), mtls="tenant_ca")
        await sent(tenant, made)
        await until_state(tenant, made["id"], ("delivered", None))


async def test_what_was_not_asked_for_is_not_taken(house: House) -> None:
    tenant, ca = await house.tenant(), TenantCA()
    early = await tenant.api.post(CERTIFICATES, json={"certificate": ca.pem})
    assert early.json()["code"] == "certificate_unsuitable"
    foreign = await csr(await house.tenant())
    early = await tenant.api.post(CERTIFICATES, json={"certificate": ca.signed(foreign)})
    assert (early.status_code, early.json()["code"]) == (409, "webhook_csr_missing")
    first = await csr(tenant)
    for pem, code in (
        (ca.signed(foreign), "certificate_key_mismatch"),
        (ca.signed(first, usages=()), "certificate_unsuitable"),
        ("text", "certificate_invalid"),
    ):
        refused = await tenant.api.post(CERTIFICATES, json={"certificate": pem})
        assert refused.json()["code"] == code, refused.text
    second = await csr(tenant, replace=True)
    assert second != first
    refused = await tenant.api.post(CERTIFICATES, json={"certificate": ca.signed(first)})
    assert refused.json()["code"] == "certificate_key_mismatch"
    body = {"certificate": ca.signed(second)}
    for _ in range(2):
        assert (await tenant.api.post(CERTIFICATES, json=body)).status_code == 201
    assert (await house.events(tenant)).count("webhook_identity.certificate_installed") == 1


async def test_the_end_of_a_certificate_is_told_and_then_nothing_is_shown(house: House) -> None:
    tenant, ca = await house.tenant(), TenantCA()
    await installed(tenant, ca, days=6)
    async with receiver(house) as watch:
        watcher = await endpoint(tenant, address(watch), "webhook_certificate.expiring")
        position = await house.end()
        reads = house.platform.services.read_models
        assert await reads.wait(tenant.tenant_id, "webhook_identities", position)
        assert await reads.wait(tenant.tenant_id, "webhook_endpoints", position)
        for _ in range(2):
            await house.platform.duties.watching.certificates.round()
        ((_, body),) = await arrivals(watch, 1)
        told = json.loads(body)
        assert (told["type"], told["data"]["days"]) == ("webhook_certificate.expiring", 7)
        assert "chain_pem" not in told["data"]
        await until_state(tenant, watcher["id"], ("delivered", None))
    clients = house.platform.webhook_clients
    async with clients.to(tenant.tenant_id, "tenant_ca"):
        pass
    house.clock.shift = timedelta(days=7)
    with pytest.raises(NoClientCertificate):
        async with clients.to(tenant.tenant_id, "tenant_ca"):
            pass
