"""The authorities certify a key that its holder has proved, under names that are only ours."""

import base64
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from uuid import UUID

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import AttributeOID, ExtendedKeyUsageOID, NameOID
from hypothesis import assume, given
from hypothesis import strategies as st

from application.ports import CertificateAuthority
from domain.errors import Malformed
from domain.ids import DeviceId, TenantId
from domain.spiffe import DeviceIdentity, read_device_uri
from infrastructure.fleet.authority import CA_VALIDITY, PlatformCAUnusable
from infrastructure.fleet.csr import CSR_CHARACTERS_MAX
from infrastructure.fleet.platform_ca import PlatformCA

NOW = datetime(2031, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
TENANT = TenantId(UUID("0198c7a0-9e6c-7b1f-8d3e-2a4b5c6d7e8f"))
DEVICE = DeviceId(UUID("0198c7a0-aaaa-7b1f-8d3e-2a4b5c6d7e8f"))

PrivateKey = (
    ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | dsa.DSAPrivateKey
)
P256 = ec.generate_private_key(ec.SECP256R1())


class StoppedClock:
    """A clock that shows what it was set to."""

    def __init__(self, at: datetime = NOW) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return 0.0


@cache
def rsa_key(bits: int, exponent: int = 65537) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(exponent, bits)


def csr_pem(
    key: PrivateKey,
    *,
    challenge: str | None = None,
    algorithm: hashes.SHA256 | hashes.SHA384 | None = None,
) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root of all evil")])
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    builder = builder.add_extension(
        x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://evil/tenant/a")]),
        critical=False,
    )
    if challenge is not None:
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge.encode())
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return builder.sign(key, None).public_bytes(Encoding.PEM).decode()
    return builder.sign(key, algorithm or hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def pem(der: bytes) -> str:
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n"


def der_of(text: str) -> bytes:
    return base64.b64decode("".join(text.splitlines()[1:-1]))


@pytest.fixture(name="ca", scope="module")
def a_platform_ca() -> PlatformCA:
    return PlatformCA.generate(trust_domain="link.example", clock=StoppedClock())


def test_it_is_the_certificate_authority_that_the_application_asks_for(ca: PlatformCA) -> None:
    port: CertificateAuthority = ca
    assert port.examine(csr_pem(P256)).challenge_password is None


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("p256", P256),
        ("p384", ec.generate_private_key(ec.SECP384R1())),
        ("rsa", rsa_key(3072)),
    ],
)
def test_allowed_keys_are_examined_and_certified(
    ca: PlatformCA, kind: str, key: PrivateKey
) -> None:
    text = csr_pem(key, challenge="K7Q2ZM9XP")
    request = ca.examine(text)
    issued = ca.issue(text, TENANT, DEVICE, validity_days=90)
    certificate = x509.load_pem_x509_certificate(issued.certificate_pem.encode())

    digest = hashes.Hash(hashes.SHA256())
    digest.update(
        certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    assert request.spki_sha256 == digest.finalize().hex()
    assert request.challenge_password == "K7Q2ZM9XP"
    assert request.key_type == kind
    assert certificate.public_key() == key.public_key()


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP521R1()),
        ec.generate_private_key(ec.SECP256K1()),
        ec.generate_private_key(ec.SECP224R1()),
        ec.generate_private_key(ec.BrainpoolP256R1()),
        rsa_key(2048),
        rsa_key(3072, 3),
        ed25519.Ed25519PrivateKey.generate(),
        dsa.generate_private_key(2048),
    ],
    ids=["p521", "k256", "p224", "brainpool", "rsa2048", "rsa-e3", "ed25519", "dsa"],
)
def test_other_keys_violate_the_policy(ca: PlatformCA, key: PrivateKey) -> None:
    with pytest.raises(Malformed) as refused:
        ca.issue(csr_pem(key), TENANT, DEVICE, validity_days=90)
    assert refused.value.code == "key_policy_violation"


def test_an_altered_request_is_not_signed_by_its_key(ca: PlatformCA) -> None:
    altered = der_of(csr_pem(P256)).replace(b"root of all evil", b"root of all good")
    with pytest.raises(Malformed) as refused:
        ca.issue(pem(altered), TENANT, DEVICE, validity_days=90)
    assert refused.value.code == "csr_signature_invalid"


