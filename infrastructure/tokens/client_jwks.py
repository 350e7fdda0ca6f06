"""The public keys of a client: those that are registered, or those at its `jwks_uri`."""

from collections.abc import Sequence

import msgspec

from application.ports import Clock
from domain.oauth_client import OAuthClient, PublicJwk
from infrastructure.outbound.client import OutboundClient
from infrastructure.tokens.foreign_jws import KeyUnusable, verification_key
from infrastructure.tokens.remote_jwks import RemoteJwks


class ClientJwks:
    """What was got before serves while the client's address is away."""

    def __init__(self, outbound: OutboundClient, clock: Clock) -> None:
        self._remote = RemoteJwks(outbound, clock, _read_key)

    async def of(self, client: OAuthClient, kid: str | None) -> Sequence[PublicJwk]:
        """The keys that may have signed under `kid`; none while the client's own are not to be
        had."""
        uri = client.metadata.jwks_uri
        if uri is None:
            return client.metadata.jwks
        return await self._remote.of(client.id, uri, kid)


def _read_key(raw: msgspec.Raw) -> PublicJwk | None:
    try:
        key = msgspec.json.decode(raw, type=PublicJwk)
        verification_key(key)
    except (msgspec.DecodeError, KeyUnusable):
        return None
    return key
