"""A code goes out by mail, or the caller is told that it did not and the log not to whom."""

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from infrastructure.messages import wording
from infrastructure.messages.smtp import SmtpSender, SmtpServer
from tests.infrastructure.messages.unsent import (
    ADDRESS,
    CODE,
    MOBILE,
    free_port,
    hanging_server,
    refused,
)


class Mailbox:
    """An aiosmtpd handler that keeps what it takes, and refuses what it is told to."""

    def __init__(self) -> None:
        self.taken: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.logins: list[tuple[bytes, bytes]] = []
        self.answer = "250 OK"

    # The names are aiosmtpd's; it calls with what it knows, of which we want a part.
    async def handle_RCPT(self, *known: Any) -> str:  # noqa: N802
        _, _, envelope, address, _ = known
        if address.startswith("nobody"):
            return f"550 no such mailbox {address}"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, *known: Any) -> str:  # noqa: N802
        _, _, envelope = known
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.taken.append(message)
        self.recipients.append(list(envelope.rcpt_tos))
        return self.answer

    def authenticate(self, *known: Any) -> AuthResult:
        login = known[-1]
        assert isinstance(login, LoginPassword)
        self.logins.append((login.login, login.password))
        return AuthResult(success=login.password == b"right", handled=False)


@pytest.fixture(scope="module")
def server_certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("smtp") / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def trust(server_certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(server_certificate))


def _server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
async def plain_server(mailbox: Mailbox) -> AsyncIterator[int]:
    """The port of a mail server without TLS."""
    async with mail_server(mailbox) as port:
        yield port


@pytest.fixture
async def starttls_server(mailbox: Mailbox, server_certificate: Path) -> AsyncIterator[int]:
    """The port of a mail server that wants TLS and a login."""
    async with mail_server(
        mailbox,
        tls_context=_server_context(server_certificate),
        require_starttls=True,
        auth_required=True,
        authenticator=mailbox.authenticate,
    ) as port:
        yield port


@asynccontextmanager
async def mail_server(mailbox: Mailbox, **options: Any) -> AsyncGenerator[int]:
    """aiosmtpd's server on a port of the system's choice, until every session has ended."""
    sessions: list[_Session] = []

    def session() -> _Session:
        sessions.append(_Session(mailbox, hostname="localhost", **options))
        return sessions[-1]

    loop = asyncio.get_running_loop()
    listener = await loop.create_server(session, "127.0.0.1", 0)
    yield int(listener.sockets[0].getsockname()[1])
    listener.close()
    await asyncio.gather(*(each.lost.wait() for each in sessions))
    await listener.wait_closed()


class _Session(SMTP):
    """One connection to the mail server, which says when it is over."""

    def __init__(self, mailbox: Mailbox, **options: Any) -> None:
        super().__init__(mailbox, **options)
        self.lost = asyncio.Event()

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self.lost.set()


@asynccontextmanager
async def smtp_sender(
    server: SmtpServer, trust: ssl.SSLContext | None = None
) -> AsyncGenerator[SmtpSender]:
    sender = SmtpSender(server, trust)
    try:
        yield sender
    finally:
        await sender.close()


def plain(port: int, *, recipient: str = "{to}") -> SmtpServer:
    return SmtpServer(
        host="127.0.0.1",
        port=port,
        sender="codes@link.example",
        recipient=recipient,
        security="none",
    )


def guarded(port: int, password: str) -> SmtpServer:
    return SmtpServer(
        host="localhost",
        port=port,
        sender="codes@link.example",
        username="link",
        password=password,
    )


async def test_a_mail_server_takes_the_code_with_its_words(
    plain_server: int, mailbox: Mailbox
) -> None:
    async with smtp_sender(plain(plain_server)) as sender:
        await sender.send(ADDRESS, CODE, "ar")
    (mail,) = mailbox.taken
    assert (mail["From"], mail["To"]) == ("codes@link.example", ADDRESS)
    assert mail["Subject"] == wording.subject("ar")
    assert mail.get_content().strip() == wording.text(CODE, "ar")


