"""Which URLs the platform may call, and the one address that such a call is pinned to.

A tenant chooses the URLs of its products, so every one of them is a chance to make the platform
call something of our own (server-side request forgery; reference broker.md §6 E). The guard
reads a URL strictly, resolves its name once, looks at every address, and hands out addresses
rather than a name: what was checked is what is connected to, whatever the name says a moment
later.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Literal, Protocol

import msgspec

from domain.errors import Invalid
from infrastructure.outbound.address_classes import (
    Address,
    Network,
    is_loopback,
    is_never_callable,
    is_private,
    is_public,
)

Scheme = Literal["http", "https"]

URL_CHARACTERS_MAX: Final = 2048
HOST_CHARACTERS_MAX: Final = 253
FIRST_UNPRIVILEGED_PORT: Final = 1024

_SPLIT = re.compile(r"(?P<scheme>[a-z]+)://(?P<authority>[^/?]*)(?P<path>[^?]*)(?P<query>\?.*)?")
_ALLOWED_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~%!$&'()*+,;=:/?\[\]@#]+")
_AUTHORITY = re.compile(
    r"(?:\[(?P<literal>[0-9a-f:.]+)\]|(?P<name>[a-z0-9.-]+))(?::(?P<port>\d+))?"
)
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER_LABEL = re.compile(r"\d+|0x[0-9a-f]*")


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A URL that is well formed and of a permitted scheme. `host` is lower case, without brackets.

    `request_target` is what stands in the request line (RFC 9112 §3.2.1); `authority` is what
    stands in the Host header.
    """

    scheme: Scheme
    host: str
    port: int
    authority: str
    request_target: str
    literal: Address | None = None


class Pinned(msgspec.Struct, frozen=True, kw_only=True):
    """A host with the addresses that were checked for it, in the resolver's order."""

    scheme: Scheme
    host: str
    port: int
    addresses: tuple[str, ...]

    @property
    def ip(self) -> str:
        """The address to connect to; the others stand by in case it cannot be reached."""
        return self.addresses[0]


class Unresolvable(Exception):
    """The name has no address at the moment. A fault of the network, not a refusal."""


class Resolver(Protocol):
    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """All addresses of a name, in the order of preference. Raises OSError."""
        ...


class SystemResolver:
    """The resolver of the operating system: the hosts file, DNS, and what else is configured."""

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


class EgressGuard:
    """Implements `application.ports.EgressPolicy`, and pins addresses for `OutboundClient`.

    `allow` is the Platform Admin's list, never a tenant's: CIDR blocks (`10.20.0.0/16`) open the
    addresses in them, host names (`wallet.internal`, `wallet.internal:81`) open the private
    addresses those names resolve to, and a named port. Nothing opens multicast, link-local or
    cloud metadata addresses. `development` permits loopback, there also over plain http.
    """

    def __init__(self, allow: Sequence[str], development: bool, resolver: Resolver) -> None:
        self._development = development
        self._resolver = resolver
        self._networks: list[Network] = []
        self._hosts: set[str] = set()
        self._ports: set[tuple[str, int]] = set()
        for entry in allow:
            self._open(entry)

    def _open(self, entry: str) -> None:
        try:
            self._networks.append(ipaddress.ip_network(entry))
        except ValueError:
            host, _, port = entry.lower().partition(":")
            if not _is_host_name(host) or (port and not port.isdecimal()):
                raise ValueError(f"{entry!r} is neither a CIDR block nor a host name") from None
            self._hosts.add(host)
            if port:
                self._ports.add((host, int(port)))

    async def check(self, url: str) -> None:
        """Raises Invalid: `url_invalid`, `url_scheme_forbidden` or `url_forbidden`."""
        try:
            await self.pin(url)
        except Unresolvable as error:
            raise Invalid("url_invalid", str(error)) from error

    async def pin(self, url: str) -> Pinned:
        """Check a URL and the addresses behind it. Raises Invalid as `check`, or Unresolvable."""
        return await self.pin_target(self.read(url))

    def read(self, url: str) -> Target:
        """The parts of a URL of a permitted scheme. Raises Invalid; asks no resolver."""
        target = parse(url)
        if target.scheme == "http" and not self._development:
            raise Invalid("url_scheme_forbidden", "the URL must begin with https://")
        return target

    async def pin_target(self, target: Target) -> Pinned:
        """The checked addresses of what `read` returned. Raises Invalid or Unresolvable."""
        addresses = await self._addresses(target)
        for address in addresses:
            self._check_address(target, address)
        self._check_port(target, addresses)
        return Pinned(
            scheme=target.scheme,
            host=target.host,
            port=target.port,
            addresses=tuple(str(address) for address in addresses),
        )

    async def _addresses(self, target: Target) -> list[Address]:
        if target.literal is not None:
            return [target.literal]
        try:
            found = await self._resolver.resolve(target.host, target.port)
        except OSError as error:
            raise Unresolvable(f"{target.host} could not be resolved") from error
        if not found:
            raise Unresolvable(f"{target.host} has no address")
        try:
            return [ipaddress.ip_address(text) for text in found]
        except ValueError as error:
            raise Invalid("url_forbidden", f"{target.host} resolves to no plain address") from error

    def _check_address(self, target: Target, address: Address) -> None:
        if not self._may_call(target, address):
            # The address itself is not told: an answer that names it would be a port scanner's map.
            raise Invalid("url_forbidden", f"{target.host} leads to an address we do not call")
        if target.scheme == "http" and not is_loopback(address):
            raise Invalid("url_scheme_forbidden", "plain http is for loopback in development only")

    def _may_call(self, target: Target, address: Address) -> bool:
        if is_never_callable(address):
            return False
        if any(address in network for network in self._networks):
            return True
        if is_public(address):
            return True
        if is_loopback(address):
            return self._development
        return is_private(address) and target.host in self._hosts

    def _check_port(self, target: Target, addresses: Sequence[Address]) -> None:
        usual = target.port == 443 or target.port >= FIRST_UNPRIVILEGED_PORT
        at_home = self._development and all(is_loopback(address) for address in addresses)
        if not (usual or at_home or (target.host, target.port) in self._ports):
            raise Invalid("url_forbidden", f"port {target.port} is not one we call")


