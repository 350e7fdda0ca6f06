"""Where OAuth clients with certificates call, if anywhere (RFC 8705). Part of `settings.py`."""

from urllib.parse import urlsplit

import msgspec

from interfaces.environment import Environment
from interfaces.network_names import is_origin


class MtlsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The port of the listener that asks clients for a certificate, and its URL as they know it."""

    port: int
    url: str


def read_mtls(env: Environment, issuer: str) -> MtlsSettings | None:
    """None where there is no such listener."""
    if not env.is_set("LINK_MTLS_PORT"):
        env.known["LINK_MTLS_PORT"] = None
        if env.is_set("LINK_MTLS_URL"):
            env.refuse("LINK_MTLS_URL", "LINK_MTLS_PORT beside it")
        env.known.setdefault("LINK_MTLS_URL", None)
        return None
    port = env.port("LINK_MTLS_PORT", 8446)
    host = urlsplit(issuer).hostname or "localhost"
    shown = f"[{host}]" if ":" in host else host
    url = env.text(
        "LINK_MTLS_URL",
        f"https://{shown}:{port}",
        wanted="an https URL without path, query or a slash at its end",
        check=lambda text: is_origin(text, ("https",)),
    )
    return MtlsSettings(port=port, url=url)
