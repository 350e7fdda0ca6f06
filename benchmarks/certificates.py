"""Keys and certificates in files: a device's for the load, a server's for the baseline."""

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from domain.ids import DeviceId, TenantId
from infrastructure.clock import SystemClock
from infrastructure.fleet.platform_ca import PlatformCA


class Files(msgspec.Struct, frozen=True, kw_only=True):
    """What a TLS client needs: whom to trust, and what to show."""

    ca: Path
    certificate: Path
    key: Path
    fingerprint: str = ""


class Authority:
    """A CA of the benchmark's own, of the same make as the platform's."""

    def __init__(self, folder: Path) -> None:
        self.ca = PlatformCA.generate(trust_domain="bench.localhost", clock=SystemClock())
        self._folder = folder
        self.trusted_by_devices = folder / "server-ca.pem"
        self.trusted_by_servers = folder / "device-ca.pem"
        self.trusted_by_devices.write_text(self.ca.ca_bundle_pem())
        self.trusted_by_servers.write_text(self.ca.device_ca_pem())

    def server(self) -> Files:
        """A certificate for localhost."""
        chain, key = self.ca.issue_server(["localhost", "127.0.0.1"])
        certificate, key_file = self._folder / "server.pem", self._folder / "server.key"
        certificate.write_text(chain)
        key_file.write_text(key)
        return Files(ca=self.trusted_by_servers, certificate=certificate, key=key_file)

    def device(self) -> Files:
        """A device with a fresh key."""
        name = uuid4().hex
        fingerprint = ""

        def certify(csr: str) -> str:
            nonlocal fingerprint
            issued = self.ca.issue(csr, TenantId(uuid4()), DeviceId(uuid4()), validity_days=1)
            fingerprint = issued.fingerprint_sha256
            return issued.certificate_pem + issued.chain_pem

        made = device(self._folder, name, self.trusted_by_devices, certify)
        return msgspec.structs.replace(made, fingerprint=fingerprint)


def device(folder: Path, name: str, ca: Path, certify: Callable[[str], str]) -> Files:
    """Make a key, have `certify` answer its CSR with a chain (all PEM), and keep both in files."""
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = csr.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    files = Files(ca=ca, certificate=folder / f"{name}.pem", key=folder / f"{name}.key")
    files.certificate.write_text(certify(request))
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files
