"""Access tokens after they were issued: whether one is good, and how its client gives it back
(RFC 7009, RFC 7662)."""

from uuid import UUID

from application.admission import check_served
from application.execute import execute
from application.ports import AccessToken, AccessTokens, EventLog, IdSource, Streams
from application.principals import Caller, client_actor
from application.tenants.clients import client_stream
from domain import access_token as a
from domain.errors import Forbidden, Unauthenticated
from domain.ids import access_token_id
from domain.oauth_client import OAuthClient


class IssuedTokens:
    def __init__(
        self, log: EventLog, streams: Streams, tokens: AccessTokens, ids: IdSource
    ) -> None:
        self._log = log
        self._streams = streams
        self._tokens = tokens
        self._ids = ids

    async def good(self, token: str) -> tuple[AccessToken, OAuthClient]:
        """What the token says and the client that it was issued to.

        Raises Unauthenticated: `token_expired`, or `token_invalid` for one that is not ours, was
        given back, or whose client is not active; and Forbidden (`tenant_suspended`).
        """
        verified = self._tokens.verify(token)
        client = await self._streams.state(verified.tenant_id, verified.client_id, client_stream)
        if client is None or client.status != "active":
            raise Unauthenticated("token_invalid")
        of_token = access_token_id(verified.client_id, verified.jti)
        if await self._streams.state(verified.tenant_id, of_token, a.rebuild) is not None:
            raise Unauthenticated("token_invalid")
        await check_served(self._streams, verified.tenant_id)
        return verified, client

    async def introspect(self, asking: OAuthClient, token: str) -> AccessToken | None:
        """What a token of the asking client's own tenant says; None for all that is not good.

        A token of another tenant is as good as none: nobody learns that it exists.
        """
        try:
            found, _ = await self.good(token)
        except (Unauthenticated, Forbidden):
            return None
        return found if found.tenant_id == asking.tenant_id else None

    async def revoke(self, asking: OAuthClient, token: str, correlation_id: UUID) -> None:
        """The token opens nothing from now on, if it is good and the asking client's own."""
        try:
            found, client = await self.good(token)
        except (Unauthenticated, Forbidden):
            return
        if client.id != asking.id:
            return
        caller = Caller(
            tenant_id=client.tenant_id,
            actor=client_actor(client.id),
            correlation_id=correlation_id,
        )
        await execute(
            self._log,
            caller.origin(self._ids.uuid()),
            client.tenant_id,
            access_token_id(client.id, found.jti),
            a.rebuild,
            lambda past: a.revoke(past, client_id=client.id, expires_at=found.expires_at),
        )
