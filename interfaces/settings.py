"""What the platform is told from outside: the environment, read once, as one frozen value.

This is the only module that looks at `os.environ`. `.env.example` explains every variable.
"""

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from interfaces.environment import Environment

OtpChannel = Literal["inbox", "smtp", "sms_http"]
LogLevel = Literal["debug", "info", "warning", "error"]

_HOST_NAME: Final = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\Z"
)
_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9._-]{1,255}\Z")
_PALM_VENDOR_IN_DEVELOPMENT: Final = "http://127.0.0.1:9400"


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


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that may differ from one installation to the next; a name ends in its unit."""

    data_dir: Path
    key_file: Path
    database_url: str | None
    postgres_port: int | None
    redis_url: str | None
    issuer: str
    trust_domain: str
    public_host: str
    public_port: int
    device_host: str
    device_port: int
    device_url: str
    palm_vendor_url: str
    palm_vendor_key: str | None
    otp_channel: OtpChannel
    smtp: SmtpSettings | None
    sms: SmsSettings | None
    development: bool
    egress_allow: tuple[str, ...]
    log_level: LogLevel

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read the variables; `environ` stands in for the process's own.

        Raises SettingsInvalid, which names every variable that is wrong, what was found and
        what was wanted. Values of secrets are not repeated.
        """
        reader = Environment(os.environ if environ is None else environ)
        settings = read(reader)
        reader.finish()
        return settings

    def notices(self) -> list[str]:
        """What a person who starts the platform should know about how it was told to run."""
        if not self.development:
            return []
        return [
            "Development mode: products and the palm vendor may be on loopback and plain HTTP."
            + (" One-time codes go to an inbox file." if self.otp_channel == "inbox" else "")
            + " Set LINK_DEVELOPMENT=false to end it."
        ]

    def __repr__(self) -> str:
        return f"Settings(data_dir={str(self.data_dir)!r}, issuer={self.issuer!r}, ...)"


def read(env: Environment) -> Settings:
    """Ask `env` for every variable there is; problems stay in `env` until `finish`."""
    data_dir = Path(env.text("LINK_DATA_DIR", "./.link-identity", wanted="a folder"))
    key_file = env.optional("LINK_KEY_FILE", wanted="a file")
    public_host = _host(env, "LINK_PUBLIC_HOST")
    public_port = env.port("LINK_PUBLIC_PORT", 8443)
    device_host = _host(env, "LINK_DEVICE_HOST")
    device_port = env.port("LINK_DEVICE_PORT", 8444)
    if (public_host, public_port) == (device_host, device_port):
        env.refuse("LINK_DEVICE_PORT", "another port than LINK_PUBLIC_PORT on the same host")
    development = _development(env, public_host, device_host)
    otp_channel, smtp, sms = _otp(env, development=development)
    issuer = _issuer(env, public_port, development=development)
    return Settings(
        data_dir=data_dir,
        key_file=Path(key_file) if key_file else data_dir / "keys" / "master.key",
        database_url=_server_url(env, "LINK_DATABASE_URL", ("postgresql", "postgres")),
        postgres_port=_postgres_port(env),
        redis_url=_server_url(env, "LINK_REDIS_URL", ("redis", "rediss", "unix")),
        issuer=issuer,
        device_url=_device_url(env, issuer, device_port),
        trust_domain=env.text(
            "LINK_TRUST_DOMAIN",
            "link.localhost",
            wanted="a SPIFFE trust domain (a-z, 0-9, '.', '-', '_'; at most 255)",
            check=_matches(_TRUST_DOMAIN),
        ),
        public_host=public_host,
        public_port=public_port,
        device_host=device_host,
        device_port=device_port,
        palm_vendor_url=_palm_vendor_url(env, development=development),
        palm_vendor_key=env.optional("LINK_PALM_VENDOR_KEY", secret=True),
        otp_channel=otp_channel,
        smtp=smtp,
        sms=sms,
        development=development,
        egress_allow=env.entries(
            "LINK_EGRESS_ALLOW",
            wanted="CIDR blocks and host names with commas between, such as"
            " 10.20.0.0/16,wallet.internal:8443",
            check=_is_egress_entry,
        ),
        log_level=env.choice("LINK_LOG_LEVEL", "info", ("debug", "info", "warning", "error")),
    )


