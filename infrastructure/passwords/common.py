"""The passwords that are tried first: a list that goes with the program, and asks nobody.

`common.txt.gz` holds 20,000 passwords, lower case, made by Royce Williams out of breaches
(gist.github.com/roycewilliams/226886fd01572964e1431ac8afc999ce), as Django 5.2 ships it (BSD).
"""

import gzip
from pathlib import Path
from typing import Final

LIST: Final = Path(__file__).parent / "common.txt.gz"


class CommonPasswords:
    """`BreachedPasswords` from the list, read once. Case does not make a password another one, nor
    does the same one written twice or with digits at its end."""

    def __init__(self, path: Path = LIST) -> None:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            self._known = frozenset(line.strip() for line in lines)

    async def has(self, password: str) -> bool:
        plain = password.lower()
        half = plain[: len(plain) // 2]
        if half and half * 2 == plain:
            plain = half
        return len(set(plain)) < 4 or bool({plain, plain.rstrip("0123456789!")} & self._known)
