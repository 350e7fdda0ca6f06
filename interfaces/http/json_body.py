"""Request bodies: one JSON object, read strictly, and refused with a reason.

What two parsers could understand in two ways is refused before anything else looks at it: a
member that stands twice, NaN, control characters (line ends too, outside of PEM), lone
surrogates, depths nobody needs.
"""

import json
import re
from collections.abc import Generator
from typing import Any, Final, Generic, TypeVar, cast

import msgspec
from litestar._openapi.schema_generation import SchemaCreator
from litestar.datastructures import Headers
from litestar.dto import AbstractDTO, DTOFieldDefinition
from litestar.dto._backend import DTOBackend
from litestar.exceptions import ClientException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.openapi.spec import Reference, Schema
from litestar.types import HTTPReceiveMessage, Receive
from litestar.typing import FieldDefinition

from domain.errors import Refusal

T = TypeVar("T", bound=msgspec.Struct)

DEPTH_MAX: Final = 16
VALUES_MAX: Final = 10_000
"""No route needs more members and items than that; reading millions would hold up everybody."""

STRINGS_MAX: Final = 500
"""In a body with more strings than that, the long ones are not looked for."""

LONG: Final = 8192
"""Longer strings are base64, and are decoded by whoever needs them."""

_UNWANTED: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_PEM: Final = re.compile(r"\s*-----BEGIN [A-Z ]+-----[\x20-\x7e\r\n]*")


class BodyRefused(Refusal):
    """The body is not what the route reads. 400 unless the code says otherwise."""

    status = 400


class UnsupportedMediaType(Refusal):
    status = 415


def read_json(body: bytes, shape: type[T]) -> T:
    """The body as `shape`.

    Raises BodyRefused: `invalid_json`, `duplicate_member`, `invalid_request`.
    """
    check_strictness(body)
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise BodyRefused("invalid_request", str(error)) from error
    except msgspec.DecodeError as error:
        raise BodyRefused("invalid_json", "not JSON in UTF-8") from error


def check_media_type(headers: Headers) -> None:
    """Raises UnsupportedMediaType."""
    check_content(headers.get("content-type", ""), encoded="content-encoding" in headers)


def check_content(media_type: str, *, encoded: bool) -> None:
    """What Content-Type says, and whether there is a Content-Encoding. Raises
    UnsupportedMediaType."""
    kind, _, parameters = media_type.partition(";")
    charset = parameters.strip().lower()
    if kind.strip().lower() != "application/json" or charset not in (
        "",
        "charset=utf-8",
        'charset="utf-8"',
    ):
        raise UnsupportedMediaType("unsupported_media_type", "send application/json in UTF-8")
    if encoded:
        raise UnsupportedMediaType("unsupported_media_type", "send it without Content-Encoding")


async def read_body(receive: Receive, announced: int, most: int) -> bytes:
    """The body, as Litestar reads it for a handler that has a `data`.

    Raises RequestEntityTooLarge for more than `most` bytes, before any of it is read where its
    length was `announced`, and BodyRefused (`invalid_request`) when there is none.
    """
    if announced > most:
        raise RequestEntityTooLarge
    pieces: list[bytes] = []
    size = 0
    while True:
        message = cast("HTTPReceiveMessage", await receive())
        if message["type"] == "http.disconnect":
            raise ClientException("the peer hung up")
        pieces.append(message["body"])
        size += len(message["body"])
        if size > most:
            raise RequestEntityTooLarge
        if not message["more_body"]:
            break
    if not size:
        raise BodyRefused("invalid_request", "a JSON object is wanted")
    return b"".join(pieces)


def check_strictness(body: bytes) -> None:
    """Refuse what another parser could take for something else. The shape is checked elsewhere."""
    skeleton = _without_long_strings(body)
    if skeleton.count(b",") >= VALUES_MAX:
        raise BodyRefused("invalid_request", "too many members")
    try:
        text = skeleton.decode("utf-8")
        value = _DECODER.decode(text)
    except RecursionError as error:
        raise BodyRefused("invalid_json", "nested too deeply") from error
    except ValueError as error:
        raise BodyRefused("invalid_json", "not JSON in UTF-8") from error
    if not isinstance(value, dict):
        raise BodyRefused("invalid_request", "a JSON object is wanted")
    if not _is_plain(text):
        _check_values(cast("dict[str, object]", value), DEPTH_MAX)


def _is_plain(text: str) -> bool:
    """Whether there is nothing for `_check_values` to find, as in nearly every body.

    In ASCII without escapes and DEL no string can hold an unwanted character: the decoder itself
    refuses those that stand in a string as they are. Depth needs that many brackets.
    """
    return (
        text.isascii()
        and "\\" not in text
        and "\x7f" not in text
        and text.count("{") + text.count("[") <= DEPTH_MAX
    )


def _without_long_strings(body: bytes) -> bytes:
    """The same JSON with every long string emptied: two images are most of what a till sends.

    Without a backslash every quote begins or ends a string, so this needs no parser. What stands
    in a long string is still read once, by msgspec, which knows UTF-8 and JSON's rules.
    """
    if len(body) <= LONG or b"\\" in body:
        return body
    kept: list[bytes] = []
    copied, begin = 0, body.find(b'"')
    for _ in range(STRINGS_MAX):
        if begin < 0:
            return b"".join((*kept, body[copied:]))
        end = body.find(b'"', begin + 1)
        if end < 0:
            return body
        if end - begin > LONG:
            kept.append(body[copied : begin + 1])
            copied = end
        begin = body.find(b'"', end + 1)
    return body


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise BodyRefused("duplicate_member", "a member stands twice in one object")
    return members


def _refuse_constant(name: str) -> None:
    raise BodyRefused("invalid_json", f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_refuse_constant)


def _check_values(value: object, depth: int) -> None:
    if isinstance(value, str):
        if len(value) <= LONG and _UNWANTED.search(value) and not _PEM.fullmatch(value):
            raise BodyRefused("invalid_request", "control characters are not allowed")
        return
    if not isinstance(value, dict | list):
        return
    if depth == 0:
        raise BodyRefused("invalid_json", "nested too deeply")
    if isinstance(value, dict):
        members = cast("dict[str, object]", value)
        for key, member in members.items():
            _check_values(key, 0)
            _check_values(member, depth - 1)
    else:
        for item in cast("list[object]", value):
            _check_values(item, depth - 1)


class StrictJSON(AbstractDTO[T], Generic[T]):
    """Litestar's hook for a handler's `data`, so that OpenAPI still knows the shape.

    Litestar's own reader lets `"5"` pass for 5 and keeps the last of two members; this one
    decodes by msgspec's strict rules and nothing else.
    """

    def decode_bytes(self, value: bytes) -> T:
        """Raises BodyRefused and UnsupportedMediaType."""
        check_media_type(self.asgi_connection.headers)
        return read_json(value, self.model_type)

    @classmethod
    def create_for_field_definition(
        cls,
        field_definition: FieldDefinition,
        handler_id: str,
        backend_cls: type[DTOBackend] | None = None,
    ) -> None:
        """No transfer model: the struct itself is what is read."""

    @classmethod
    def create_openapi_schema(
        cls, field_definition: FieldDefinition, handler_id: str, schema_creator: SchemaCreator
    ) -> Reference | Schema:
        del handler_id
        return schema_creator.for_field_definition(field_definition)

    @classmethod
    def generate_field_definitions(
        cls, model_type: type[Any]
    ) -> Generator[DTOFieldDefinition, None, None]:
        del model_type
        yield from ()

    @classmethod
    def detect_nested_field(cls, field_definition: FieldDefinition) -> bool:
        del field_definition
        return False
