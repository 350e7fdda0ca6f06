"""What kind of place an IP address is: public, private, our own machine, or never to be called.

The blocks are those of the IANA special-purpose address registries (RFC 6890 and its updates),
written out here because the standard library's answers differ between Python patch releases.
"""

import ipaddress
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _blocks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


LOOPBACK: Final = _blocks("127.0.0.0/8", "::1/128")

PRIVATE: Final = _blocks(
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",  # carrier-grade NAT, RFC 6598
    "fc00::/7",
)

NEVER: Final = _blocks(
    "0.0.0.0/8",
    "169.254.0.0/16",  # link-local, and with it the metadata service of most clouds
    "100.100.100.200/32",  # the metadata service of Alibaba Cloud
    "192.0.0.192/32",  # the metadata service of Oracle Cloud
    "168.63.129.16/32",  # the wire server of Azure: public by number, the host by nature
    "224.0.0.0/4",
    "255.255.255.255/32",
    "::/128",
    "fd00:ec2::/32",  # the metadata service of AWS over IPv6
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
)

_SPECIAL: Final = _blocks(
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "240.0.0.0/4",
    "2001::/23",  # IETF protocol assignments, Teredo among them
    "2001:db8::/32",
    "2002::/16",  # 6to4: an IPv4 address in disguise
    "2620:4f:8000::/48",
    "3fff::/20",
)

_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
"""Outside of it lie IPv4-mapped, IPv4-compatible and NAT64 addresses: IPv4 in disguise."""


def _within(address: Address, blocks: tuple[Network, ...]) -> bool:
    return any(address in block for block in blocks)


def is_loopback(address: Address) -> bool:
    return _within(address, LOOPBACK)


def is_private(address: Address) -> bool:
    """An address of somebody's own network: fine to call when that somebody is us."""
    return _within(address, PRIVATE)


def is_never_callable(address: Address) -> bool:
    """An address that no allow list opens. A scope (`fe80::1%eth0`) names a link of ours."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return True
        if address.ipv4_mapped is not None:
            return is_never_callable(address.ipv4_mapped)
    return _within(address, NEVER)


def is_public(address: Address) -> bool:
    """An address that belongs to the open Internet and to no special purpose."""
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return not (
        _within(address, LOOPBACK)
        or _within(address, PRIVATE)
        or _within(address, NEVER)
        or _within(address, _SPECIAL)
    )
