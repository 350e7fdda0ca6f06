"""Reads JSON that others wrote, and refuses what two readers could understand in two ways."""

import json
from typing import Any, Final, cast


class NotAnObject(Exception):
    """Not one JSON object in UTF-8, or one in which a member stands twice or a number is NaN."""


def read_object(text: bytes) -> dict[str, Any]:
    """The members of a JSON object (RFC 8259, with the restrictions of I-JSON, RFC 7493 §2).

    Raises NotAnObject. Duplicate members are refused at every depth: of two spellings of
    `decision`, this reader and the product's own log could each believe another one.
    """
    try:
        value = _DECODER.decode(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise NotAnObject("not JSON in UTF-8") from error
    if not isinstance(value, dict):
        raise NotAnObject("JSON, but not an object")
    return cast(dict[str, Any], value)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise NotAnObject("a member stands twice")
    return members


def _refuse_constant(name: str) -> None:
    raise NotAnObject(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_refuse_constant)
