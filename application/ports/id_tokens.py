"""ID tokens of providers that know a person: what one says, and what makes it good once."""

from collections.abc import Set
from typing import Literal, Protocol

import msgspec

from domain.ids import TenantId
from domain.user import Provider

NoncePurpose = Literal["sign_in", "link", "reauthenticate"]


class IdToken(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a verified ID token is about: `subject` is the provider's own name of the account.

    `email` is what the provider has verified, if the token says one. It is a hint and no identity.
    """

    provider: Provider
    subject: str
    email: str | None


class IdTokens(Protocol):
    async def verify(
        self, provider: Provider, token: str, *, audiences: Set[str], nonce: str
    ) -> IdToken:
        """Raises Unauthenticated (`id_token_invalid`), whatever is wrong, and Unavailable
        (`provider_unavailable`) while the provider's keys are not to be had."""
        ...


class SignInNonces(Protocol):
    """What an app has a provider put into an ID token, so that the token is good here and once."""

    def issue(self, tenant_id: TenantId, purpose: NoncePurpose, asker: str) -> str:
        """For an installation, or for a session; good for ten minutes."""
        ...

    async def spend(
        self, nonce: str, tenant_id: TenantId, purpose: NoncePurpose, asker: str
    ) -> bool:
        """Whether it was issued for this and to this asker, is not too old, and is spent for the
        first time; of many at once one is told so."""
        ...


NONCE_LIFETIME_S = 600