async def test_a_mobile_becomes_an_address_where_mail_is_turned_into_texts(
    plain_server: int, mailbox: Mailbox
) -> None:
    async with smtp_sender(plain(plain_server, recipient="{to}@sms.example.com")) as sender:
        await sender.send(MOBILE, CODE, "en")
    assert mailbox.recipients == [[f"{MOBILE}@sms.example.com"]]


async def test_mail_goes_through_tls_and_a_login(
    starttls_server: int, mailbox: Mailbox, trust: ssl.SSLContext
) -> None:
    async with smtp_sender(guarded(starttls_server, "right"), trust) as sender:
        await sender.send(ADDRESS, CODE, "en")
    assert len(mailbox.taken) == 1
    assert mailbox.logins == [(b"link", b"right")]


async def test_a_wrong_password_sends_nothing(
    starttls_server: int, mailbox: Mailbox, trust: ssl.SSLContext
) -> None:
    async with smtp_sender(guarded(starttls_server, "wrong"), trust) as sender:
        assert await refused(sender, ADDRESS) == ["SMTPAuthenticationError 535"]
    assert mailbox.taken == []


async def test_a_server_that_we_do_not_trust_gets_neither_password_nor_code(
    starttls_server: int, mailbox: Mailbox
) -> None:
    async with smtp_sender(guarded(starttls_server, "right")) as sender:
        assert await refused(sender, ADDRESS) == ["SSLCertVerificationError"]
    assert (mailbox.logins, mailbox.taken) == ([], [])


async def test_a_server_without_tls_gets_no_code_when_tls_is_wanted(
    plain_server: int, mailbox: Mailbox
) -> None:
    server = SmtpServer(host="127.0.0.1", port=plain_server, sender="codes@link.example")
    async with smtp_sender(server) as sender:
        assert await refused(sender, ADDRESS) == ["SMTPNotSupportedError"]
    assert mailbox.taken == []


async def test_a_refused_recipient_and_a_refused_message_are_not_sent(
    plain_server: int, mailbox: Mailbox
) -> None:
    async with smtp_sender(plain(plain_server)) as sender:
        assert await refused(sender, "nobody@example.com") == ["SMTPRecipientsRefused"]
        mailbox.answer = "554 not today"
        assert await refused(sender, ADDRESS) == ["SMTPDataError 554"]


async def test_a_destination_cannot_add_header_lines_or_recipients(
    plain_server: int, mailbox: Mailbox
) -> None:
    async with smtp_sender(plain(plain_server)) as sender:
        assert await refused(sender, "a@example.com\r\nBcc: b@example.com") == ["ValueError"]
        assert await refused(sender, "a@example.com, b@example.com") == ["not_one_address"]
    assert mailbox.taken == []


async def test_a_mail_server_that_is_not_there_is_said_so() -> None:
    server = SmtpServer(host="127.0.0.1", port=await free_port(), sender="codes@link.example")
    async with smtp_sender(server) as sender:
        assert await refused(sender, ADDRESS) == ["ConnectionRefusedError"]


async def test_a_mail_server_that_hangs_is_given_up() -> None:
    async with hanging_server() as port:
        server = SmtpServer(host="127.0.0.1", port=port, sender="codes@link.example", timeout_s=0.2)
        async with smtp_sender(server) as sender:
            (reason,) = await refused(sender, ADDRESS)
            assert reason in ("deadline", "TimeoutError")


async def test_no_library_logs_a_code_or_a_destination(
    plain_server: int, caplog: pytest.LogCaptureFixture
) -> None:
    """With every logger of the process at its most talkative, but the test's own mail server."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.CRITICAL, logger="mail.log")
    async with smtp_sender(plain(plain_server)) as sender:
        await sender.send(ADDRESS, CODE, "en")
    assert CODE not in caplog.text
    assert ADDRESS not in caplog.text
