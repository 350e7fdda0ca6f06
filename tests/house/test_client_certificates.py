"""Certificates that are not a device's, and headers that claim to be one."""

import ssl
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from domain.ids import DeviceId, TenantId, parse, wire
from infrastructure.edge.listeners import device_protocol, serve
from infrastructure.edge.revocations import RevokedCertificates
from infrastructure.edge.tls import DeviceTls
from infrastructure.fleet.platform_ca import PlatformCA
from tests.house.samples import Stage, stage
from tests.house.world import House, key_and_csr, transaction
from tests.infrastructure.edge.pki import Device, Workshop, new_ca

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def holding(house: House, device: Device) -> httpx.AsyncClient:
    trust = house.trust()
    trust.load_cert_chain(device.certificate, device.key)
    return await house.client(house.device_url, verify=trust)


def workshop(house: House, folder: Path) -> Workshop:
    return Workshop(folder, house.platform.authority)


ONE = "spiffe://{domain}/tenant/{tenant}/device/{device}"
NAMES: dict[str, list[str]] = {
    "no name": [],
    "two names": [ONE, ONE.replace("{device}", "dev_" + "0" * 32)],
    "its name twice": [ONE, ONE],
    "another trust domain": [ONE.replace("{domain}", "elsewhere.example")],
    "another scheme": [ONE.replace("spiffe", "https")],
    "upper case": [ONE.replace("spiffe", "SPIFFE")],
    "an upper case id": [ONE.replace("{device}", "dev_{digits}")],
    "a slash at its end": [ONE + "/"],
    "a query": [ONE + "?x"],
    "an encoded slash": [ONE.replace("/device/", "%2fdevice/")],
    "dots": [ONE.replace("{tenant}", "x/../{tenant}")],
    "a port": [ONE.replace("{domain}", "{domain}:443")],
    "another tenant": [ONE.replace("{tenant}", "ten_" + "a" * 32)],
    "an unknown device": [ONE.replace("{device}", "dev_" + "a" * 32)],
    "the tenant as the device": [ONE.replace("{device}", "dev_{tenant_digits}")],
    "the very name, on another key": [ONE],
}


async def refused_as_unknown(http: httpx.AsyncClient) -> None:
    answered = await http.post("/v1/device/transactions", json=transaction(b"nobody"))
    assert (answered.status_code, answered.json()["code"]) == (401, "device_unknown")
    assert answered.headers["www-authenticate"].startswith("TLS-Client-Certificate ")


@pytest.mark.parametrize("name", NAMES)
async def test_a_certificate_of_our_ca_with_another_name_is_nobodys(
    house: House, name: str, tmp_path: Path
) -> None:
    at = await stage(house)
    names = {
        "domain": house.platform.settings.trust_domain,
        "tenant": wire("ten", at.tenant.tenant_id),
        "tenant_digits": at.tenant.tenant_id.hex,
        "device": at.till.id,
        "digits": at.till.id[4:].upper(),
    }
    uris = [uri.format_map(names) for uri in NAMES[name]]
    before = await at.facts()
    await refused_as_unknown(await holding(house, workshop(house, tmp_path).odd_device(uris)))
    assert await at.facts() == before


async def test_a_certificate_in_another_tenants_name_is_nobodys(
    house: House, tmp_path: Path
) -> None:
    """A device of one tenant, certified by our own CA as another tenant's."""
    at, other = await stage(house), await house.tenant()
    found = parse("dev", at.till.id)
    assert found is not None
    crossed = _issued(house, tmp_path, other.tenant_id, DeviceId(found))
    await refused_as_unknown(await holding(house, crossed))


def _issued(house: House, folder: Path, tenant_id: TenantId, device_id: DeviceId) -> Device:
    key, csr = key_and_csr()
    issued = house.platform.authority.issue(csr, tenant_id, device_id, validity_days=30)
    made = Device(folder / "made.pem", folder / "made.key", issued.fingerprint_sha256)
    made.certificate.write_text(issued.certificate_pem + issued.chain_pem)
    made.key.write_bytes(key)
    return made


@pytest.mark.parametrize("usages", [(), ("serverAuth",)], ids=["no usage", "serverAuth only"])
async def test_a_certificate_that_is_not_for_clients_gets_no_connection(
    house: House, usages: tuple[str, ...], tmp_path: Path
) -> None:
    at = await stage(house)
    tenant = wire("ten", at.tenant.tenant_id)
    uri = f"spiffe://{house.platform.settings.trust_domain}/tenant/{tenant}"
    shop = workshop(house, tmp_path)
    oids = [ExtendedKeyUsageOID.SERVER_AUTH] if usages else []
    http = await holding(house, shop.odd_device([f"{uri}/device/{at.till.id}"], oids))
    await no_connection(http)


async def no_connection(http: httpx.AsyncClient) -> None:
    with pytest.raises((httpx.TransportError, ssl.SSLError)):
        await http.post("/v1/device/transactions", json=transaction(b"nobody"))


async def test_another_ca_and_no_certificate_get_no_connection(
    house: House, tmp_path: Path
) -> None:
    await stage(house)
    platform = house.platform
    strange = PlatformCA.generate(trust_domain=platform.settings.trust_domain, clock=platform.clock)
    await no_connection(await holding(house, Workshop(tmp_path, strange).device()))
    await no_connection(await house.client(house.device_url))
    server = Device(tmp_path / "server.pem", tmp_path / "server.key", "")
    chain, key = platform.authority.issue_server(["localhost"])
    server.certificate.write_text(chain)
    server.key.write_text(key)
    await no_connection(await holding(house, server))


