"""The server certificate changes under two processes, seen with `openssl`, which is not ours."""

import asyncio
import os
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from tests.house.test_certificates_by_strangers import Stranger
from tests.house.test_device_ca import platform_client, until
from tests.house.test_heartbeats import heartbeat
from tests.house.world import House, opened

pytestmark = pytest.mark.asyncio(loop_scope="session")

SERVER = "/v1/admin/ssl/server-cert"


class Authority(Stranger):
    """An operator's CA, kept with `openssl`."""

    async def begins(self) -> str:
        await self.run(
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-days", "3650", "-subj", "/O=Acme/CN=Acme root",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign",
            "-keyout", "root.key", "-out", "root.pem",
        )  # fmt: skip
        return (self.folder / "root.pem").read_text()

    async def signs(self, csr: str, names: str, *, days: int = 90) -> str:
        (self.folder / "server.csr").write_text(csr)
        (self.folder / "san.cnf").write_text(
            f"subjectAltName={names}\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n"
        )
        await self.run(
            "openssl", "x509", "-req", "-in", "server.csr", "-CA", "root.pem", "-CAkey", "root.key",
            "-days", str(days), "-extfile", "san.cnf", "-out", "server.pem",
        )  # fmt: skip
        return (self.folder / "server.pem").read_text()

    async def sees(self, port: int) -> str:
        """The fingerprint of what this port shows `openssl s_client`, or what it said."""
        return await asyncio.to_thread(_seen, port, self.folder)

    async def until(self, seen: Callable[[str], bool], *ports: int) -> None:
        """Wait until this holds of what each port shows."""
        async with asyncio.timeout(120):
            for port in ports:
                while not seen(await self.sees(port)):  # noqa: ASYNC110 - it is asked a program
                    await asyncio.sleep(0.05)

    async def until_seen(self, fingerprint: str, *ports: int) -> None:
        await self.until(fingerprint.__eq__, *ports)

    async def until_other(self, fingerprint: str, *ports: int) -> None:
        await self.until(fingerprint.__ne__, *ports)


def _seen(port: int, folder: Path) -> str:
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"localhost:{port}", "-servername", "localhost"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
    )
    begins, _, rest = done.stdout.partition("-----BEGIN CERTIFICATE-----")
    if not rest:
        return f"{begins}{done.stderr}"
    return fingerprint_of(f"-----BEGIN CERTIFICATE-----{rest}")


def state_of(setup: dict[str, Any], item: str) -> str:
    return next(str(each["state"]) for each in setup["items"] if each["item"] == item)


def fingerprint_of(pem: str) -> str:
    return x509.load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA256()).hex()


async def asked(post: Callable[[], Awaitable[httpx.Response]], status: int) -> dict[str, Any]:
    answered = await post()
    assert answered.status_code == status, answered.text
    return dict(answered.json())


