"""Where the console's pages are, to which passkeys are bound. Part of `settings.py`."""

from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec

from application.ports.passkeys import RelyingParty
from interfaces.environment import Environment
from interfaces.network_names import is_address, is_host, is_origin, is_url

_ORIGINS = "LINK_CONSOLE_ORIGINS"
_INVITATION_PAGE = "LINK_CONSOLE_INVITATION_URL"
_RP_ID = "LINK_PASSKEY_RP_ID"


class ConsoleSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One relying party for each of the console's hosts; none where there is no host name."""

    parties: tuple[RelyingParty, ...]
    invitation_page: str | None = None


def read_console(env: Environment, issuer: str, *, development: bool) -> ConsoleSettings:
    """By default the issuer is the one host. A browser binds no passkey to an IP address."""
    schemes = ("https", "http") if development else ("https",)
    given = env.entries(
        _ORIGINS,
        wanted="https origins with host names and commas between, such as"
        " https://console.example.com,https://console.example.org:8443",
        check=lambda text: is_origin(text, schemes) and not is_address(_host(text)),
    )
    shared = env.optional(
        _RP_ID, wanted="a host name", check=lambda text: is_host(text) and not is_address(text)
    )
    hosts: Sequence[str] = given or ([] if is_address(_host(issuer)) else [issuer])
    if shared is not None and not all(_under(_host(origin), shared) for origin in hosts):
        env.refuse(_RP_ID, f"the host of every console origin, or the end of its name: {_ORIGINS}")
    return ConsoleSettings(
        parties=tuple(RelyingParty(id=shared or _host(each), origin=each) for each in hosts),
        invitation_page=env.optional(
            _INVITATION_PAGE,
            wanted=f"an {schemes[0]} URL without a fragment",
            check=lambda text: is_url(text, schemes) and "#" not in text,
        ),
    )


def _host(origin: str) -> str:
    return urlsplit(origin).hostname or ""


def _under(host: str, domain: str) -> bool:
    return host == domain or host.endswith(f".{domain}")
