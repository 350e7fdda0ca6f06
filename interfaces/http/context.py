"""What a product is to be told besides, as a caller may write it: 4 KiB and four levels."""

from typing import Any, Final, cast

import msgspec

from domain.errors import Malformed

CONTEXT_BYTES_MAX: Final = 4096
CONTEXT_DEPTH_MAX: Final = 4


def bounded(context: dict[str, Any]) -> dict[str, Any]:
    """The context as it is. Raises Malformed (`context_too_large`, `context_too_deep`)."""
    if len(msgspec.json.encode(context)) > CONTEXT_BYTES_MAX:
        raise Malformed("context_too_large", "at most 4 KiB")
    if _depth(context) > CONTEXT_DEPTH_MAX:
        raise Malformed("context_too_deep", "at most four levels")
    return context


def _depth(value: object) -> int:
    if isinstance(value, dict):
        members = cast("dict[str, object]", value)
        return 1 + max((_depth(member) for member in members.values()), default=0)
    if isinstance(value, list):
        return 1 + max((_depth(item) for item in cast("list[object]", value)), default=0)
    return 0
