"""Reads variables out of an environment, and says everything that is wrong with them at once."""

import difflib
import json
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import msgspec

PREFIX: Final = "LINK_"
NAMED_BY_THE_SEED: Final = frozenset({"PLATFORM_ADMIN_EMAIL", "PLATFORM_ADMIN_INITIAL_PASSWORD"})
"""Variables that are ours all the same (003 §3.6)."""

Choice = TypeVar("Choice", bound=str)
_FLAGS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class SettingsInvalid(Exception):
    """What is wrong with the environment, one sentence for each variable."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


class Environment:
    """Typed access to the variables that begin with `LINK_`; an empty one counts as not set.

    Every problem is collected, and `finish` raises them together. A variable that nobody asked
    for is a problem too: a typo would otherwise leave a default in force, silently.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._given = {
            k: v
            for k, v in environ.items()
            if (k.startswith(PREFIX) or k in NAMED_BY_THE_SEED) and v.strip()
        }
        self._problems: list[str] = []
        self.known: dict[str, str | None] = {}
        """Every variable that was asked for, with its default as text."""

    def is_set(self, name: str) -> bool:
        """Whether the variable has a value of its own."""
        return name in self._given

    def text(
        self,
        name: str,
        default: str,
        *,
        wanted: str = "a text",
        check: Callable[[str], bool] = bool,
        secret: bool = False,
    ) -> str:
        """A text that `check` accepts; `wanted` says what that is."""
        found = self._read(name, default)
        if found is None:
            return default
        if not check(found):
            self.refuse(name, wanted, secret=secret)
        return found

    def optional(
        self,
        name: str,
        *,
        wanted: str = "a text",
        check: Callable[[str], bool] = bool,
        secret: bool = False,
    ) -> str | None:
        """As `text`, and None when it is not set."""
        if not self.is_set(name):
            self.known[name] = None
            return None
        return self.text(name, "", wanted=wanted, check=check, secret=secret)

    def integer(self, name: str, default: int, *, least: int, most: int) -> int:
        """A whole number between two bounds, both included."""
        found = self._read(name, str(default))
        if found is None:
            return default
        if not (found.isascii() and found.isdigit()) or not least <= int(found) <= most:
            self.refuse(name, f"a whole number from {least} to {most}")
            return default
        return int(found)

    def port(self, name: str, default: int) -> int:
        """A TCP port."""
        return self.integer(name, default, least=1, most=65535)

    def choice(self, name: str, default: Choice, choices: tuple[Choice, ...]) -> Choice:
        """One of a few words."""
        found = self._read(name, default)
        for word in choices:
            if found == word:
                return word
        if found is not None:
            self.refuse(name, f"one of {', '.join(choices)}")
        return default

    def flag(self, name: str, default: bool, *, default_text: str | None = None) -> bool:
        """Yes or no."""
        found = self._read(name, default_text or str(default).lower())
        if found is None:
            return default
        if found.lower() not in _FLAGS:
            self.refuse(name, "true or false")
        return _FLAGS.get(found.lower(), default)

    def entries(self, name: str, *, wanted: str, check: Callable[[str], bool]) -> tuple[str, ...]:
        """A list with commas between its entries; each is checked."""
        found = self._read(name, "")
        listed = tuple(entry.strip() for entry in (found or "").split(",") if entry.strip())
        if not all(check(entry) for entry in listed):
            self.refuse(name, wanted)
        return listed

    def mapping(self, name: str, *, wanted: str, secret: bool = False) -> dict[str, str]:
        """A JSON object of texts."""
        found = self._read(name, "{}")
        if found is None:
            return {}
        try:
            return msgspec.json.decode(found, type=dict[str, str])
        except msgspec.MsgspecError:
            self.refuse(name, wanted, secret=secret)
            return {}

    def refuse(self, name: str, wanted: str, *, secret: bool = False) -> None:
        """Note that a variable is wrong or missing. A secret's value is not repeated."""
        found = self._given.get(name)
        if found is None:
            self._problems.append(f"{name} is not set; wanted {wanted}.")
        elif secret:
            self._problems.append(f"{name} (its value is not shown) is wrong; wanted {wanted}.")
        else:
            self._problems.append(f"{name} is {json.dumps(found)}; wanted {wanted}.")

    def finish(self) -> None:
        """Raises SettingsInvalid when anything was wrong, or was given and never asked for."""
        for name in sorted(set(self._given) - set(self.known)):
            near = difflib.get_close_matches(name, self.known, n=1)
            meant = f"; did you mean {near[0]}?" if near else "; .env.example lists them all."
            self._problems.append(f"{name} is not a variable of ours{meant}")
        if self._problems:
            raise SettingsInvalid(self._problems)

    def _read(self, name: str, default: str) -> str | None:
        self.known[name] = default
        found = self._given.get(name)
        return None if found is None else found.strip()
