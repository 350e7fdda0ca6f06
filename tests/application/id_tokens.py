"""ID tokens that are read and not verified, and nonces that are spent in memory."""

from collections.abc import Set

from application.ports.id_tokens import IdToken
from domain.errors import Unauthenticated
from domain.user import Provider


class IdTokens:
    """A token is `provider subject audience nonce email`, the last of which may be `-`."""

    async def verify(
        self, provider: Provider, token: str, *, audiences: Set[str], nonce: str
    ) -> IdToken:
        by, subject, audience, said, email = token.split(" ")
        if by != provider or audience not in audiences or said != nonce:
            raise Unauthenticated("id_token_invalid")
        return IdToken(provider=provider, subject=subject, email=None if email == "-" else email)


class Shown:
    """`ShownOnce` in memory."""

    def __init__(self) -> None:
        self.seen: set[tuple[object, ...]] = set()

    async def first_time(self, *what: object, **until: object) -> bool:
        del until
        first = what not in self.seen
        self.seen.add(what)
        return first
