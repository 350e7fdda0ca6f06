"""What the platform is told from outside: the environment, read once, as one frozen value.

This is the only module that looks at `os.environ`. `.env.example` explains every variable.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from interfaces.attestation_settings import AttestationSettings, read_attestation
from interfaces.breach_settings import BreachSettings, read_breach_settings
from interfaces.console_settings import ConsoleSettings, read_console
from interfaces.environment import Environment
from interfaces.first_admin import FirstAdminSettings, read_first_admin
from interfaces.key_settings import KeySettings, read_keys
from interfaces.mtls_settings import MtlsSettings, read_mtls
from interfaces.network_names import is_egress_entry, is_host, is_loopback, is_origin, is_url
from interfaces.otp_channel import OtpChannel, SmsSettings, SmtpSettings, read_otp_channel
from interfaces.tls_settings import TlsSettings, read_tls
from interfaces.witness_settings import WitnessSettings, read_witnesses

LogLevel = Literal["debug", "info", "warning", "error"]

_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9._-]{1,255}\Z")
_LOG_ORIGIN: Final = re.compile(r"[a-z0-9.:-]{1,100}(/[A-Za-z0-9._~-]{1,50}){0,2}\Z")
_PALM_VENDOR_IN_DEVELOPMENT: Final = "http://127.0.0.1:9400"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that may differ from one installation to the next; a name ends in its unit."""

    data_dir: Path
    keys: KeySettings
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
    mtls: MtlsSettings | None
    attestation: AttestationSettings
    console: ConsoleSettings
    tls: TlsSettings
    internal_host: str
    internal_port: int
    requests_max: int
    drain_notice_s: int
    palm_vendor_url: str
    palm_vendor_key: str | None
    otp_channel: OtpChannel
    smtp: SmtpSettings | None
    sms: SmsSettings | None
    development: bool
    egress_allow: tuple[str, ...]
    digest_interval_s: int
    password_cost: int
    breached: BreachSettings
    test_id_issuer: str | None
    log_level: LogLevel
    log_origin: str | None
    witnesses: tuple[WitnessSettings, ...]
    witnesses_required: int
    first_admin: FirstAdminSettings | None

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
    public_host = _host(env, "LINK_PUBLIC_HOST")
    public_port = env.port("LINK_PUBLIC_PORT", 8443)
    device_host = _host(env, "LINK_DEVICE_HOST")
    device_port = env.port("LINK_DEVICE_PORT", 8444)
    if (public_host, public_port) == (device_host, device_port):
        env.refuse("LINK_DEVICE_PORT", "another port than LINK_PUBLIC_PORT on the same host")
    development = _development(env, public_host, device_host)
    internal_host = _host(env, "LINK_INTERNAL_HOST")
    internal_port = _internal_port(env, development=development)
    otp_channel, smtp, sms = read_otp_channel(env, development=development)
    issuer = _issuer(env, public_port, development=development)
    witnesses, witnesses_required = read_witnesses(env, development=development)
    return Settings(
        data_dir=data_dir,
        keys=read_keys(env, data_dir),
        database_url=_server_url(env, "LINK_DATABASE_URL", ("postgresql", "postgres")),
        postgres_port=_postgres_port(env),
        redis_url=_server_url(env, "LINK_REDIS_URL", ("redis", "rediss", "unix")),
        issuer=issuer,
        device_url=_device_url(env, issuer, device_port),
        mtls=read_mtls(env, issuer),
        attestation=read_attestation(env, data_dir),
        console=read_console(env, issuer, development=development),
        tls=read_tls(env),
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
        internal_host=internal_host,
        internal_port=internal_port,
        requests_max=env.integer("LINK_REQUESTS_MAX", 1024, least=4, most=65535),
        drain_notice_s=env.integer("LINK_DRAIN_NOTICE_S", 0, least=0, most=300),
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
            check=is_egress_entry,
        ),
        digest_interval_s=env.integer("LINK_DIGEST_INTERVAL_S", 900, least=0, most=86_400),
        password_cost=env.integer("LINK_PASSWORD_COST", 12, least=10, most=16),
        breached=read_breach_settings(env, development=development),
        test_id_issuer=_test_id_issuer(env, development=development),
        log_level=env.choice("LINK_LOG_LEVEL", "info", ("debug", "info", "warning", "error")),
        log_origin=env.optional(
            "LINK_LOG_ORIGIN",
            wanted="a host name, with a path if you like: id.example.com/audit",
            check=_matches(_LOG_ORIGIN),
        ),
        witnesses=witnesses,
        witnesses_required=witnesses_required,
        first_admin=read_first_admin(env),
    )


def _development(env: Environment, public_host: str, device_host: str) -> bool:
    alone = not (env.is_set("LINK_DATABASE_URL") or env.is_set("LINK_REDIS_URL"))
    return env.flag(
        "LINK_DEVELOPMENT", alone and is_loopback(public_host) and is_loopback(device_host)
    )


def _host(env: Environment, name: str) -> str:
    return env.text(name, "127.0.0.1", wanted="an IP address or host name", check=is_host)


def _internal_port(env: Environment, *, development: bool) -> int:
    """On one machine for development several processes may stand side by side: any port will do."""
    return env.integer("LINK_INTERNAL_PORT", 0 if development else 8445, least=0, most=65535)


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
        "LINK_ISSUER", default, wanted=wanted, check=lambda text: is_origin(text, ("https",))
    )


def _device_url(env: Environment, issuer: str, device_port: int) -> str:
    """Where devices are told to call: by default the issuer's host, at the device port."""
    host = urlsplit(issuer).hostname or "localhost"
    shown = f"[{host}]" if ":" in host else host
    return env.text(
        "LINK_DEVICE_URL",
        f"https://{shown}:{device_port}",
        wanted="an https URL without path, query or a slash at its end",
        check=lambda text: is_origin(text, ("https",)),
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
        check=lambda text: is_url(text, schemes) and not text.endswith("/"),
    )


def _test_id_issuer(env: Environment, *, development: bool) -> str | None:
    """Whoever is asked there for an ID token gets one about anybody."""
    name, wanted = "LINK_TEST_ID_ISSUER", "an http or https URL without path, query or a slash"
    if env.is_set(name) and not development:
        env.refuse(name, "nothing: only a platform in development takes a test issuer's word")
    return env.optional(name, wanted=wanted, check=lambda text: is_origin(text, ("http", "https")))


def _matches(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.match(text) is not None
