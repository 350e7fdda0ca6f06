"""The port through which a product is asked wrongly."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import msgspec

SignedAs = Literal["ours", "other_key", "unknown_kid", "alg_none", "alg_hs256", "access_token"]
"""How a probe's assertion is signed: as it should be, or in one of the ways that must not pass.

`other_key` bears our key id and somebody else's signature; `unknown_kid` somebody else's both;
`alg_hs256` is a MAC with our public key as its secret; `access_token` is one of our other tokens.
"""


class ProbeSigner(Protocol):
    def sign(self, claims: Mapping[str, Any], how: SignedAs) -> str: ...


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """One request to a product, whole."""

    method: Literal["GET", "POST"]
    url: str
    headers: Mapping[str, str]
    body: bytes


class ProbeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back, and after how long. `answer` is None for what is no JSON object."""

    status: int
    answer: Mapping[str, Any] | None
    took_s: float


class ProbeFailed(Exception):
    """No whole answer; `kind` is a short code of ours."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        super().__init__(kind)


class ProductProbes(Protocol):
    async def send(self, probe: Probe, deadline_s: float) -> ProbeAnswer:
        """Ask once, past no breaker, at an address that may be called. Raises ProbeFailed."""
        ...
