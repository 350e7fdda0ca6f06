"""Key sets at somebody's address: fetched, kept for a while, and fetched again for a new key id.

What was got before serves while the address is away. A key id that nobody knows makes us look
again once a minute, and not for every forgery.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from application.ports import Clock
from infrastructure.outbound.client import OutboundClient, OutboundFailed
from infrastructure.strict_json import NotAnObject, read_object

KEPT_S: Final = 300.0
AGAIN_AFTER_S: Final = 60.0
"""A key id that we do not know makes us look again: once a minute, and not for every forgery."""
FAILED_FOR_S: Final = 5.0
"""Where we never had any keys: nobody comes in until we do."""
DEADLINE_S: Final = 3.0
BYTES_MAX: Final = 64 * 1024
KEYS_MAX: Final = 32
OWNERS_MAX: Final = 10_000


class Named(Protocol):
    @property
    def kid(self) -> str | None: ...


K = TypeVar("K", bound=Named)


class _Fetched(msgspec.Struct, Generic[K], frozen=True):
    uri: str
    at: float
    keys: tuple[K, ...]


class _Document(msgspec.Struct, frozen=True):
    keys: tuple[msgspec.Raw, ...]


class RemoteJwks(Generic[K]):
    """`read_key` makes a key of a member of the set, and None of one that we do not verify with:
    others may stand beside them (RFC 7517 §5)."""

    def __init__(
        self,
        outbound: OutboundClient,
        clock: Clock,
        read_key: Callable[[msgspec.Raw], K | None],
    ) -> None:
        self._outbound = outbound
        self._clock = clock
        self._read_key = read_key
        self._kept: OrderedDict[Hashable, _Fetched[K]] = OrderedDict()
        self._fetching: dict[Hashable, asyncio.Lock] = {}

    async def of(self, owner: Hashable, uri: str, kid: str | None) -> Sequence[K]:
        """The owner's keys, fresh enough to have one named `kid`; none while they are not to be
        had."""
        kept = self._current(owner, uri, kid)
        if kept is not None:
            return kept
        lock = self._fetching.setdefault(owner, asyncio.Lock())
        try:
            async with lock:
                kept = self._current(owner, uri, kid)
                return kept if kept is not None else await self._fetched(owner, uri)
        finally:
            if not lock.locked():
                self._fetching.pop(owner, None)

    def _current(self, owner: Hashable, uri: str, kid: str | None) -> Sequence[K] | None:
        found = self._kept.get(owner)
        if found is None or found.uri != uri:
            return None
        age = self._clock.monotonic() - found.at
        known = any(kid is None or key.kid in (kid, None) for key in found.keys)
        serves_s = KEPT_S if known else AGAIN_AFTER_S if found.keys else FAILED_FOR_S
        return found.keys if age < serves_s else None

    async def _fetched(self, owner: Hashable, uri: str) -> Sequence[K]:
        before = self._kept.get(owner)
        keys = await self._ask(uri)
        if keys is None:
            # What is away is not asked for every forgery either.
            keys = before.keys if before is not None and before.uri == uri else ()
        self._kept[owner] = _Fetched(uri, self._clock.monotonic(), keys)
        self._kept.move_to_end(owner)
        while len(self._kept) > OWNERS_MAX:
            self._kept.popitem(last=False)
        return keys

    async def _ask(self, uri: str) -> tuple[K, ...] | None:
        """None when there is no set of keys to be had there."""
        try:
            answer = await self._outbound.request(
                "GET",
                uri,
                headers={"accept": "application/jwk-set+json, application/json"},
                body=b"",
                deadline_s=DEADLINE_S,
                max_bytes=BYTES_MAX,
            )
        except OutboundFailed:
            return None
        return self._read(answer.body) if answer.status == 200 else None

    def _read(self, body: bytes) -> tuple[K, ...] | None:
        try:
            read_object(body)
            given = msgspec.json.decode(body, type=_Document).keys[:KEYS_MAX]
        except (NotAnObject, msgspec.DecodeError):
            return None
        keys = (self._read_key(raw) for raw in given)
        return tuple(key for key in keys if key is not None)
