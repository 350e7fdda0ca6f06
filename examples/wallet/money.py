"""Amounts as they travel (decimal text) and as they are counted (whole minor units)."""

import re
from typing import Any, Final

import msgspec

MINOR_DIGITS: Final = {"SAR": 2, "AED": 2, "EUR": 2, "USD": 2, "KWD": 3, "BHD": 3, "JPY": 0}
_AMOUNT = re.compile(r"(0|[1-9][0-9]{0,11})(?:\.([0-9]{1,3}))?")


class MoneyInvalid(ValueError):
    """Not an amount of a currency that the wallet knows."""


class Money(msgspec.Struct, frozen=True):
    """An amount in minor units of a currency (ISO 4217)."""

    minor: int
    currency: str

    def __str__(self) -> str:
        digits = MINOR_DIGITS[self.currency]
        whole, part = divmod(self.minor, 10**digits)
        return f"{self.currency} {whole}" + (f".{part:0{digits}d}" if digits else "")


def read_money(amount: Any, currency: Any) -> Money:
    """From decimal text such as `"50.00"`; a JSON number is refused, since it may be a binary
    fraction. Raises MoneyInvalid."""
    if not isinstance(currency, str) or currency not in MINOR_DIGITS:
        raise MoneyInvalid("the currency is not one that we know")
    found = _AMOUNT.fullmatch(amount) if isinstance(amount, str) else None
    if found is None:
        raise MoneyInvalid("the amount is not decimal text")
    part = found[2] or ""
    digits = MINOR_DIGITS[currency]
    if len(part) > digits:
        raise MoneyInvalid(f"{currency} has {digits} decimal places")
    minor = int(found[1]) * 10**digits + int(part.ljust(digits, "0") or "0")
    return Money(minor, currency)
