"""By which name an address is counted against a budget."""

import ipaddress
from typing import Any

from litestar import Request


def budget_address(request: Request[Any, Any, Any]) -> str:
    """The caller's network as far as one caller can be told from the next."""
    return counted_as(request.client.host) if request.client is not None else "unknown"


def counted_as(host: str) -> str:
    """An IPv4 address for itself, an IPv6 address for its /64.

    A /64 is what a single subscriber is given (RFC 6177): one who may take any of its addresses
    would have a budget for each.
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), 64), strict=False))