class Connection:
    """One connection, which is kept: a client of its own would open another without a word."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def to(cls, house: House) -> "Connection":
        streams = await asyncio.open_connection("localhost", house.public.port, ssl=house.trust())
        return cls(*streams)

    @property
    def began_with(self) -> str:
        tls = self._writer.get_extra_info("ssl_object")
        der = tls.getpeercert(True)
        return x509.load_der_x509_certificate(der).fingerprint(hashes.SHA256()).hex()

    async def lives(self) -> bool:
        """Whether a request over it is answered."""
        self._writer.write(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(60):
            head = await self._reader.readuntil(b"\r\n\r\n")
            body = await self._reader.readuntil(b"}")
        return head.startswith(b"HTTP/1.1 200 ") and body == b'{"status":"ok"}'

    async def close(self) -> None:
        self._writer.close()
        with suppress(OSError, ssl.SSLError):
            await self._writer.wait_closed()


async def test_the_server_certificate_changes_and_nothing_is_dropped(
    database: str, tmp_path: Path
) -> None:
    """Ours at first, the operator's once it is activated, ours again after a step back; in both
    processes, in new handshakes only, while a connection of before goes on."""
    data = tmp_path / "data"
    async with opened(database, data) as here, opened(database, data) as there:
        (tmp_path / "files").mkdir()
        acme = Authority(here, tmp_path / "files")
        root = await acme.begins()
        admin = await platform_client(here)
        at_first = await asked(lambda: admin.get(SERVER), 200)
        ours = at_first["public"]["fingerprint_sha256"]
        everywhere = [house.public.port for house in (here, there)]
        everywhere += [house.edge.port for house in (here, there)]
        await acme.until_seen(ours, *everywhere)
        shown = at_first["public"]
        assert (shown["source"], shown["days_left"] > 300) == ("platform", True)
        assert {"localhost", "127.0.0.1", "::1"} <= set(shown["names"])
        setup = await asked(lambda: admin.get("/v1/setup"), 200)
        assert setup["complete"] is False
        assert state_of(setup, "server_certificate") == "advised"

        kept = await Connection.to(there)
        assert kept.began_with == ours
        assert await kept.lives()

        csr = (await asked(lambda: admin.post(f"{SERVER}/csr", json={}), 201))["csr"]
        assert (await asked(lambda: admin.get(f"{SERVER}/csr"), 200))["csr"] == csr
        other = await acme.signs(csr, "DNS:other.example.com")
        refused = await admin.post(f"{SERVER}/install", json={"certificate": other})
        assert (refused.status_code, refused.json()["code"]) == (422, "certificate_names_missing")
        assert refused.json()["missing"] == ["localhost"]
        own = await acme.signs(csr, "DNS:localhost")
        brought = {"certificate": own + root}
        waiting = await asked(lambda: admin.post(f"{SERVER}/install", json=brought), 200)
        theirs = fingerprint_of(own)
        assert waiting["installed"]["fingerprint_sha256"] == theirs
        assert waiting["installed"]["issuer"] == "CN=Acme root,O=Acme"
        assert await acme.sees(here.public.port) == ours
        assert await kept.lives()

        await asked(lambda: admin.post(f"{SERVER}/activate", json={}), 200)
        await acme.until_seen(theirs, here.public.port, there.public.port)
        told = await acme.run(
            "openssl", "s_client", "-connect", f"localhost:{there.public.port}",
            "-CAfile", "root.pem", "-verify_return_error", "-verify_hostname", "localhost",
        )  # fmt: skip
        assert "Verify return code: 0 (ok)" in told
        for house in (here, there):
            assert await acme.sees(house.edge.port) == ours
        assert await kept.lives()
        trusting = ssl.create_default_context(cadata=root)
        public = await there.client(there.public_url, verify=trusting)
        assert (await public.get("/v1/pki/ca-bundle")).text.endswith(root)
        setup = await asked(lambda: admin.get("/v1/setup"), 200)
        assert state_of(setup, "server_certificate") == "done"

        again = await admin.post(f"{SERVER}/activate", json={})
        assert (again.status_code, again.json()["code"]) == (409, "server_certificate_missing")
        back = await asked(lambda: admin.post(f"{SERVER}/rollback", json={}), 200)
        assert back["former"]["fingerprint_sha256"] == theirs
        await acme.until_seen(ours, here.public.port, there.public.port)
        renewed = await asked(lambda: admin.post(f"{SERVER}/renew", json={"everywhere": True}), 200)
        assert renewed["public"]["source"] == "platform"
        await acme.until_other(ours, here.public.port, there.edge.port)
        assert await kept.lives()
        assert kept.began_with == ours
        await kept.close()

        tenant = await here.tenant()
        foreign = await tenant.api.get(SERVER)
        assert foreign.json()["code"] == "server_certificate_not_found"
        assert (await tenant.api.get("/v1/setup")).json()["code"] == "setup_not_found"

        # Nearly a year later: it is told while it is served, and a worker's round has the next one.
        serving, readiness = here.platform.serving, here.platform.readiness
        assert readiness.ending_certificates() == []
        here.clock.shift = timedelta(days=370)
        assert readiness.ending_certificates() == ["public", "device"]
        assert await readiness.unready() == []
        await serving.upkeep.round()
        await until(lambda: readiness.ending_certificates() == [])


async def test_devices_are_shown_it_once_they_can_know_its_ca(house: House, tmp_path: Path) -> None:
    """Or are left behind because somebody says so."""
    acme = Authority(house, tmp_path)
    root = await acme.begins()
    admin = await platform_client(house)
    await house.device(await house.tenant())
    csr = (await asked(lambda: admin.post(f"{SERVER}/csr", json={"replace": True}), 201))["csr"]
    own = await acme.signs(csr, "DNS:localhost")
    await asked(lambda: admin.post(f"{SERVER}/install", json={"certificate": own + root}), 200)
    try:
        refused = await admin.post(f"{SERVER}/activate", json={"for_devices": True})
        assert (refused.status_code, refused.json()["code"]) == (409, "devices_left_behind")
        assert refused.json()["left_behind"] >= 1
        forced = {"for_devices": True, "force": True}
        await asked(lambda: admin.post(f"{SERVER}/activate", json=forced), 200)
        await acme.until_seen(fingerprint_of(own), house.edge.port)
        # A device that is paired now is given the CA, and believes the device listener.
        paired = await house.device(await house.tenant())
        assert (await paired.http.post("/v1/device/heartbeat", json=heartbeat(1))).is_success
    finally:
        await asked(lambda: admin.post(f"{SERVER}/renew", json={"everywhere": True}), 200)
        await acme.until_other(fingerprint_of(own), house.edge.port, house.public.port)
