"""Ways to spoil a good JSON body, drawn from its schema: what a strict reader must refuse."""

import copy
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast

import msgspec

Schema = dict[str, Any]
Path = tuple[str, ...]

JSON: Mapping[str, str] = MappingProxyType({"content-type": "application/json"})
SHAPE = "invalid_request"
SYNTAX = "invalid_json"


class Spoilt(msgspec.Struct, frozen=True):
    """A body that must be refused with this status and one of these codes."""

    name: str
    content: bytes
    status: int = 400
    codes: tuple[str, ...] = (SHAPE,)
    headers: Mapping[str, str] = JSON


def everything(
    body: dict[str, Any], schema: Schema, schemas: Schema, turn: int | None = None
) -> Iterator[Spoilt]:
    """Every attack; of those that one reader refuses for all routes only each third, from `turn`
    on, where one is given: three routes in a row then have had all of them."""
    of_any_body = (*of_no_shape(body), *of_another_type(body), *of_doubtful_text(body))
    yield from of_any_body if turn is None else of_any_body[turn % 3 :: 3]
    for path, place in places(schema, schemas, ()):
        if _reaches(body, path[:-1]):
            yield from of_one_member(body, path, place, schemas)
    for path in (*objects(schema, schemas, ()), ()):
        if _reaches(body, path):
            yield Spoilt(f"unknown member in {path}", _with(body, (*path, "surprise"), 1))


def of_no_shape(body: dict[str, Any]) -> Iterator[Spoilt]:
    good = json.dumps(body).encode()
    for text in (b"[]", b'"text"', b"null", b"5", b"true", b"[" + good + b"]"):
        yield Spoilt(f"top level {text[:6]!r}", text)
    for text in (b"", b" ", b"{", b"nul", good + b"x", good + good, good[:-1] + b",}", b"'a'"):
        codes = (SYNTAX,) if text else (SHAPE,)
        yield Spoilt(f"not JSON {text[:4]!r} {len(text)}", text, codes=codes)
    yield Spoilt("byte order mark", b"\xef\xbb\xbf" + good, codes=(SYNTAX,))
    yield Spoilt("UTF-16", good.decode().encode("utf-16"), codes=(SYNTAX,))
    yield Spoilt("deep lists", b'{"x":' + b"[" * 3000 + b"]" * 3000 + b"}", codes=(SYNTAX,))
    yield Spoilt("deep objects", b'{"x":' * 1200 + b"1" + b"}" * 1200, codes=(SYNTAX,))
    yield Spoilt("17 levels", b'{"x":' + b"[" * 16 + b"]" * 16 + b"}", codes=(SYNTAX,))
    name, value = next(iter(body.items()))
    plain, again = json.dumps(name).encode(), b":" + json.dumps(value).encode() + b","
    escaped = b'"\\u%04x' % ord(name[0]) + plain[2:]
    for spelled in (plain, escaped):
        twice = b"{" + spelled + again + good[1:]
        yield Spoilt(f"a member twice, as {spelled!r}", twice, codes=("duplicate_member",))
    yield Spoilt(
        "a member twice further down",
        b'{"x":[{"a":1,"a":1}],' + good[1:],
        codes=("duplicate_member",),
    )
    for number in ("NaN", "Infinity", "-Infinity", "01", "+1", ".5", "1.", "0x1", "9" * 5000):
        codes = (SYNTAX,)
        yield Spoilt(f"number {number[:9]}", b'{"x":%s,' % number.encode() + good[1:], codes=codes)
    for number in ("1e999", "-1e999", "9" * 400):
        yield Spoilt(f"number {number[:9]}", b'{"x":%s,' % number.encode() + good[1:])


def of_another_type(body: dict[str, Any]) -> Iterator[Spoilt]:
    good = json.dumps(body).encode()
    for given in (
        "text/plain",
        "application/xml",
        "application/jsonp",
        "application/problem+json",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-16",
        "application/json; charset=iso-8859-1",
        "application/json, text/plain",
        "json",
        "",
    ):
        yield Spoilt(
            f"type {given}", good, 415, ("unsupported_media_type",), {"content-type": given}
        )
    yield Spoilt("no type", good, 415, ("unsupported_media_type",), {})
    packed = {**JSON, "content-encoding": "gzip"}
    yield Spoilt("packed", good, 415, ("unsupported_media_type",), packed)


