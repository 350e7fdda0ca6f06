"""What one client registers is loaded by the listener that all clients share, or is left out."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import example, given
from hypothesis import strategies as st

from domain.errors import Invalid, Malformed
from infrastructure.edge.client_certificates import ClientTls
from infrastructure.tokens.client_certificates import PEM_MAX, RegisteredCertificates
from infrastructure.tokens.client_trust import ClientTrust
from infrastructure.webhooks.client_certificates import X509ClientCertificates

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BEGIN, END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def _signs_itself(name: str) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return key, (
        x509.CertificateBuilder()
        .subject_name(named)
        .issuer_name(named)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=3650))
        .sign(key, hashes.SHA256())
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


SERVER_KEY, SERVER = _signs_itself("server")
CERTIFICATE = _signs_itself("backend")[1]
GOOD, OTHER = _pem(CERTIFICATE), _pem(_signs_itself("other")[1])
DER = CERTIFICATE.public_bytes(Encoding.DER)
SPOILT = {
    "begun again": f"{GOOD}{BEGIN}\n",
    "encrypted": GOOD.replace(
        f"{BEGIN}\n", f"{BEGIN}\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,{'0' * 32}\n\n"
    ),
    "header": GOOD.replace(f"{BEGIN}\n", f"{BEGIN}\nFoo: bar\n\n"),
    "words before": f"hello\n{GOOD}",
    "another block": f"-----BEGIN FOO-----\nAAAA\n-----END FOO-----\n{GOOD}",
    "twice": GOOD + OTHER,
    "of another label": GOOD.replace("CERTIFICATE", "X509 CERTIFICATE"),
    "not ASCII": f"{GOOD}é",
    "too long": GOOD + "\n" * PEM_MAX,
}


def listener() -> ClientTls:
    key = SERVER_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return ClientTls(certificate_chain_pem=_pem(SERVER), private_key_pem=key.decode())


class Trusting:
    """What a listener was told, and has loaded."""

    def __init__(self, trust: ClientTrust) -> None:
        self.told: list[str] = []
        self._tls = listener()
        trust.tell(self._trust)

    def _trust(self, pem: str) -> None:
        self._tls.trust(pem)
        self.told.append(pem)


@pytest.mark.parametrize("pem", SPOILT.values(), ids=SPOILT.keys())
def test_nothing_beside_one_certificate_is_registered(pem: str) -> None:
    """Before, all but "twice", "not ASCII" and "too long" passed, and ended every process."""
    with pytest.raises(Invalid, match="client_keys_invalid"):
        RegisteredCertificates().check([OTHER, pem])


def test_however_a_certificate_was_written_it_is_kept_as_we_write_it() -> None:
    """Before, "-----END" on the last line of base64 was kept as it came, and OpenSSL refused it."""
    flat = "".join(GOOD.split("\n")[1:-2])
    written = (
        GOOD,
        f"\r\n{GOOD.strip()}",
        GOOD.replace(f"\n{END}", END),
        f"{BEGIN}\n{flat}\n{END}",
    )
    assert set(RegisteredCertificates().check(written)) == {GOOD}


@given(
    at=st.integers(0, len(GOOD)),
    dropped=st.integers(0, 40),
    put=st.sampled_from(
        ["", "\n", " ", ":", "A", "=", BEGIN, END, "\0", "Proc-Type: 4,ENCRYPTED\n"]
    ),
    flip=st.none() | st.tuples(st.integers(0, len(DER) - 1), st.integers(1, 255)),
)
@example(at=len(GOOD), dropped=0, put=f"{BEGIN}\n", flip=None)
@example(at=len(BEGIN) + 1, dropped=0, put="Foo: bar\n\n", flip=None)
def test_what_is_accepted_can_be_loaded(
    at: int, dropped: int, put: str, flip: tuple[int, int] | None
) -> None:
    """Fails where `check` keeps the text as it came, or asks `cryptography` alone."""
    pem = GOOD
    if flip is not None:
        der = bytearray(DER)
        der[flip[0]] ^= flip[1]
        pem = f"{BEGIN}\n{base64.encodebytes(bytes(der)).decode()}{END}\n"
    pem = pem[:at] + put + pem[at + dropped :]
    try:
        accepted = RegisteredCertificates().check([pem])
    except Invalid:
        return
    listener().trust("".join([OTHER, *accepted]))


def test_what_the_log_holds_from_before_ends_no_process() -> None:
    """Before, `restore` and the tail raised `ssl.SSLError`, now and at each start."""
    trust = ClientTrust()
    unusable = ["no certificate", f"{BEGIN}\nAAAA\n{END}\n", "é"]
    trust.restore([*SPOILT.values(), *unusable])
    trusting = Trusting(trust)
    trust.restore([OTHER])
    assert trusting.told[-1] == "".join(sorted([GOOD, OTHER]))


def test_the_certificate_of_a_webhook_may_be_of_no_known_version() -> None:
    """Before, `InvalidVersion` was nobody's, and answered 500."""
    third = bytes.fromhex("a003020102")
    pem = base64.encodebytes(DER.replace(third, bytes.fromhex("a003020107"), 1)).decode()
    with pytest.raises(Malformed, match="certificate_invalid"):
        X509ClientCertificates().read(f"{BEGIN}\n{pem}{END}\n", NOW)
