"""Signs consent receipts, with keys of their own."""

from collections.abc import Mapping
from typing import Any, Final

from infrastructure.keys.signing_keys import SigningKeys

RECEIPT_TYP: Final = "consent-receipt+jwt"


class JwtReceiptSigner:
    """`ReceiptSigner`. A receipt is no token: it has no audience and no end."""

    def __init__(self, keys: SigningKeys, issuer: str) -> None:
        self._keys = keys
        self._issuer = issuer

    def sign(self, claims: Mapping[str, Any]) -> str:
        return self._keys.current.sign(RECEIPT_TYP, {**claims, "iss": self._issuer})