def test_a_request_signed_by_another_key_is_refused(ca: PlatformCA) -> None:
    """What a thief of a public key would send: the victim's key, a signature of one's own."""
    mine, theirs = P256, ec.generate_private_key(ec.SECP256R1())
    swapped = der_of(csr_pem(mine)).replace(point_of(mine), point_of(theirs))
    with pytest.raises(Malformed) as refused:
        ca.examine(pem(swapped))
    assert refused.value.code == "csr_signature_invalid"


def point_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def test_a_signature_over_sha1_counts_as_none(ca: PlatformCA, tmp_path: Path) -> None:
    with pytest.raises(Malformed) as refused:
        ca.examine(openssl_request(tmp_path, "-sha1"))
    assert refused.value.code == "csr_signature_invalid"
    assert ca.examine(openssl_request(tmp_path, "-sha256")).csr_sha256


def test_one_key_has_one_digest_however_its_point_is_written(
    ca: PlatformCA, tmp_path: Path
) -> None:
    """A device could otherwise pair twice with one key, spelt once in full and once compressed."""
    plain = openssl_request(tmp_path, "-sha256")
    run(
        "openssl",
        "ec",
        "-in",
        "key.pem",
        "-out",
        "short.pem",
        "-conv_form",
        "compressed",
        at=tmp_path,
    )
    short = openssl_request(tmp_path, "-sha256", key="short.pem")
    assert len(der_of(short)) < len(der_of(plain))
    assert ca.examine(short).spki_sha256 == ca.examine(plain).spki_sha256


def openssl_request(at: Path, digest: str, *, key: str = "key.pem") -> str:
    if not (at / "key.pem").exists():
        run("openssl", "ecparam", "-genkey", "-name", "prime256v1", "-out", "key.pem", at=at)
    return run("openssl", "req", "-new", digest, "-key", key, "-subj", "/CN=a", at=at)


def run(*command: str, at: Path) -> str:
    try:
        done = subprocess.run(command, cwd=at, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.fail(f"these tests need the program {command[0]!r} on the PATH")
    assert done.returncode == 0, done.stderr
    return done.stdout


GOOD = csr_pem(P256)


@pytest.mark.parametrize(
    "make",
    [
        lambda: "",
        lambda: "not a request",
        lambda: GOOD + GOOD,
        lambda: "a preface\n" + GOOD,
        lambda: GOOD.replace("REQUEST", "REQUESTS"),
        lambda: GOOD.replace("CERTIFICATE REQUEST", "CERTIFICATE"),
        lambda: GOOD.replace("M", "!", 1),
        lambda: GOOD.replace("\n", "\u00e9\n", 2),
        lambda: pem(b""),
        lambda: pem(b"\x30\x80\x00\x00"),
        lambda: pem(der_of(GOOD)[:-1]),
        lambda: pem(der_of(GOOD) + b"\x00"),
        lambda: der_of(GOOD).decode("latin-1"),
        lambda: pem(b"\x30\x84\x7f\xff\xff\xff" + bytes(64)),
        lambda: pem(bytes(CSR_CHARACTERS_MAX)),
        lambda: pem(der_of(GOOD).replace(point_of(P256), b"\x04" + bytes(64))),
        lambda: csr_pem(P256, challenge="x").replace("\n", "\x00\n"),
        lambda: pem(der_of(GOOD).replace(b"\x02\x01\x00", b"\x02\x01\x07", 1)),
    ],
)
def test_what_is_not_one_request_is_invalid(ca: PlatformCA, make: Callable[[], str]) -> None:
    with pytest.raises(Malformed) as refused:
        ca.examine(make())
    assert refused.value.code == "csr_invalid"


@given(at=st.integers(0, len(der_of(GOOD)) - 1), bit=st.integers(0, 7))
def test_no_single_flipped_bit_passes_or_breaks_the_examination(
    ca: PlatformCA, at: int, bit: int
) -> None:
    """But for the octet that says how many of the signature's last bits count for nothing: where
    they are zero it is the same signature."""
    whole = der_of(GOOD)
    assume(at != whole.index(x509.load_der_x509_csr(whole).signature) - 1)
    flipped = bytearray(whole)
    flipped[at] ^= 1 << bit
    with pytest.raises(Malformed) as refused:
        ca.examine(pem(bytes(flipped)))
    assert refused.value.code in {"csr_invalid", "csr_signature_invalid", "key_policy_violation"}


def test_a_device_certificate_holds_what_we_say_and_nothing_of_the_request(ca: PlatformCA) -> None:
    issued = ca.issue(csr_pem(P256), TENANT, DEVICE, validity_days=90)
    certificate = x509.load_pem_x509_certificate(issued.certificate_pem.encode())
    extensions = certificate.extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName)
    uris = names.value.get_values_for_type(x509.UniformResourceIdentifier)
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    key_usage = extensions.get_extension_for_class(x509.KeyUsage)
    authority = x509.load_pem_x509_certificate(issued.chain_pem.encode())

    assert [read_device_uri("link.example", uri) for uri in uris] == [
        DeviceIdentity(tenant_id=TENANT, device_id=DEVICE)
    ]
    assert len(names.value) == 1
    assert (constraints.critical, constraints.value.ca) == (True, False)
    assert key_usage.critical
    assert key_usage.value == x509.KeyUsage(
        True, False, False, False, False, False, False, False, False
    )
    assert set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.SERVER_AUTH,
    }
    assert {extension.oid._name for extension in extensions} == {
        "basicConstraints",
        "keyUsage",
        "extendedKeyUsage",
        "subjectAltName",
        "subjectKeyIdentifier",
        "authorityKeyIdentifier",
    }
    assert certificate.subject.rfc4514_string() == (
        "CN=dev_0198c7a0aaaa7b1f8d3e2a4b5c6d7e8f,O=ten_0198c7a09e6c7b1f8d3e2a4b5c6d7e8f"
    )
    certificate.verify_directly_issued_by(authority)
    assert certificate.fingerprint(hashes.SHA256()).hex() == issued.fingerprint_sha256
    assert f"{certificate.serial_number:x}" == issued.serial


