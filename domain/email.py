"""E-mail addresses in the one form that is compared and kept.

Lower case throughout: no mail system in use tells people apart by the case of their letters.
Addresses beyond ASCII (RFC 6531) are refused: nothing here could deliver a code to them.
"""

import re
from typing import Final

from domain.errors import Invalid

LENGTH_MAX: Final = 254

_LOCAL: Final = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
_LABEL: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_ADDRESS: Final = re.compile(rf"(?=.{{1,64}}@){_LOCAL}@({_LABEL}\.)+{_LABEL}")


def normalised(text: str) -> str:
    """The address, for one that could be reached (RFC 5321 §4.1.2). Raises Invalid
    (`email_invalid`)."""
    address = text.strip().lower()
    if len(address) > LENGTH_MAX or _ADDRESS.fullmatch(address) is None:
        raise Invalid("email_invalid", "an address such as sara@example.com")
    return address
