"""The one spelling of a JSON value (RFC 8785, JCS), so that a hash of it means something."""

from typing import Any

import rfc8785

from domain.errors import Invalid


class JcsCanonicalJSON:
    """Implements `application.ports.CanonicalJSON` with the rfc8785 library (all its errors, and
    those of encoding lone surrogates, are ValueErrors)."""

    def canonical(self, value: Any) -> bytes:
        """UTF-8 bytes with sorted members and ECMAScript numbers.

        Raises Invalid (`context_not_canonical`) for NaN and the infinities, integers beyond
        2^53 - 1, lone surrogates, what JSON has no word for, and nesting without end.
        """
        try:
            return rfc8785.dumps(value)
        except (ValueError, RecursionError) as error:
            raise Invalid("context_not_canonical", str(error)) from error
