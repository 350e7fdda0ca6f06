"""Which texts are addresses, host names, URLs and origins as we take them."""

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

_HOST_NAME: Final = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\Z"
)


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_host(text: str) -> bool:
    return is_address(text) or _HOST_NAME.match(text.lower()) is not None


def bare_host(text: str) -> str:
    """A host name in small letters, or an address in its usual form."""
    return str(ipaddress.ip_address(text)) if is_address(text) else text.lower()


def is_loopback(host: str) -> bool:
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def is_url(text: str, schemes: tuple[str, ...]) -> bool:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        return False
    return url.scheme in schemes and is_host(url.hostname or "") and port != 0


def is_origin(text: str, schemes: tuple[str, ...]) -> bool:
    url = urlsplit(text)
    return is_url(text, schemes) and f"{url.scheme}://{url.netloc}" == text and "@" not in text


def is_egress_entry(text: str) -> bool:
    """As the egress guard reads it: a CIDR block, a host name, or a host name and a port."""
    try:
        ipaddress.ip_network(text)
    except ValueError:
        host, _, port = text.lower().partition(":")
        return _HOST_NAME.match(host) is not None and (port == "" or port.isdecimal())
    return True
