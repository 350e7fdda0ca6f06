"""One-time codes by e-mail, or by text message where the mail server turns mail into texts."""

import asyncio
import smtplib
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from typing import Final, Literal

import msgspec
import structlog

from domain.errors import Unavailable
from infrastructure.messages import wording

_SENDERS_MAX: Final = 4

log: Final = structlog.stdlib.get_logger(__name__)


class SmtpServer(msgspec.Struct, frozen=True, kw_only=True):
    """Where mail is handed in, and as whom.

    `recipient` makes an address of a destination: `{to}` where destinations are addresses,
    for instance `{to}@sms.example.com` where they are mobiles.
    """

    host: str
    port: int
    sender: str
    recipient: str = "{to}"
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str | None = None
    password: str | None = None
    timeout_s: float = 10.0


class SmtpSender:
    """`OtpSender` over SMTP (RFC 5321), one connection per message, in threads of its own.

    The threads are few and not the shared ones: a mail server that hangs holds up codes and
    nothing else. Close with `close`.
    """

    def __init__(self, server: SmtpServer, trust: ssl.SSLContext | None = None) -> None:
        self._server = server
        self._trust = trust or ssl.create_default_context()
        self._threads = ThreadPoolExecutor(_SENDERS_MAX, thread_name_prefix="smtp")

    async def send(self, destination: str, code: str, locale: str) -> None:
        """Hand the mail to the server. Raises Unavailable (`otp_not_sent`)."""
        reason = await self._handed_in(lambda: self._message(destination, code, locale))
        # Raised out here and logged as a kind: a server's refusal quotes the destination.
        if reason is not None:
            log.error("otp_not_sent", channel="smtp", reason=reason)
            raise Unavailable("otp_not_sent")

    async def letter(self, destination: str, subject: str, text: str, code: str) -> None:
        """Hand another mail to the server. Raises Unavailable (`mail_not_sent`)."""
        del code  # it stands in the text
        reason = await self._handed_in(lambda: self._letter(destination, subject, text))
        if reason is not None:
            log.error("mail_not_sent", channel="smtp", reason=reason)
            raise Unavailable("mail_not_sent")

    async def close(self) -> None:
        """Give up what waits, and wait for what is being sent."""
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)

    async def _handed_in(self, written: Callable[[], EmailMessage]) -> str | None:
        """None, or the kind of failure."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._server.timeout_s):
                return await loop.run_in_executor(self._threads, self._deliver, written)
        except TimeoutError:
            return "deadline"

    def _deliver(self, written: Callable[[], EmailMessage]) -> str | None:
        """Send one mail, blocking; None, or the kind of failure."""
        try:
            message = written()
            if len(message["To"].addresses) != 1:
                return "not_one_address"
            with self._connect() as connection:
                if self._server.security == "starttls":
                    connection.starttls(context=self._trust)
                if self._server.username is not None:
                    connection.login(self._server.username, self._server.password or "")
                connection.send_message(message)
        except smtplib.SMTPResponseException as error:
            return f"{type(error).__name__} {error.smtp_code}"
        except (OSError, ValueError) as error:
            return type(error).__name__
        return None

    def _connect(self) -> smtplib.SMTP:
        server = self._server
        if server.security == "tls":
            return smtplib.SMTP_SSL(
                server.host, server.port, timeout=server.timeout_s, context=self._trust
            )
        return smtplib.SMTP(server.host, server.port, timeout=server.timeout_s)

    def _letter(self, destination: str, subject: str, text: str) -> EmailMessage:
        """Raises ValueError for a destination that would break out of its header line."""
        message = EmailMessage()
        message["From"] = self._server.sender
        message["To"] = self._server.recipient.replace("{to}", destination)
        message["Subject"] = subject
        message.set_content(text)
        return message

    def _message(self, destination: str, code: str, locale: str) -> EmailMessage:
        """Raises ValueError for a destination that would break out of its header line."""
        text = wording.text(code, locale)
        message = self._letter(destination, wording.subject(locale), text)
        message["Content-Language"] = wording.language(locale)
        return message
