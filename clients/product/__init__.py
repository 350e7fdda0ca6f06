"""What a product needs to answer the platform's authorize calls safely (004 §10.4, §10.5).

    verifier = AssertionVerifier(jwks_url, issuer, [audience], seen=SeenAssertions(database))
    request = verifier.verify(bearer, body, actions={"pay"})
    answer = answers.once(request, decide)

    request = verifier.verify(bearer, body, actions={"void"})    # at the void endpoint
    status = answers.void(request, undo)

    request = verifier.verify(bearer, body, actions={"advice"})  # at the advice endpoint
    status = answers.advise(request, record)

It imports nothing of the platform: PyJWT, msgspec, rfc8785 and the standard library's SQLite.
"""

from clients.product.assertions import (
    AssertionRefused,
    AssertionVerifier,
    AuthorizeRequest,
    KeysUnavailable,
)
from clients.product.database import Database
from clients.product.idempotency import (
    AdviceStatus,
    Answers,
    KeyReused,
    Remembered,
    VoidStatus,
)
from clients.product.replay import SeenAssertions, StoreFull

__all__ = [
    "AdviceStatus",
    "Answers",
    "AssertionRefused",
    "AssertionVerifier",
    "AuthorizeRequest",
    "Database",
    "KeyReused",
    "KeysUnavailable",
    "Remembered",
    "SeenAssertions",
    "StoreFull",
    "VoidStatus",
]