async def test_an_expired_certificate_gets_no_connection(house: House, tmp_path: Path) -> None:
    """An authority of ten days ago issued it for a week; its CA is trusted here."""
    ca = new_ca()
    shop = Workshop(tmp_path, ca)
    tls = DeviceTls(
        certificate_chain_pem=(made := house.platform.authority.issue_server(["localhost"]))[0],
        private_key_pem=made[1],
        device_cas_pem=ca.device_ca_pem(),
        revocations=RevokedCertificates(),
    )
    listener = await serve(
        house.apps.device,
        host="localhost",
        port=0,
        ssl_context=tls.listening,
        http_protocol=device_protocol(RevokedCertificates()),
    )
    try:
        for device, connects in ((shop.device(), True), (shop.expired_device(), False)):
            trust = house.trust()
            trust.load_cert_chain(device.certificate, device.key)
            http = await house.client(f"https://localhost:{listener.port}", verify=trust)
            if connects:
                await refused_as_unknown(http)
            else:
                await no_connection(http)
    finally:
        await listener.stop(drain_s=1)


async def test_the_device_listener_speaks_tls_1_3_only(house: House) -> None:
    at = await stage(house)
    trust = at.till.trust
    trust.maximum_version = ssl.TLSVersion.TLSv1_2
    await no_connection(await house.client(house.device_url, verify=trust))


def claims(at: Stage, certificate_pem: str) -> dict[str, str]:
    """Everything by which a TLS terminator would hand on another device's certificate."""
    flat = certificate_pem.strip().replace("\n", " ")
    encoded = certificate_pem.replace("\n", "%0A")
    uri = f"spiffe://{at.house.platform.settings.trust_domain}/tenant/x/device/{at.till.id}"
    names = {
        "Client-Cert": f":{flat[27:-26].replace(' ', '')}:",
        "Client-Cert-Chain": f":{flat[27:-26].replace(' ', '')}:",
        "X-Client-Cert": encoded,
        "X-Forwarded-Client-Cert": f'By=x;URI={uri};Cert="{encoded}"',
        "X-Forwarded-Tls-Client-Cert": encoded,
        "SSL-Client-Cert": flat,
        "SSL-Client-Verify": "SUCCESS",
        "SSL-Client-S-DN": f"CN={at.till.id}",
        "X-SSL-Client-Cert": flat,
        "X-SSL-Client-Verify": "SUCCESS",
        "X-SSL-Client-SAN": uri,
        "X-ARR-ClientCert": flat,
        "X-Amzn-Mtls-Clientcert": encoded,
    }
    return names | {name.replace("-", "_"): value for name, value in names.items()}


async def test_a_header_that_claims_a_certificate_is_worth_nothing_on_either_listener(
    house: House,
) -> None:
    """A scanner, which may do nothing, claims to be a till, which may."""
    at = await stage(house)
    scanner = await house.device(at.tenant, "personal_scanner")
    shown = await house.platform.services.devices.get(
        at.tenant.tenant_id, parse("dev", at.till.id) or uuid4()
    )
    assert shown.certificate is not None
    for name, value in claims(at, shown.certificate.certificate_pem).items():
        there = await scanner.http.post(
            "/v1/device/transactions", json=transaction(b"nobody"), headers={name: value}
        )
        assert (there.status_code, there.json()["code"]) == (403, "device_type_not_allowed"), name
        here = await at.tenant.api.post(
            "/v1/device/transactions", json=transaction(b"nobody"), headers={name: value}
        )
        assert (here.status_code, here.json()["code"]) == (404, "not_found"), name


async def test_a_till_that_claims_to_be_another_stays_itself(house: House) -> None:
    at = await stage(house)
    other = await house.device(at.tenant)
    shown = await house.platform.services.devices.get(
        at.tenant.tenant_id, parse("dev", at.till.id) or uuid4()
    )
    assert shown.certificate is not None
    all_claims = claims(at, shown.certificate.certificate_pem)
    headers = dict(list(all_claims.items())[:8])  # More of them are too large a head.
    told = await other.http.post(
        "/v1/device/transactions", json=transaction(b"nobody"), headers=headers
    )
    assert told.status_code == 200
    newest = {"min_position": str(await house.end()), "device_id": other.id}
    listed = (await at.tenant.api.get("/v1/transactions", params=newest)).json()["items"]
    assert [item["id"] for item in listed] == [told.json()["transaction_id"]]


async def test_the_certificate_from_before_a_new_pairing_gets_no_connection(
    house: House,
) -> None:
    at = await stage(house)
    assert (await at.tenant.api.delete(f"/v1/devices/{at.till.id}")).status_code == 204
    fresh = (await at.tenant.api.post(f"/v1/devices/{at.till.id}/pairing-code")).json()["code"]
    key, csr = key_and_csr()
    public = await house.client(house.public_url)
    paired = (await public.post("/v1/device/pair", json={"code": fresh, "csr": csr})).json()
    again = house.with_certificate(paired["certificate"] + paired["chain"], key)
    renewed = await house.client(house.device_url, verify=again)
    answered = await renewed.post("/v1/device/transactions", json=transaction(b"nobody"))
    assert answered.status_code == 200, answered.text
    await no_connection(at.till.http)
    await no_connection(await house.client(house.device_url, verify=at.till.trust))


async def test_a_certificate_that_runs_out_on_an_open_connection_is_refused(house: House) -> None:
    """The handshake was long ago; seen to answer 400 when only the handshake looks at the time."""
    till = await house.device(await house.tenant())
    assert (await till.http.post("/v1/device/signup", json={})).status_code == 400
    house.clock.shift = timedelta(days=91)
    answered = await till.http.post("/v1/device/signup", json={})
    assert (answered.status_code, answered.json()["code"]) == (401, "device_unknown")
