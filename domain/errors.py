"""Every way the domain says no.

    Refusal
    ├── Malformed          the words cannot be read                                  400
    ├── Invalid            the words are well formed but make no sense together      422
    ├── Unauthenticated    we do not know who is asking                              401
    ├── Forbidden          the caller may not, whatever the state                    403
    ├── NotFound           no such thing here, or not yours: the two look the same   404
    ├── Conflict           the state of the thing forbids it                         409
    ├── Gone               it was there and has run out                              410
    ├── PreconditionFailed the caller looked at an older version                     412
    ├── TooMany            a budget is used up                                       429
    └── Unavailable        something we depend on did not answer                     503

A refusal is raised before any event is built. What the world answered, and what matters
later, is an event and not a refusal. `code` is stable: it is the `code` on the wire.
"""

from collections.abc import Mapping
from typing import ClassVar


class Refusal(Exception):
    """A named, stable reason why a command was not carried out."""

    status: ClassVar[int] = 400

    def __init__(
        self,
        code: str,
        detail: str | None = None,
        *,
        retry_after_s: int | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        self.code = code
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.extra: Mapping[str, object] = extra or {}
        super().__init__(code)


class Malformed(Refusal):
    """Some part of the request is not what it claims to be: a key, a CSR, a cursor."""

    status = 400


class Invalid(Refusal):
    """The request is well formed JSON of the right shape, and still wrong."""

    status = 422


class Unauthenticated(Refusal):
    """We do not know who is asking."""

    status = 401


class Forbidden(Refusal):
    """We know who is asking, and the answer is no."""

    status = 403


class NotFound(Refusal):
    """No such thing in this tenant. The same answer for another tenant's thing."""

    status = 404


class Conflict(Refusal):
    """The state of the thing forbids it."""

    status = 409


class Gone(Refusal):
    """It existed and has run out."""

    status = 410


class PreconditionFailed(Refusal):
    """`If-Match` names a version that is no longer the current one (RFC 9110 §13.1.1)."""

    status = 412


class TooMany(Refusal):
    """A budget is used up; `retry_after_s` says when to come back."""

    status = 429


class Unavailable(Refusal):
    """Something that we depend on did not answer; trying again with the same key is safe."""

    status = 503
