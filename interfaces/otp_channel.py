"""How one-time codes reach people, as the environment tells it."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from interfaces.environment import Environment
from interfaces.network_names import is_host, is_url

OtpChannel = Literal["inbox", "smtp", "sms_http"]


class SmtpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where one-time codes are handed in as mail, and as whom."""

    host: str
    port: int
    sender: str
    recipient: str
    security: Literal["starttls", "tls", "none"]
    username: str | None
    password: str | None

    def __repr__(self) -> str:
        return f"SmtpSettings(host={self.host!r}, port={self.port}, ...)"


class SmsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The one HTTP request by which an SMS gateway sends a text."""

    url: str
    body: str
    method: Literal["POST", "PUT"]
    content_type: Literal["application/json", "application/x-www-form-urlencoded"]
    headers: Mapping[str, str]

    def __repr__(self) -> str:
        return f"SmsSettings(method={self.method!r}, ...)"


def read_otp_channel(
    env: Environment, *, development: bool
) -> tuple[OtpChannel, SmtpSettings | None, SmsSettings | None]:
    """The channel of codes to mobiles, and what it needs; problems stay in `env`.

    Codes to e-mail addresses go through the mail server, whatever the channel.
    """
    channels: tuple[OtpChannel, ...] = ("inbox", "smtp", "sms_http")
    channel: OtpChannel = env.choice("LINK_OTP_CHANNEL", channels[0], channels)
    if channel == "inbox" and not development:
        env.refuse("LINK_OTP_CHANNEL", "smtp or sms_http, or LINK_DEVELOPMENT=true")
    smtp, sms = _smtp(env), _sms(env)
    if channel == "smtp":
        _demand(env, "LINK_SMTP_HOST", "LINK_SMTP_SENDER")
        return channel, smtp, None
    if channel == "sms_http":
        _demand(env, "LINK_SMS_URL", "LINK_SMS_BODY")
        return channel, _for_mail(smtp), sms
    return channel, _for_mail(smtp), None


def _for_mail(smtp: SmtpSettings) -> SmtpSettings | None:
    """The mail server, where codes to e-mail addresses go through one and texts do not."""
    return smtp if smtp.host and smtp.sender else None


def _demand(env: Environment, *names: str) -> None:
    for name in names:
        if not env.is_set(name):
            env.refuse(name, "a value, because of LINK_OTP_CHANNEL")


def _smtp(env: Environment) -> SmtpSettings:
    return SmtpSettings(
        host=env.optional("LINK_SMTP_HOST", wanted="a host name", check=is_host) or "",
        port=env.port("LINK_SMTP_PORT", 587),
        sender=env.optional(
            "LINK_SMTP_SENDER", wanted="a mail address", check=lambda text: "@" in text
        )
        or "",
        recipient=env.text(
            "LINK_SMTP_RECIPIENT",
            "{to}",
            wanted="an address with {to} in it",
            check=lambda text: "{to}" in text,
        ),
        security=env.choice("LINK_SMTP_SECURITY", "starttls", ("starttls", "tls", "none")),
        username=env.optional("LINK_SMTP_USERNAME"),
        password=env.optional("LINK_SMTP_PASSWORD", secret=True),
    )


def _sms(env: Environment) -> SmsSettings:
    return SmsSettings(
        url=env.optional(
            "LINK_SMS_URL",
            wanted="an http or https URL",
            check=lambda text: is_url(text, ("https", "http")),
            secret=True,
        )
        or "",
        body=env.optional(
            "LINK_SMS_BODY",
            wanted="a template with {to} and {text} in it",
            check=lambda text: "{to}" in text and "{text}" in text,
            secret=True,
        )
        or "",
        method=env.choice("LINK_SMS_METHOD", "POST", ("POST", "PUT")),
        content_type=env.choice(
            "LINK_SMS_CONTENT_TYPE",
            "application/json",
            ("application/json", "application/x-www-form-urlencoded"),
        ),
        headers=env.mapping(
            "LINK_SMS_HEADERS", wanted='a JSON object such as {"X-Api-Key":"..."}', secret=True
        ),
    )