def _development(env: Environment, public_host: str, device_host: str) -> bool:
    alone = not (env.is_set("LINK_DATABASE_URL") or env.is_set("LINK_REDIS_URL"))
    return env.flag(
        "LINK_DEVELOPMENT", alone and _is_loopback(public_host) and _is_loopback(device_host)
    )


def _host(env: Environment, name: str) -> str:
    return env.text(name, "127.0.0.1", wanted="an IP address or host name", check=_is_host)


def _postgres_port(env: Environment) -> int | None:
    if not env.is_set("LINK_POSTGRES_PORT"):
        env.known["LINK_POSTGRES_PORT"] = None
        return None
    return env.port("LINK_POSTGRES_PORT", 5432)


def _server_url(env: Environment, name: str, schemes: tuple[str, ...]) -> str | None:
    def check(text: str) -> bool:
        url = urlsplit(text)
        return url.scheme in schemes and bool(url.netloc or url.path)

    wanted = " or ".join(f"{scheme}://..." for scheme in schemes)
    return env.optional(name, wanted=wanted, check=check, secret=True)


def _issuer(env: Environment, public_port: int, *, development: bool) -> str:
    wanted = "an https URL without path, query or a slash at its end"
    default = f"https://localhost:{public_port}"
    if not development and not env.is_set("LINK_ISSUER"):
        env.refuse("LINK_ISSUER", f"{wanted}, or LINK_DEVELOPMENT=true")
    return env.text(
        "LINK_ISSUER", default, wanted=wanted, check=lambda text: _is_origin(text, ("https",))
    )


def _device_url(env: Environment, issuer: str, device_port: int) -> str:
    """Where devices are told to call: by default the issuer's host, at the device port."""
    host = urlsplit(issuer).hostname or "localhost"
    shown = f"[{host}]" if ":" in host else host
    return env.text(
        "LINK_DEVICE_URL",
        f"https://{shown}:{device_port}",
        wanted="an https URL without path, query or a slash at its end",
        check=lambda text: _is_origin(text, ("https",)),
    )


def _palm_vendor_url(env: Environment, *, development: bool) -> str:
    name = "LINK_PALM_VENDOR_URL"
    schemes = ("https", "http") if development else ("https",)
    if not development and not env.is_set(name):
        env.refuse(name, "the palm vendor's https URL, or LINK_DEVELOPMENT=true")
    return env.text(
        name,
        _PALM_VENDOR_IN_DEVELOPMENT,
        wanted=f"an {schemes[0]} URL without a slash at its end",
        check=lambda text: _is_url(text, schemes) and not text.endswith("/"),
    )


def _otp(
    env: Environment, *, development: bool
) -> tuple[OtpChannel, SmtpSettings | None, SmsSettings | None]:
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
        return channel, None, sms
    return channel, None, None


def _demand(env: Environment, *names: str) -> None:
    for name in names:
        if not env.is_set(name):
            env.refuse(name, "a value, because of LINK_OTP_CHANNEL")


def _smtp(env: Environment) -> SmtpSettings:
    return SmtpSettings(
        host=env.optional("LINK_SMTP_HOST", wanted="a host name", check=_is_host) or "",
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
            check=lambda text: _is_url(text, ("https", "http")),
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


def _matches(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.match(text) is not None


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_host(text: str) -> bool:
    return _is_address(text) or _HOST_NAME.match(text.lower()) is not None


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_url(text: str, schemes: tuple[str, ...]) -> bool:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        return False
    return url.scheme in schemes and _is_host(url.hostname or "") and port != 0


def _is_origin(text: str, schemes: tuple[str, ...]) -> bool:
    url = urlsplit(text)
    return _is_url(text, schemes) and f"{url.scheme}://{url.netloc}" == text and "@" not in text


def _is_egress_entry(text: str) -> bool:
    """As the egress guard reads it: a CIDR block, a host name, or a host name and a port."""
    try:
        ipaddress.ip_network(text)
    except ValueError:
        host, _, port = text.lower().partition(":")
        return _HOST_NAME.match(host) is not None and (port == "" or port.isdecimal())
    return True
