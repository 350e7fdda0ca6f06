"""What an operator brings for our listeners: each fault by its name, and files that change."""

import asyncio
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from application.ports.server_certificates import Shown
from domain.errors import Invalid, Malformed
from infrastructure.fleet.certificate_files import CertificateFiles, CertificateFilesUnusable
from infrastructure.fleet.server_chains import X509ServerCertificates
from infrastructure.fleet.shown_certificates import ShownCertificateKeeper
from tests.application.hand_clock import HandClock
from tests.application.memory_log import MemoryEventLog

NOW = datetime.now(UTC).replace(microsecond=0)
READER = X509ServerCertificates()
WEAK_BITS = 1024
SERVER = (ExtendedKeyUsageOID.SERVER_AUTH,)


class Signer:
    """A CA that signs what a test wants to be wrong."""

    def __init__(self, name: str, above: "Signer | None" = None, *, ca: bool = True) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = (above or self).sign(self.key.public_key(), self.name, ca=ca, usages=())

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def sign(
        self,
        key: Any,
        subject: x509.Name,
        *,
        ca: bool = False,
        usages: tuple[x509.ObjectIdentifier, ...] = SERVER,
        begins: timedelta = timedelta(minutes=-1),
        days: int = 90,
    ) -> x509.Certificate:
        built = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW + begins)
            .not_valid_after(NOW + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if usages:
            built = built.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        if not ca:
            names = x509.SubjectAlternativeName(
                [x509.DNSName("id.example.com"), x509.IPAddress(ip_address("10.0.0.7"))]
            )
            built = built.add_extension(names, critical=False)
        return built.sign(self.key, hashes.SHA256())

    def leaf(self, key: Any = None, **spoilt: Any) -> str:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "id.example.com")])
        made = self.sign((key or KEY).public_key(), name, **spoilt)
        return made.public_bytes(Encoding.PEM).decode()


KEY, NEXT = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
ROOT = Signer("root")
MIDDLE = Signer("middle", ROOT)
NO_CA = Signer("no CA", ROOT, ca=False)


def key_pem(key: Any, passphrase: bytes | None = None) -> bytes:
    sealed = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase)
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealed))


def test_a_chain_is_read_and_its_root_set_apart() -> None:
    leaf = MIDDLE.leaf()
    read = READER.read(leaf + MIDDLE.pem + ROOT.pem, NOW)
    assert (read.chain_pem, read.anchor_pem) == (leaf + MIDDLE.pem, ROOT.pem)
    assert read.names == ("id.example.com", "10.0.0.7")
    assert READER.read(leaf + MIDDLE.pem, NOW).anchor_pem is None
    assert READER.read(MIDDLE.leaf(usages=()), NOW).chain_pem
    facts = READER.facts(read.chain_pem)
    assert (facts.subject, facts.issuer, facts.key) == (
        "CN=id.example.com",
        "CN=middle",
        "secp256r1",
    )


@pytest.mark.parametrize(
    ("pem", "code"),
    [
        (ROOT.leaf() + MIDDLE.pem, "certificate_chain_broken"),
        (MIDDLE.leaf() + ROOT.pem + MIDDLE.pem, "certificate_chain_broken"),
        (MIDDLE.pem + MIDDLE.leaf(), "certificate_chain_broken"),
        (NO_CA.leaf() + NO_CA.pem, "certificate_chain_broken"),
        (MIDDLE.pem, "certificate_of_a_ca"),
        (ROOT.leaf(rsa.generate_private_key(65537, WEAK_BITS)), "certificate_weak"),
        (ROOT.leaf(begins=timedelta(days=2)), "certificate_not_valid_yet"),
        (ROOT.leaf(days=0), "certificate_run_out"),
        (ROOT.leaf(usages=(ExtendedKeyUsageOID.CLIENT_AUTH,)), "certificate_not_for_servers"),
    ],
)
def test_each_fault_has_a_name(pem: str, code: str) -> None:
    with pytest.raises(Invalid, match=code):
        READER.read(pem, NOW)


@pytest.mark.parametrize(
    "pem", ["", "hello", key_pem(KEY).decode(), ROOT.pem.replace("MII", "MIX")]
)
def test_what_cannot_be_read_is_malformed(pem: str) -> None:
    with pytest.raises(Malformed, match="certificate_invalid"):
        READER.read(pem, NOW)


class Listener:
    """Is told what to show, and shows it."""

    def __init__(self) -> None:
        self.shows: list[str] = []
        self.changed = asyncio.Event()

    def certify(self, chain_pem: str, key: str) -> None:
        assert "PRIVATE KEY" in key
        self.shows.append(chain_pem)
        self.changed.set()

    async def private_key(self, number: int) -> str:
        """Nothing is in the log, so no key is asked for."""
        raise LookupError(number)

    async def told_of(self, shown: Shown) -> None:
        """Whoever writes down what runs out."""
        assert shown.source == "file"


class Pair:
    """Two files, written as a tool that renews would: each whole, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.certificate, self.key = folder / "server.pem", folder / "server.key"

    def write(self, path: Path, content: bytes) -> None:
        fresh = path.with_suffix(".new")
        fresh.write_bytes(content)
        os.replace(fresh, path)

    def holds(self, leaf: str, key: bytes) -> CertificateFiles:
        self.write(self.key, key)
        self.write(self.certificate, leaf.encode())
        return CertificateFiles(self.certificate, self.key)


@pytest.mark.parametrize(
    ("leaf", "key", "said"),
    [
        (ROOT.leaf(), key_pem(ec.generate_private_key(ec.SECP256R1())), "not the certificate's"),
        (ROOT.leaf(), key_pem(KEY, b"open sesame"), "without a passphrase"),
        (ROOT.leaf(), b"nothing", "no private key"),
        (ROOT.pem, key_pem(ROOT.key), "certificate of a CA"),
        ("nothing", key_pem(KEY), "the certificate's file"),
    ],
    ids=["other key", "sealed", "no key", "a CA", "no certificate"],
)
def test_files_that_hold_nothing_to_show_are_refused(
    tmp_path: Path, leaf: str, key: bytes, said: str
) -> None:
    with pytest.raises(CertificateFilesUnusable, match=said):
        Pair(tmp_path).holds(leaf, key).read()


async def test_files_that_change_are_shown_and_half_of_a_change_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail with the certificate shown as soon as its file changes."""
    monkeypatch.setattr("infrastructure.fleet.shown_certificates.LOOK_S", 0.01)
    pair, listener = Pair(tmp_path), Listener()
    first, second = ROOT.leaf(), ROOT.leaf(NEXT)
    files = pair.holds(first + ROOT.pem, key_pem(KEY))
    anchors: list[Sequence[str]] = []
    keeper = ShownCertificateKeeper(
        MemoryEventLog(HandClock()), listener, {"public": files}, anchors.append, listener
    )
    await keeper.open()
    assert keeper.presented("public")[0] == first
    assert anchors[-1] == [ROOT.pem]
    with pytest.raises(LookupError):
        keeper.presented("device")
    keeper.tell("public", listener.certify)
    async with keeper, asyncio.timeout(60):
        pair.write(pair.certificate, second.encode())
        while not (keeper.faulty or listener.shows):  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
        assert listener.shows == []
        pair.write(pair.key, key_pem(NEXT))
        await listener.changed.wait()
    assert listener.shows == [second]
    shown = keeper.shown("public")
    assert shown is not None
    assert (shown.source, shown.chain_pem) == ("file", second)
    assert anchors[-1] == []
