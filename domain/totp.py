"""Time-based one-time codes, as every authenticator app makes them (RFC 6238, RFC 4226).

SHA-1, six digits and 30 seconds: the one choice that all apps agree on.
"""

import hashlib
import hmac
from datetime import datetime
from typing import Final

STEP_S: Final = 30
DIGITS: Final = 6
SECRET_BYTES: Final = 20
"""As long as the digest (RFC 4226 §4, R6)."""
WINDOW: Final = 1
"""Steps that a clock may be behind or ahead (RFC 6238 §5.2)."""


def code_at(secret: bytes, step: int) -> str:
    """The code of one step, with its leading zeros."""
    digest = hmac.digest(secret, step.to_bytes(8, "big"), hashlib.sha1)
    offset = digest[-1] & 0x0F
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFF_FFFF
    return f"{number % 10**DIGITS:0{DIGITS}}"


def step_of(moment: datetime) -> int:
    return int(moment.timestamp()) // STEP_S


def matching_step(secret: bytes, code: str, now: datetime) -> int | None:
    """The step whose code this is, of those around now; None when it is of none."""
    present = step_of(now)
    found: int | None = None
    for step in range(present - WINDOW, present + WINDOW + 1):
        if hmac.compare_digest(code_at(secret, step).encode(), code.encode()):
            found = step
    return found
