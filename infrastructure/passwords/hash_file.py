"""Passwords of breaches in a file of their SHA-1 digests, for a platform that asks nobody.

One digest a line in hexadecimal, in ascending order, whatever follows after a colon: as Have I Been
Pwned gives the whole list out, ordered by hash.
"""

import asyncio
import mmap
import re
from pathlib import Path
from typing import Final

from infrastructure.passwords.ranges import sha1

SAMPLES: Final = 64
"""Lines that are looked at before a file is taken for one in order."""
_DIGEST: Final = re.compile(rb"([0-9A-Fa-f]{40})(?::[0-9]*)?[ \t]*\r?")


class NotAHashFile(Exception):
    """What is wrong with it."""


class HashFile:
    """`BreachedPasswords`. The file is mapped and never read whole; close with `close`.

    Raises NotAHashFile, for a file that cannot be read too.
    """

    def __init__(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise NotAHashFile(f"{path} cannot be read, or is empty") from error
        size = len(self._bytes)
        sampled = [self._digest_at(size * each // SAMPLES) for each in range(SAMPLES)]
        digests = [each for each in sampled if each is not None]
        if digests != sorted(digests):
            raise NotAHashFile(f"the digests in {path} are not in ascending order")

    async def has(self, password: str) -> bool:
        # A page that is not in memory is read from the disk.
        return await asyncio.to_thread(self._has, sha1(password).encode())

    def close(self) -> None:
        self._bytes.close()

    def _has(self, wanted: bytes) -> bool:
        """By halves, over the bytes in which a line that could be it begins."""
        low, high = 0, len(self._bytes)
        while low < high:
            middle = (low + high) // 2
            found = self._digest_at(middle)
            if found is None or found > wanted:
                high = middle
            elif found < wanted:
                low = middle + 1
            else:
                return True
        return False

    def _digest_at(self, offset: int) -> bytes | None:
        """The digest of the first line that begins at or after `offset`, None after the last.

        Raises NotAHashFile for a line of another form.
        """
        begin = 0 if offset == 0 else self._bytes.find(b"\n", offset - 1) + 1
        if (offset > 0 and begin == 0) or begin >= len(self._bytes):
            return None
        end = self._bytes.find(b"\n", begin)
        line = self._bytes[begin : end if end >= 0 else len(self._bytes)]
        read = _DIGEST.fullmatch(line)
        if read is None:
            raise NotAHashFile("a line is no SHA-1 digest in hexadecimal")
        return read[1].upper()