def test_validity_is_told_from_the_clock_and_starts_a_little_in_the_past() -> None:
    clock = StoppedClock()
    ca = PlatformCA.generate(trust_domain="link.example", clock=clock)
    clock.at = NOW + timedelta(days=10)
    issued = ca.issue(csr_pem(P256), TENANT, DEVICE, validity_days=30)
    start = clock.at.replace(microsecond=0)
    assert issued.not_before == start - timedelta(minutes=5)
    assert issued.not_after == start + timedelta(days=30)


def test_no_certificate_outlives_its_authority() -> None:
    clock = StoppedClock()
    ca = PlatformCA.generate(trust_domain="link.example", clock=clock)
    authority = x509.load_pem_x509_certificate(ca.device_ca_pem().encode())
    clock.at = NOW + CA_VALIDITY - timedelta(days=3)
    issued = ca.issue(csr_pem(P256), TENANT, DEVICE, validity_days=30)
    assert issued.not_after == authority.not_valid_after_utc
    clock.at = NOW + CA_VALIDITY
    with pytest.raises(PlatformCAUnusable, match="run out"):
        ca.issue(csr_pem(P256), TENANT, DEVICE, validity_days=30)


def test_a_validity_below_one_day_is_a_mistake_of_the_caller(ca: PlatformCA) -> None:
    with pytest.raises(ValueError, match="one day"):
        ca.issue(csr_pem(P256), TENANT, DEVICE, validity_days=0)


def test_serial_numbers_are_random_and_of_more_than_64_bits(ca: PlatformCA) -> None:
    request = csr_pem(P256)
    serials = [
        int(ca.issue(request, TENANT, DEVICE, validity_days=1).serial, 16) for _ in range(20)
    ]
    assert len(set(serials)) == 20
    assert max(serial.bit_length() for serial in serials) > 150


def test_the_authorities_are_two_and_may_sign_leaves_only(ca: PlatformCA) -> None:
    device_ca = x509.load_pem_x509_certificate(ca.device_ca_pem().encode())
    server_ca = x509.load_pem_x509_certificate(ca.ca_bundle_pem().encode())
    assert device_ca.public_key() != server_ca.public_key()
    assert device_ca.subject != server_ca.subject
    for authority in (device_ca, server_ca):
        constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints)
        usage = authority.extensions.get_extension_for_class(x509.KeyUsage)
        assert (constraints.critical, constraints.value.ca) == (True, True)
        assert constraints.value.path_length == 0
        assert usage.critical
        assert usage.value.key_cert_sign
        assert usage.value.crl_sign
        assert not usage.value.digital_signature


