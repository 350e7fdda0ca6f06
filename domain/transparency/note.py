"""Signed notes (C2SP signed-note): a text, a blank line, and a line for each signature.

Who signs and who verifies is given as a function: this room knows no cryptography but hashes.
"""

import base64
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Final, Literal

import msgspec

from domain.transparency.checkpoint import read_base64

ED25519: Final = 0x01
COSIGNATURE_V1: Final = 0x04
KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
NOTE_CHARACTERS_MAX: Final = 65_536
SIGNATURES_MAX: Final = 64

_DASH: Final = "\N{EM DASH} "

Algorithm = Literal[0x01, 0x04]
_ALGORITHMS: Final[dict[int, Algorithm]] = {ED25519: ED25519, COSIGNATURE_V1: COSIGNATURE_V1}

Ed25519Sign = Callable[[bytes], bytes]
Ed25519Verify = Callable[[bytes, bytes, bytes], bool]
"""Public key, message, signature: whether it holds."""


class NoteMalformed(Exception):
    """The text is not a signed note, or the line not a signature or a verifier key."""


class NoteUnverified(Exception):
    """No known key signed the note, or one did not that says it did."""


class Signature(msgspec.Struct, frozen=True):
    """One line: the key's name, its id (four bytes), and what it signed."""

    name: str
    key_id: bytes
    signature: bytes

    def line(self) -> str:
        """With its newline."""
        return f"{_DASH}{self.name} {base64.b64encode(self.key_id + self.signature).decode()}\n"


class SignedNote(msgspec.Struct, frozen=True):
    """`text` is what was signed, with its last newline."""

    text: str
    signatures: tuple[Signature, ...]

    def encode(self) -> str:
        return f"{self.text}\n{''.join(signature.line() for signature in self.signatures)}"

    def by(self, key: "VerifierKey") -> Signature | None:
        """The first signature that says it is of this key."""
        for signature in self.signatures:
            if (signature.name, signature.key_id) == (key.name, key.key_id):
                return signature
        return None


class VerifierKey(msgspec.Struct, frozen=True):
    """A public key with the name that it signs under. `algorithm` 0x01 signs notes, 0x04 cosigns
    checkpoints."""

    name: str
    public_key: bytes
    algorithm: Algorithm = ED25519

    @property
    def key_id(self) -> bytes:
        """What tells this key's signatures from others of the name."""
        said = self.name.encode() + b"\n" + bytes([self.algorithm]) + self.public_key
        return sha256(said).digest()[:4]

    def vkey(self) -> str:
        """`name+0123abcd+base64`, the form in which verifiers are configured."""
        material = base64.b64encode(bytes([self.algorithm]) + self.public_key).decode()
        return f"{self.name}+{self.key_id.hex()}+{material}"


def read_vkey(text: str) -> VerifierKey:
    """Raises NoteMalformed, also when the id is not that of the name and the key."""
    name, _, rest = text.partition("+")
    key_id, _, material = rest.partition("+")
    data = read_base64(material)
    if not is_key_name(name) or data is None or len(data) != 1 + KEY_BYTES:
        raise NoteMalformed("not a verifier key: name+id+base64")
    algorithm = _ALGORITHMS.get(data[0])
    if algorithm is None:
        raise NoteMalformed(f"signature type {data[0]:#04x} is not supported")
    key = VerifierKey(name, data[1:], algorithm)
    if key.key_id.hex() != key_id:
        raise NoteMalformed("the id is not that of this name and key")
    return key


def is_key_name(name: str) -> bool:
    """Not empty, and without spaces, control characters and plus signs."""
    return bool(name) and name.isprintable() and "+" not in name and name.split() == [name]


def read_note(text: str) -> SignedNote:
    """Raises NoteMalformed. Whether the signatures hold is not looked at."""
    if len(text) > NOTE_CHARACTERS_MAX:
        raise NoteMalformed("the note is too long")
    if any(character < " " and character != "\n" for character in text):
        raise NoteMalformed("a note has no control characters")
    body, blank, lines = text.rpartition("\n\n")
    if not blank or not lines.endswith("\n"):
        raise NoteMalformed("a text, a blank line, and signatures")
    signatures = read_signatures(lines)
    return SignedNote(f"{body}\n", signatures)


def read_signatures(lines: str) -> tuple[Signature, ...]:
    """Signature lines, at least one, each with its newline. Raises NoteMalformed."""
    if not lines.endswith("\n"):
        raise NoteMalformed("a signature line ends with a newline")
    signatures = tuple(_read_signature(line) for line in lines[:-1].split("\n"))
    if len(signatures) > SIGNATURES_MAX:
        raise NoteMalformed("too many signatures")
    return signatures


def sign_note(text: str, key: VerifierKey, sign: Ed25519Sign) -> Signature:
    """A signature of type 0x01. Raises ValueError for a text that cannot be a note's."""
    if key.algorithm != ED25519 or not text.endswith("\n"):
        raise ValueError("a note ends with a newline and is signed by a key of type 0x01")
    return Signature(key.name, key.key_id, sign(text.encode()))


def cosign(text: str, key: VerifierKey, at: int, sign: Ed25519Sign) -> Signature:
    """A cosignature/v1 over a checkpoint's body: `at` is POSIX seconds (C2SP tlog-cosignature)."""
    if key.algorithm != COSIGNATURE_V1:
        raise ValueError("a witness cosigns with a key of type 0x04")
    return Signature(
        key.name, key.key_id, at.to_bytes(8, "big") + sign(_cosigned_message(text, at))
    )


def verify_note(
    note: SignedNote, keys: Iterable[VerifierKey], verify: Ed25519Verify
) -> Sequence[VerifierKey]:
    """Which of these keys signed, each once. Lines of unknown keys are passed over.

    Raises NoteUnverified when none did, or when a line of a known key does not hold.
    """
    known = {(key.name, key.key_id): key for key in keys}
    found: list[VerifierKey] = []
    for signature in note.signatures:
        key = known.get((signature.name, signature.key_id))
        if key is None or key in found:
            continue
        if not _holds(note.text, key, signature.signature, verify):
            raise NoteUnverified(f"a signature of {key.name} does not hold")
        found.append(key)
    if not found:
        raise NoteUnverified("no known key signed this")
    return found


def cosigned_at(signature: Signature) -> int:
    """When the witness says that it cosigned, in POSIX seconds."""
    return int.from_bytes(signature.signature[:8], "big")


def _holds(text: str, key: VerifierKey, signature: bytes, verify: Ed25519Verify) -> bool:
    if key.algorithm == ED25519:
        return len(signature) == SIGNATURE_BYTES and verify(
            key.public_key, text.encode(), signature
        )
    if len(signature) != 8 + SIGNATURE_BYTES:
        return False
    message = _cosigned_message(text, int.from_bytes(signature[:8], "big"))
    return verify(key.public_key, message, signature[8:])


def _cosigned_message(text: str, at: int) -> bytes:
    return f"cosignature/v1\ntime {at}\n{text}".encode()


def _read_signature(line: str) -> Signature:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    data = read_base64(encoded)
    if not line.startswith(_DASH) or not is_key_name(name) or data is None or len(data) < 5:
        raise NoteMalformed("not a signature line")
    return Signature(name, data[:4], data[4:])
