"""Ports that nobody uses: the well-known one of each server if it is free, else another."""

import random
import socket
from collections.abc import Mapping
from typing import Final

USUAL: Final[Mapping[str, int]] = {
    "public": 8443,
    "device": 8444,
    "palm_server": 9400,
    "wallet": 9101,
    "access": 9102,
}

# Below the ports that systems hand out to outgoing connections (Linux: from 32768).
_OTHERS: Final = range(20_000, 32_000)


class NoFreePort(Exception):
    """Every port that was tried is in use."""


def choose(usual: Mapping[str, int] = USUAL, *, prefer_usual: bool = True) -> dict[str, int]:
    """One free loopback port for each name. Raises NoFreePort."""
    chosen: dict[str, int] = {}
    for name, port in usual.items():
        candidates = [*([port] if prefer_usual else []), *random.sample(_OTHERS, 200)]
        free = (each for each in candidates if each not in chosen.values() and is_free(each))
        found = next(free, None)
        if found is None:
            raise NoFreePort(f"no free port for {name}")
        chosen[name] = found
    return chosen


def is_free(port: int) -> bool:
    """Whether a server could listen there now; what cannot be had is not free either."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
