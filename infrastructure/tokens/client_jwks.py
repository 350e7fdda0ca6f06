"""The public keys of a client: those that are registered, or those at its `jwks_uri`."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import msgspec

from application.ports import Clock
from domain.oauth_client import OAuthClient, PublicJwk
from infrastructure.outbound.client import OutboundClient, OutboundFailed
from infrastructure.strict_json import NotAnObject, read_object
from infrastructure.tokens.foreign_jws import KeyUnusable, verification_key

KEPT_S: Final = 300.0
AGAIN_AFTER_S: Final = 60.0
"""A key id that we do not know, or no keys at all, makes us look again: once a minute, and not for
every forgery."""
DEADLINE_S: Final = 3.0
BYTES_MAX: Final = 64 * 1024
KEYS_MAX: Final = 32
CLIENTS_MAX: Final = 10_000


class _Fetched(msgspec.Struct, frozen=True):
    uri: str
    at: float
    keys: tuple[PublicJwk, ...]


class _Document(msgspec.Struct, frozen=True):
    keys: tuple[msgspec.Raw, ...]


class ClientJwks:
    """What was got before serves while the client's address is away."""

    def __init__(self, outbound: OutboundClient, clock: Clock) -> None:
        self._outbound = outbound
        self._clock = clock
        self._kept: OrderedDict[UUID, _Fetched] = OrderedDict()
        self._fetching: dict[UUID, asyncio.Lock] = {}

    async def of(self, client: OAuthClient, kid: str | None) -> Sequence[PublicJwk]:
        """The keys that may have signed under `kid`; none while the client's own are not to be
        had."""
        uri = client.metadata.jwks_uri
        if uri is None:
            return client.metadata.jwks
        kept = self._current(client.id, uri, kid)
        if kept is not None:
            return kept
        lock = self._fetching.setdefault(client.id, asyncio.Lock())
        try:
            async with lock:
                kept = self._current(client.id, uri, kid)
                return kept if kept is not None else await self._fetched(client.id, uri)
        finally:
            if not lock.locked():
                self._fetching.pop(client.id, None)

    def _current(self, client_id: UUID, uri: str, kid: str | None) -> Sequence[PublicJwk] | None:
        found = self._kept.get(client_id)
        if found is None or found.uri != uri:
            return None
        age = self._clock.monotonic() - found.at
        known = any(kid is None or key.kid in (kid, None) for key in found.keys)
        return found.keys if age < (KEPT_S if known else AGAIN_AFTER_S) else None

    async def _fetched(self, client_id: UUID, uri: str) -> Sequence[PublicJwk]:
        before = self._kept.get(client_id)
        keys = await self._ask(uri)
        if keys is None:
            # What is away is not asked for every forgery either.
            keys = before.keys if before is not None and before.uri == uri else ()
        self._kept[client_id] = _Fetched(uri, self._clock.monotonic(), keys)
        self._kept.move_to_end(client_id)
        while len(self._kept) > CLIENTS_MAX:
            self._kept.popitem(last=False)
        return keys

    async def _ask(self, uri: str) -> tuple[PublicJwk, ...] | None:
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
        return _read(answer.body) if answer.status == 200 else None


def _read(body: bytes) -> tuple[PublicJwk, ...] | None:
    """The keys of a JWK set that we can verify with; others may stand beside them (RFC 7517 §5)."""
    try:
        read_object(body)
        given = msgspec.json.decode(body, type=_Document).keys[:KEYS_MAX]
    except (NotAnObject, msgspec.DecodeError):
        return None
    keys: list[PublicJwk] = []
    for raw in given:
        try:
            key = msgspec.json.decode(raw, type=PublicJwk)
            verification_key(key)
        except (msgspec.DecodeError, KeyUnusable):
            continue
        keys.append(key)
    return tuple(keys)
