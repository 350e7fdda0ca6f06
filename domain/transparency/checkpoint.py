"""What a log says of itself: which log, how many leaves, which root (C2SP tlog-checkpoint)."""

import base64
import binascii
import re

import msgspec

from domain.transparency.merkle import HASH_BYTES, SIZE_MAX

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


class CheckpointMalformed(Exception):
    """The text is not the body of a checkpoint."""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One tree of one log. `extensions` are further lines, which we write none of."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def body(self) -> str:
        """The text that is signed, with its last newline."""
        lines = [self.origin, str(self.size), base64.b64encode(self.root).decode()]
        return "".join(f"{line}\n" for line in (*lines, *self.extensions))


def read_checkpoint(body: str) -> Checkpoint:
    """Raises CheckpointMalformed, for any other spelling of the same facts too."""
    if not body.endswith("\n"):
        raise CheckpointMalformed("a checkpoint ends with a newline")
    lines = body[:-1].split("\n")
    if len(lines) < 3 or not all(lines):
        raise CheckpointMalformed("a checkpoint has an origin, a size and a root, a line each")
    origin, size_line, root_line, *extensions = lines
    size = read_decimal(size_line)
    found = read_hash(root_line)
    if size is None or found is None:
        raise CheckpointMalformed("the size is a decimal number, the root base64 of 32 bytes")
    return Checkpoint(origin=origin, size=size, root=found, extensions=tuple(extensions))


def read_decimal(text: str) -> int | None:
    """A number from 0 to 2^63 - 1 without leading zeroes, or None."""
    if _DECIMAL.fullmatch(text) is None or int(text) > SIZE_MAX:
        return None
    return int(text)


def read_hash(text: str) -> bytes | None:
    """The 32 bytes of a base64 line (RFC 4648 §4, the one spelling), or None."""
    data = read_base64(text)
    return data if data is not None and len(data) == HASH_BYTES else None


def read_base64(text: str) -> bytes | None:
    """The bytes of standard base64 in the one spelling that an encoder writes, or None."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if base64.b64encode(data).decode() == text else None