def test_what_is_stored_comes_back_as_the_same_authorities(ca: PlatformCA) -> None:
    again = PlatformCA.from_pem(ca.to_pem(), trust_domain="link.example", clock=StoppedClock())
    assert again.device_ca_pem() == ca.device_ca_pem()
    assert again.ca_bundle_pem() == ca.ca_bundle_pem()
    issued = again.issue(csr_pem(P256), TENANT, DEVICE, validity_days=1)
    x509.load_pem_x509_certificate(issued.certificate_pem.encode()).verify_directly_issued_by(
        x509.load_pem_x509_certificate(ca.device_ca_pem().encode())
    )


def test_a_certificate_of_ours_is_read_again_as_it_was_issued(ca: PlatformCA) -> None:
    issued = ca.issue(csr_pem(P256), TENANT, DEVICE, validity_days=90)
    assert ca.reread(issued.certificate_pem) == issued


def test_a_certificate_of_another_authority_is_not_read_again(ca: PlatformCA) -> None:
    other = PlatformCA.generate(trust_domain="link.example", clock=StoppedClock())
    theirs = other.issue(csr_pem(P256), TENANT, DEVICE, validity_days=90).certificate_pem
    for certificate in (theirs, ca.issue_server(["localhost"])[0], "", "nonsense"):
        with pytest.raises(PlatformCAUnusable):
            ca.reread(certificate)


def test_what_does_not_belong_together_is_not_loaded(ca: PlatformCA) -> None:
    other = PlatformCA.generate(trust_domain="link.example", clock=StoppedClock())
    broken = [b"", ca.to_pem()[:-40], ca.to_pem() + ca.to_pem(), b"x" + ca.to_pem()]
    broken.append(ca.to_pem().replace(ca.device_ca_pem().encode(), other.device_ca_pem().encode()))
    broken.append(ca.to_pem().replace(b"MIG", b"AAA"))
    for stored in broken:
        with pytest.raises(PlatformCAUnusable):
            PlatformCA.from_pem(stored, trust_domain="link.example", clock=StoppedClock())


def test_openssl_verifies_a_device_certificate_strictly_and_for_its_purpose(tmp_path: Path) -> None:
    ca = PlatformCA.generate(trust_domain="link.example", clock=StoppedClock(datetime.now(UTC)))
    issued = ca.issue(csr_pem(P256), TENANT, DEVICE, validity_days=1)
    (tmp_path / "device-ca.pem").write_text(ca.device_ca_pem())
    (tmp_path / "server-ca.pem").write_text(ca.ca_bundle_pem())
    (tmp_path / "device.pem").write_text(issued.certificate_pem)
    verify = ("openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile")
    assert run(*verify, "device-ca.pem", "device.pem", at=tmp_path) == "device.pem: OK\n"
    with pytest.raises(AssertionError, match="verification failed"):
        run(*verify, "server-ca.pem", "device.pem", at=tmp_path)


def test_openssl_verifies_a_server_certificate_for_its_hosts(tmp_path: Path) -> None:
    ca = PlatformCA.generate(trust_domain="link.example", clock=StoppedClock(datetime.now(UTC)))
    chain, key_pem = ca.issue_server(["localhost", "127.0.0.1", "::1"])
    (tmp_path / "server-ca.pem").write_text(ca.ca_bundle_pem())
    (tmp_path / "server.pem").write_text(chain)
    verify = ("openssl", "verify", "-x509_strict", "-CAfile", "server-ca.pem")
    for name in (("-verify_hostname", "localhost"), ("-verify_ip", "127.0.0.1")):
        answer = run(*verify, "-purpose", "sslserver", *name, "server.pem", at=tmp_path)
        assert answer == "server.pem: OK\n"
    with pytest.raises(AssertionError, match="unsuitable certificate purpose"):
        run(*verify, "-purpose", "sslclient", "server.pem", at=tmp_path)
    assert key_pem.startswith("-----BEGIN PRIVATE KEY-----")


def test_a_server_certificate_without_hosts_is_a_mistake_of_the_caller(ca: PlatformCA) -> None:
    with pytest.raises(ValueError, match="host"):
        ca.issue_server([])
