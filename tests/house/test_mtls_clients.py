"""OAuth clients with certificates (RFC 8705), by `openssl`, `curl` and requests_oauth2client: none
of them is ours."""

import asyncio
import base64
import hashlib
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
from requests_oauth2client import OAuth2Client
from requests_oauth2client.client_authentication import PublicApp

from examples.demo.ports import choose
from interfaces.process import listen_mtls
from tests.house.test_certificates_by_strangers import Stranger
from tests.house.world import House, Tenancy, opened

pytestmark = pytest.mark.asyncio(loop_scope="session")

SCOPES = ["devices:read"]


class Backend(Stranger):
    """A backend with an `openssl` of its own."""

    def __init__(self, house: House, tenant: Tenancy, folder: Path, url: str) -> None:
        folder.mkdir()
        super().__init__(house, folder)
        self.tenant = tenant
        self.url = url

    async def signs_itself(self, name: str) -> str:
        await self.run(
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-days", "30", "-subj", f"/O=Acme/CN={name}",
            "-keyout", f"{name}.key", "-out", f"{name}.pem",
        )  # fmt: skip
        return (self.folder / f"{name}.pem").read_text()

    async def has_signed(self, name: str, *, by: str) -> None:
        await self.makes_key(name)
        (self.folder / "san.cnf").write_text(
            f"subjectAltName=DNS:{name}.acme.example\nextendedKeyUsage=clientAuth\n"
        )
        await self.run(
            "openssl", "x509", "-req", "-in", f"{name}.csr", "-CA", f"{by}.pem",
            "-CAkey", f"{by}.key", "-days", "30", "-extfile", "san.cnf", "-out", f"{name}.pem",
        )  # fmt: skip

    async def registers(self, **more: Any) -> str:
        """A client of the tenant; its id, once the listener trusts what it registered."""
        made = await self.tenant.api.post(
            "/v1/oauth-clients", json={"name": "backend", "scopes": SCOPES, **more}
        )
        assert made.status_code == 201, made.text
        tail, position = self.house.platform.tail, int(made.headers["log-position"])
        async with asyncio.timeout(60):
            while tail.position < position:  # noqa: ASYNC110 - the tail has no event for it
                await asyncio.sleep(0.01)
        return str(made.json()["id"])

    async def gets_token(self, client_id: str, name: str) -> tuple[int, dict[str, Any]]:
        form = {"grant_type": "client_credentials", "client_id": client_id}
        async with self.client(name) as http:
            answered = await http.post("/oauth2/token", data=form)
        return answered.status_code, answered.json()

    def client(self, name: str | None) -> httpx.AsyncClient:
        trust = ssl.create_default_context(cafile=self.folder / "server-ca.pem")
        if name is not None:
            trust.load_cert_chain(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        return httpx.AsyncClient(base_url=self.url, verify=trust, timeout=60, trust_env=False)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def test_clients_with_certificates(database: str, tmp_path: Path) -> None:
    port = choose({"mtls": 0}, prefer_usual=False)["mtls"]
    async with opened(database, tmp_path / "data", environ={"LINK_MTLS_PORT": str(port)}) as house:
        settings = house.platform.settings.mtls
        assert settings is not None
        listener = await listen_mtls(house.platform, house.apps, settings)
        try:
            await by_its_own_certificate(house, tmp_path / "own", settings.url)
            await by_a_ca(house, tmp_path / "ca", settings.url)
        finally:
            await listener.stop(drain_s=1)


async def by_its_own_certificate(house: House, folder: Path, url: str) -> None:
    """`self_signed_tls_client_auth`: found by the metadata, bound, introspected, used, and no good
    without the certificate."""
    tenant = await house.tenant("Own")
    backend = Backend(house, tenant, folder, url)
    pem = await backend.signs_itself("shop")
    await backend.signs_itself("thief")
    client_id = await backend.registers(
        token_endpoint_auth_method="self_signed_tls_client_auth", tls_certificates=[pem]
    )
    public = await house.client(house.public_url)
    told = (await public.get("/.well-known/oauth-authorization-server")).json()
    assert told["mtls_endpoint_aliases"]["token_endpoint"] == f"{url}/oauth2/token"
    assert told["tls_client_certificate_bound_access_tokens"] is True

    def library() -> tuple[str, dict[str, Any]]:
        """requests_oauth2client, which sends its `client_id` and leaves the rest to the TLS."""
        with requests.Session() as session:
            session.trust_env = False
            session.verify = str(folder / "server-ca.pem")
            session.cert = (str(folder / "shop.pem"), str(folder / "shop.key"))
            oauth = OAuth2Client(
                told["mtls_endpoint_aliases"]["token_endpoint"],
                introspection_endpoint=told["mtls_endpoint_aliases"]["introspection_endpoint"],
                auth=PublicApp(client_id),
                session=session,
            )
            token = oauth.client_credentials(scope="devices:read")
            said: Any = oauth.introspect_token(token)
            return str(token.access_token), dict(said)

    token, introspected = await asyncio.wait_for(asyncio.to_thread(library), 120)
    der = ssl.PEM_cert_to_DER_cert(pem)
    digest = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()
    assert introspected["active"] is True
    assert introspected["cnf"] == {"x5t#S256": digest}

    curl = ("curl", "--silent", "--noproxy", "*", "--cacert", "server-ca.pem")
    shown = ("--cert", "shop.pem", "--key", "shop.key")
    asked = ("--header", f"Authorization: Bearer {token}", "--write-out", "%{http_code}")
    answer = await backend.run(*curl, *shown, *asked, f"{url}/v1/devices")
    assert answer.endswith("200"), answer
    # Not on the listener without certificates, whatever a header claims.
    forged = {**bearer(token), "client-cert": ":AAAA:", "x-ssl-client-cert": "AAAA"}
    refused = await public.get("/v1/devices", headers=forged)
    assert (refused.status_code, refused.json()["code"]) == (401, "token_invalid")
    # A certificate that nobody registered gets no connection.
    for name in ("thief", None):
        with pytest.raises((httpx.TransportError, ssl.SSLError)):
            await backend.client(name).get("/live")
    # Another client's certificate is good for its own tokens only.
    other = await backend.registers(
        token_endpoint_auth_method="self_signed_tls_client_auth",
        tls_certificates=[(folder / "thief.pem").read_text()],
    )
    async with backend.client("thief") as thief:
        stolen = await thief.get("/v1/devices", headers=bearer(token))
    assert (stolen.status_code, stolen.json()["code"]) == (401, "token_invalid")
    assert (await backend.gets_token(client_id, "thief"))[0] == 401
    assert (await backend.gets_token(other, "thief"))[0] == 200
    # What proves it is the certificate: there is no secret, and no way in on the other listener.
    bare = await public.post(
        "/oauth2/token", data={"grant_type": "client_credentials", "client_id": client_id}
    )
    assert (bare.status_code, bare.json()["error"]) == (401, "invalid_client")


async def by_a_ca(house: House, folder: Path, url: str) -> None:
    """`tls_client_auth`: a CA of the client's own, and a name; another tenant's CA is nothing."""
    backend = Backend(house, await house.tenant("CA"), folder, url)
    ca = await backend.signs_itself("ca")
    foreign = await backend.signs_itself("foreign")
    await backend.has_signed("shop", by="ca")
    await backend.has_signed("till", by="ca")
    way = {"token_endpoint_auth_method": "tls_client_auth", "tls_certificates": [ca]}
    by_dns = await backend.registers(
        **way, tls_subject={"kind": "san_dns", "value": "shop.acme.example"}
    )
    by_dn = await backend.registers(**way, tls_subject={"kind": "subject_dn", "value": "CN=shop"})
    for client_id in (by_dns, by_dn):
        assert (await backend.gets_token(client_id, "shop"))[0] == 200
        assert (await backend.gets_token(client_id, "till"))[0] == 401
    # Whom another client trusts may connect, and is nobody here, whatever it is called.
    await backend.registers(
        **{**way, "tls_certificates": [foreign]},
        tls_subject={"kind": "san_dns", "value": "elsewhere.example"},
    )
    await backend.has_signed("shop", by="foreign")
    assert (await backend.gets_token(by_dns, "shop"))[0] == 401
    mistakes: tuple[dict[str, Any], ...] = (
        {"tls_certificates": []},
        {"tls_certificates": ["no certificate"]},
        {"tls_subject": None},
        {"token_endpoint_auth_method": "client_secret_basic"},
    )
    for wrong in mistakes:
        body = {**way, "tls_subject": {"kind": "san_dns", "value": "a.example"}, **wrong}
        refused = await backend.tenant.api.post(
            "/v1/oauth-clients", json={"name": "backend", "scopes": SCOPES, **body}
        )
        assert (refused.status_code, refused.json()["code"]) == (422, "client_keys_invalid")