def of_doubtful_text(body: dict[str, Any]) -> Iterator[Spoilt]:
    for path, text in texts(body, ()):
        if "\n" in text:
            continue  # PEM is the one text with line ends, and its own reader judges it.
        for odd in ("\x00", "\x1b", "\x7f", "\x85", "\n", "\r", "\t"):
            yield Spoilt(f"{odd!r} in {path}", _with(body, path, text + odd))
        for odd in ("\\ud800", "\\udfff\\ud800"):
            content = _with(body, path, "@@").replace(b'"@@"', b'"%s"' % odd.encode())
            yield Spoilt(f"{odd} in {path}", content, codes=(SHAPE, SYNTAX))
        for raw in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\x00", b"\n"):
            content = _with(body, path, "@@").replace(b'"@@"', b'"' + raw + b'"')
            yield Spoilt(f"{raw!r} in {path}", content, codes=(SYNTAX,))


def of_one_member(
    body: dict[str, Any], path: Path, place: Schema, schemas: Schema
) -> Iterator[Spoilt]:
    where = ".".join(path)
    kinds = [resolved(choice, schemas) for choice in place.get("anyOf", [place])]
    named = {str(kind.get("type") or type(kind["enum"][0]).__name__) for kind in kinds}
    wrong: list[Any] = [[1], {"a": 1}, "5", 5, 1.5, True, None, 1e30, ""]
    for value in wrong:
        if not any(_fits(kind, value) for kind in kinds):
            yield Spoilt(f"{where} is {value!r} for {named}", _with(body, path, value))
    for kind in kinds:
        for value in _out_of_bounds(kind):
            yield Spoilt(f"{where} out of bounds {str(value)[:20]}", _with(body, path, value))


def places(schema: Schema, schemas: Schema, path: Path) -> Iterator[tuple[Path, Schema]]:
    """Every member that the schema knows, nested ones too."""
    found = resolved(schema, schemas)
    for name, place in found.get("properties", {}).items():
        yield (*path, name), place
        for choice in place.get("anyOf", [place]):
            yield from places(choice, schemas, (*path, name))


def objects(schema: Schema, schemas: Schema, path: Path) -> Iterator[Path]:
    """Every nested object that refuses members it does not know."""
    for inner, place in places(schema, schemas, path):
        for choice in place.get("anyOf", [place]):
            if resolved(choice, schemas).get("additionalProperties") is False:
                yield inner


def resolved(schema: Schema, schemas: Schema) -> Schema:
    reference = schema.get("$ref")
    return schema if reference is None else schemas[reference.rpartition("/")[2]]


def texts(value: object, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, member in cast("dict[str, object]", value).items():
            yield from texts(member, (*path, name))


def _fits(kind: Schema, value: Any) -> bool:
    """Whether the schema would take a value, as far as it matters here."""
    if "enum" in kind or "const" in kind:
        return bool(value in kind.get("enum", [kind.get("const")]))
    types: dict[str, Any] = {
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
        "array": list,
        "object": dict,
        "null": type(None),
    }
    wanted = types[kind["type"]]
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind["type"] != "boolean"):
        return False
    if isinstance(value, str):
        long_enough = bool(kind.get("minLength", 0) <= len(value))
        return long_enough and re.search(kind.get("pattern", ""), value) is not None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return bool(kind.get("minimum", value) <= value <= kind.get("maximum", value))
    return not isinstance(value, list) and "properties" not in kind


def _out_of_bounds(kind: Schema) -> Sequence[Any]:
    values: list[Any] = []
    if "maxLength" in kind and kind["maxLength"] < 20_000:
        values.append("a" * (kind["maxLength"] + 1))
    if kind.get("minLength"):
        values.append("a" * (kind["minLength"] - 1))
    if "pattern" in kind:
        odd = ["!" * 20, "\u0661" * 20, "a" * 4000]
        values += [text for text in odd if re.search(kind["pattern"], text) is None]
    if "maximum" in kind:
        values += [kind["maximum"] + 1, 2**64, 10**300]
    if "minimum" in kind:
        values += [kind["minimum"] - 1, -(2**70)]
    if "enum" in kind:
        values += ["no such word", str(kind["enum"][0]).upper()]
    if "maxItems" in kind:
        values.append(["redeem"] * (kind["maxItems"] + 1))
    return values


def _reaches(body: Any, path: Path) -> bool:
    inner: Any = body
    for name in path:
        if not isinstance(inner, dict) or name not in inner:
            return False
        inner = cast("dict[str, Any]", inner)[name]
    return isinstance(inner, dict)


def without(body: dict[str, Any], path: Path) -> bytes:
    spoilt = copy.deepcopy(body)
    inner: Any = spoilt
    for name in path[:-1]:
        inner = inner[name]
    inner.pop(path[-1], None)
    return json.dumps(spoilt).encode()


def _with(body: dict[str, Any], path: Path, value: Any) -> bytes:
    spoilt = copy.deepcopy(body)
    inner: Any = spoilt
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return json.dumps(spoilt).encode()
