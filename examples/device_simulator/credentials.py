"""What makes a device itself: its key, its certificate, the CA it trusts, kept in a folder.

    key.pem      the private key (P-256), made here and sent nowhere
    csr.pem      the request that was signed with it, kept so that a lost answer can be asked for
    chain.pem    the device's certificate and the CA behind it
    ca.pem       the CA to trust for the platform's listeners, from the pairing
    device.json  who the device is and where it calls
    next/        the same key.pem, csr.pem and chain.pem while a renewal is under way

All of it is readable by the owner only.
"""

import os
import ssl
from pathlib import Path
from typing import Final, Self

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

KEY: Final = "key.pem"
CSR: Final = "csr.pem"
CHAIN: Final = "chain.pem"
CA: Final = "ca.pem"
IDENTITY: Final = "device.json"
NEXT: Final = "next"


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """A paired device's folder, and who it is. `device_api` is the URL of the device listener."""

    folder: Path
    device_id: str
    tenant_id: str
    device_api: str

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a paired device's folder, and end a renewal that a crash cut off.

        Raises FileNotFoundError when it was never paired.
        """
        finish_renewal(folder)
        identity = msgspec.json.decode((folder / IDENTITY).read_bytes(), type=dict[str, str])
        return cls(folder=folder, **identity)

    @classmethod
    def store(
        cls,
        folder: Path,
        *,
        device_id: str,
        tenant_id: str,
        device_api: str,
        chain_pem: str,
        ca_pem: str,
    ) -> Self:
        """Write what the pairing gave. `device.json` comes last: with it, the device is paired."""
        identity = {"device_id": device_id, "tenant_id": tenant_id, "device_api": device_api}
        write_private(folder / CHAIN, chain_pem.encode())
        write_private(folder / CA, ca_pem.encode())
        write_private(folder / IDENTITY, msgspec.json.encode(identity))
        return cls(folder=folder, **identity)

    @property
    def key_file(self) -> Path:
        return self.folder / KEY

    @property
    def chain_file(self) -> Path:
        return self.folder / CHAIN

    @property
    def ca_file(self) -> Path:
        return self.folder / CA

    def tls(self) -> ssl.SSLContext:
        """TLS 1.3 with the device's certificate, trusting the CA from the pairing and no other."""
        context = ssl.create_default_context(cafile=self.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self.chain_file, self.key_file)
        return context


def certificate_request(folder: Path) -> str:
    """The folder's CSR as PEM; makes a key and signs one when there is none yet.

    The platform takes subject and extensions from the pairing code, so the CSR proves that we
    hold the key and says no more.
    """
    request_file = folder / CSR
    if request_file.exists():
        return request_file.read_text()
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "device")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    write_private(folder / KEY, key_pem(key))
    pem = request.public_bytes(serialization.Encoding.PEM)
    write_private(request_file, pem)
    return pem.decode()


def renewed(folder: Path, chain_pem: str) -> None:
    """Keep the new certificate with its key; only then are they the device's own."""
    write_private(folder / NEXT / CHAIN, chain_pem.encode())
    finish_renewal(folder)


def finish_renewal(folder: Path) -> None:
    """Put a renewed key and certificate in the place of the old ones; safe to be done again."""
    following = folder / NEXT
    if not (following / CHAIN).exists():
        return
    # The chain is what says that all of this is to be done, so it goes last.
    for name in (KEY, CSR, CHAIN):
        write_private(folder / name, (following / name).read_bytes())
    for name in (CHAIN, CSR, KEY):
        (following / name).unlink()
    following.rmdir()


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The key as unencrypted PKCS #8 PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
