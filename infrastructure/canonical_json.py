"""The one spelling of a JSON value (RFC 8785, JCS), so that a hash of it means something."""

from collections.abc import Sequence
from typing import Any, Final, cast

import msgspec
import rfc8785

from domain.errors import Invalid

_LARGEST: Final = 2**53 - 1
_SORTED: Final = msgspec.json.Encoder(order="sorted")


class JcsCanonicalJSON:
    """Implements `application.ports.CanonicalJSON` with the rfc8785 library (all its errors, and
    those of encoding lone surrogates, are ValueErrors).

    The library is written in Python and takes longer over a till's context than everything else
    takes over its hashes. Where a value has one spelling to any encoder that sorts, msgspec writes
    it; that is nearly every context.
    """

    def canonical(self, value: Any) -> bytes:
        """UTF-8 bytes with sorted members and ECMAScript numbers.

        Raises Invalid (`context_not_canonical`) for NaN and the infinities, integers beyond
        2^53 - 1, lone surrogates, what JSON has no word for, and nesting without end.
        """
        try:
            return _SORTED.encode(value) if _is_plain(value) else rfc8785.dumps(value)
        except (ValueError, RecursionError) as error:
            raise Invalid("context_not_canonical", str(error)) from error


def _is_plain(value: object) -> bool:
    """Whether nothing in it needs the rules of JCS on fractions, escapes, or the order of names
    beyond ASCII. Raises RecursionError."""
    kind = type(value)
    if kind is str:
        text = cast(str, value)
        return text.isascii() and text.isprintable()
    if kind is int:
        return -_LARGEST <= cast(int, value) <= _LARGEST
    if kind is dict:
        members = cast("dict[object, object]", value)
        return all(type(name) is str and _is_plain(name) for name in members) and all(
            map(_is_plain, members.values())
        )
    if kind is list:
        return all(map(_is_plain, cast("Sequence[object]", value)))
    return value is None or kind is bool
