"""Accounts that people have elsewhere: whose they are here, by a claim that no other person has.

The provider's name of an account is personal, so the claim's stream is made of a keyed digest of
it, another one in every tenant.
"""

from application.identifiers import Claims
from application.ports import Digests, EventLog
from application.ports.id_tokens import IdToken, IdTokens, NoncePurpose, SignInNonces
from domain import claim as k
from domain import tenant as t
from domain.errors import Unauthenticated
from domain.ids import ClaimId, TenantId, UserId, claim_id
from domain.user import Provider


class Accounts:
    def __init__(
        self, log: EventLog, id_tokens: IdTokens, nonces: SignInNonces, digests: Digests
    ) -> None:
        self._log = log
        self._id_tokens = id_tokens
        self._nonces = nonces
        self._digests = digests

    def nonce(self, tenant_id: TenantId, purpose: NoncePurpose, asker: str) -> str:
        return self._nonces.issue(tenant_id, purpose, asker)

    async def prove(
        self,
        tenant: t.Tenant,
        provider: Provider,
        token: str,
        nonce: str,
        purpose: NoncePurpose,
        asker: str,
    ) -> IdToken:
        """Whose account it is. The nonce is spent last, by a token that is good in all else.

        Raises Unauthenticated (`id_token_invalid`), whatever is wrong, and Unavailable
        (`provider_unavailable`).
        """
        settings = tenant.settings
        ids = settings.google_client_ids if provider == "google" else settings.apple_client_ids
        proved = await self._id_tokens.verify(
            provider, token, audiences=frozenset(ids), nonce=nonce
        )
        if not await self._nonces.spend(nonce, tenant.id, purpose, asker):
            raise Unauthenticated("id_token_invalid", "ask for another nonce")
        return proved

    def claim(self, tenant_id: TenantId, proved: IdToken) -> ClaimId:
        """The stream that keeps this account one person's."""
        digest = self._digests.digest(proved.provider, f"{tenant_id}:{proved.subject}")
        return claim_id(tenant_id, proved.provider, digest)

    def claims(self, tenant_id: TenantId, proved: IdToken) -> Claims:
        return {proved.provider: self.claim(tenant_id, proved)}

    async def owner(self, tenant_id: TenantId, proved: IdToken) -> UserId | None:
        """Who comes in by this account."""
        claim = k.rebuild(await self._log.load(tenant_id, self.claim(tenant_id, proved)))
        return None if claim is None or claim.owner is None else UserId(claim.owner)
