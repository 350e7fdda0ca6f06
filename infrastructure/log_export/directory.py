"""What lies where in an export: the paths of C2SP tlog-tiles, and a few files beside them.

checkpoint               the signed tree head that the files below belong to
checkpoints/<size>       earlier ones that were exported into the same directory
tile/<level>/<index>     hashes; tile/entries/<index> the leaves
log.vkey                 origin and verifier key as the log states them; not to be relied on
events.json              the names and versions of events, and the shape of their data
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from domain.transparency.tiles import Tile, tile_path

CHECKPOINT: Final = "checkpoint"
CHECKPOINTS: Final = "checkpoints"
TILES: Final = "tile"
VERIFIER_KEY: Final = "log.vkey"
EVENT_SCHEMAS: Final = "events.json"


class NotAnExport(Exception):
    """There is no such directory, or it cannot be read."""


class ExportDirectory:
    """Reads and writes the files of one log. What is not there reads as None."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def check_there(self) -> None:
        """Raises NotAnExport."""
        if not self.root.is_dir():
            raise NotAnExport(f"{self.root} is not a directory")

    def read(self, path: str) -> bytes | None:
        try:
            return (self.root / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def tile(self, tile: Tile) -> bytes | None:
        return self.read(tile_path(tile))

    def has(self, tile: Tile) -> bool:
        return (self.root / tile_path(tile)).is_file()

    def write(self, path: str, data: bytes) -> None:
        with self.writing(path) as file:
            file.write(data)

    @contextmanager
    def writing(self, path: str) -> Generator[BinaryIO]:
        """A file that is there whole at the end of the block, or not at all."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f".{target.name}.new")
        with fresh.open("wb") as file:
            yield file
        fresh.replace(target)

    def remove(self, path: str) -> None:
        (self.root / path).unlink(missing_ok=True)

    def below(self, folder: str) -> Iterator[str]:
        """The paths of all files below a folder, in order, as strings with slashes."""
        found = (path for path in (self.root / folder).rglob("*") if not path.is_dir())
        yield from sorted(path.relative_to(self.root).as_posix() for path in found)
