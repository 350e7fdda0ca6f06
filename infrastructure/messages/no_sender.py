"""A channel that nobody has set up."""

from typing import Final

import structlog

from domain.errors import Unavailable

log: Final = structlog.stdlib.get_logger(__name__)


class NoSender:
    """`OtpSender` that says, to the operator and to the caller, that nothing went out."""

    def __init__(self, channel: str) -> None:
        self._channel = channel

    async def send(self, destination: str, code: str, locale: str) -> None:
        """Raises Unavailable (`otp_not_sent`)."""
        del destination, code, locale
        log.error("otp_not_sent", channel=self._channel, reason="not_configured")
        raise Unavailable("otp_not_sent")

    async def letter(self, destination: str, subject: str, text: str, code: str) -> None:
        """Raises Unavailable (`mail_not_sent`)."""
        del destination, subject, text, code
        log.error("mail_not_sent", channel=self._channel, reason="not_configured")
        raise Unavailable("mail_not_sent")