@lru_cache(maxsize=4096)
def parse(url: str) -> Target:
    """Read an absolute http or https URL, far more strictly than RFC 3986 asks.

    Raises Invalid. What other parsers are known to read in two ways is refused: user
    information, fragments, backslashes, `//` paths, dot segments, percent signs and non-ASCII in
    the host, and every spelling of an IPv4 address except four plain decimal numbers.
    """
    if len(url) > URL_CHARACTERS_MAX:
        raise Invalid("url_invalid", f"a URL has at most {URL_CHARACTERS_MAX} characters")
    split = _SPLIT.fullmatch(url)
    if split is None or _ALLOWED_CHARACTERS.fullmatch(url) is None:
        raise Invalid("url_invalid", "not an absolute URL in printable ASCII")
    if split["scheme"] not in ("https", "http"):
        raise Invalid("url_scheme_forbidden", "the URL must begin with https://")
    scheme: Scheme = "https" if split["scheme"] == "https" else "http"
    if "#" in url or "@" in split["authority"]:
        raise Invalid("url_invalid", "a URL here has no user information and no fragment")
    host, port, literal = _read_authority(split["authority"], 443 if scheme == "https" else 80)
    shown = f"[{host}]" if isinstance(literal, ipaddress.IPv6Address) else host
    usual = port == (443 if scheme == "https" else 80)
    return Target(
        scheme=scheme,
        host=host,
        port=port,
        authority=shown if usual else f"{shown}:{port}",
        request_target=_read_path(split["path"]) + (split["query"] or ""),
        literal=literal,
    )


def _read_authority(authority: str, usual_port: int) -> tuple[str, int, Address | None]:
    found = _AUTHORITY.fullmatch(authority.lower())
    if found is None:
        raise Invalid("url_invalid", "the host of the URL is not a plain name or address")
    port = usual_port
    if found["port"] is not None:
        port = int(found["port"]) if len(found["port"]) <= 5 else 0
        if not 1 <= port <= 65535 or found["port"].startswith("0"):
            raise Invalid("url_invalid", "the port of the URL is not between 1 and 65535")
    if found["literal"] is not None:
        try:
            address = ipaddress.IPv6Address(found["literal"])
        except ValueError as error:
            raise Invalid("url_invalid", "the host of the URL is not an IPv6 address") from error
        return str(address), port, address
    host = found["name"]
    if _NUMBER_LABEL.fullmatch(host.rstrip(".").rpartition(".")[2]):
        return host, port, _read_ipv4(host)
    if not _is_host_name(host):
        raise Invalid("url_invalid", "the host of the URL is not a host name")
    return host, port, None


def _read_ipv4(host: str) -> ipaddress.IPv4Address:
    """`host` ends in a number, so some program somewhere takes it for an IPv4 address."""
    try:
        return ipaddress.IPv4Address(host)
    except ValueError as error:
        raise Invalid("url_forbidden", "an address is four plain decimal numbers") from error


def _is_host_name(host: str) -> bool:
    labels = host.split(".")
    return len(host) <= HOST_CHARACTERS_MAX and all(_LABEL.fullmatch(label) for label in labels)


def _read_path(path: str) -> str:
    if path == "":
        return "/"
    segments = path.lower().replace("%2e", ".").split("/")
    if path.startswith("//") or "@" in path or "." in segments or ".." in segments:
        raise Invalid("url_invalid", "the path of the URL must be plain: no //, no @, no dots")
    if any(character in path.lower() for character in ("%0d", "%0a", "%00", "%5c", "%2f")):
        raise Invalid("url_invalid", "the path of the URL must not encode line ends or slashes")
    return path
