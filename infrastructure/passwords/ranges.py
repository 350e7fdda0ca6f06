"""Passwords of breaches at a service that does not learn which one is asked about (k-anonymity).

The form is that of Have I Been Pwned's range API: the first five hexadecimal digits of the
password's SHA-1 go out, and what comes back are lines `REST:COUNT` of all digests that begin so.
Lines of count 0 are padding, which hides how many there are from who sees the size of answers.
"""

import hashlib
import re
from collections.abc import Callable
from typing import Final, Literal

import structlog

from infrastructure.outbound.client import OutboundClient, OutboundFailed

Outcome = Literal["found", "not_found", "failed"]

PREFIX_DIGITS: Final = 5
DEADLINE_S: Final = 2.0
"""Somebody waits for it who sets a password."""
BYTES_MAX: Final = 512 * 1024
"""Of an answer of about a thousand lines of forty bytes."""
_HEADERS: Final = {"accept": "text/plain", "add-padding": "true", "user-agent": "link-identity"}
_LINE: Final = re.compile(rb"([0-9A-Fa-f]{35}):([0-9]{1,10})[ \t]*\r?")

_log = structlog.get_logger(__name__)


def sha1(password: str) -> str:
    """As breached passwords are published: it hides nothing, and is kept nowhere."""
    return hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest().upper()


class BreachRanges:
    """`BreachedPasswords`. While the service is away nothing is known there (fail-open), and
    `told` hears of it; the list that goes with the program is looked at all the same."""

    def __init__(
        self,
        url: str,
        outbound: OutboundClient,
        told: Callable[[Outcome], None],
        *,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._url = url
        self._outbound = outbound
        self._told = told
        self._deadline_s = deadline_s

    async def has(self, password: str) -> bool:
        digest = sha1(password)
        outcome = await self._look_up(digest[:PREFIX_DIGITS], digest[PREFIX_DIGITS:])
        self._told(outcome)
        return outcome == "found"

    async def _look_up(self, prefix: str, rest: str) -> Outcome:
        try:
            answer = await self._outbound.request(
                "GET",
                self._url + prefix,
                headers=_HEADERS,
                body=b"",
                deadline_s=self._deadline_s,
                max_bytes=BYTES_MAX,
            )
        except OutboundFailed as error:
            _log.warning("breach_lookup_failed", kind=error.kind)
            return "failed"
        if answer.status != 200:
            _log.warning("breach_lookup_failed", kind=f"status_{answer.status}")
            return "failed"
        return _found(answer.body, rest.encode())


def _found(body: bytes, rest: bytes) -> Outcome:
    """Whatever is not such a list, a page of a proxy perhaps, is no answer."""
    for line in body.split(b"\n"):
        if not line.strip():
            continue
        read = _LINE.fullmatch(line)
        if read is None:
            _log.warning("breach_lookup_failed", kind="not_a_range")
            return "failed"
        if read[1].upper() == rest and int(read[2]) > 0:
            return "found"
    return "not_found"
