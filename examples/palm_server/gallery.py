"""The enrolled palms: searched one against all in memory, kept one file per palm on disk.

A palm is on disk (written beside, flushed, renamed) before it is acknowledged, so that a
server that is killed and started again knows everybody whom it said it knew. Palms are held
per group, the part of a user id before its last dot: a search within one group never touches
another group's palms.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal
from uuid import uuid4

import msgspec
import numpy as np

from examples.palm_server.features import COARSE_SIZE, FINE_SIZE, Features, Floats

Hand = Literal["left", "right", "unknown"]
Scores = tuple[float, float, float, float]

REPORT_FLOOR: Final = 0.35
"""Palms whose mean score is lower are not reported: above what strangers reach (see measure)."""

_SAME_PALM: Final = 0.5
_SHORTLIST: Final = 16
_SUFFIX: Final = ".palm"


class GalleryCorrupt(Exception):
    """A file of the gallery does not hold what was written to it."""


class UserIdTaken(Exception):
    """Another palm is enrolled under this user id."""


class Found(msgspec.Struct, frozen=True):
    """One enrolled palm that resembles the probe, with its four scores between 0 and 1."""

    user_id: str
    hand: Hand
    scores: Scores

    @property
    def mean(self) -> float:
        return sum(self.scores) / len(self.scores)


class _Record(msgspec.Struct, frozen=True):
    """The file of one palm. `vectors` are the four vectors in half precision, concatenated."""

    version: Literal[1]
    user_id: str
    hand: Hand
    palm_id: str
    vectors: bytes
    sha256: bytes


class _Group:
    """The palms of one group as four matrices with one row per palm."""

    def __init__(self) -> None:
        self.records: list[_Record] = []
        self.row_of: dict[str, int] = {}
        self._matrices: list[Floats] = [
            np.empty((0, size), np.float32)
            for size in (COARSE_SIZE, COARSE_SIZE, FINE_SIZE, FINE_SIZE)
        ]

    def put(self, record: _Record) -> None:
        row = len(self.records)
        capacity = len(self._matrices[0])
        if row == capacity:
            room = max(16, capacity)
            self._matrices = [np.pad(matrix, ((0, room), (0, 0))) for matrix in self._matrices]
        for matrix, vector in zip(self._matrices, _vectors(record), strict=True):
            matrix[row] = vector
        self.records.append(record)
        self.row_of[record.user_id] = row

    def drop(self, user_id: str) -> None:
        """The last row takes the place of the one that goes."""
        row, last = self.row_of.pop(user_id), len(self.records) - 1
        moved = self.records.pop()
        if row != last:
            self.records[row] = moved
            self.row_of[moved.user_id] = row
            for matrix in self._matrices:
                matrix[row] = matrix[last]

    def search(self, probe: Features, hand: Hand | None) -> Iterator[Found]:
        """The likeliest palms: a coarse look at all of them, a fine one at the best."""
        count = len(self.records)
        prints, veins, fine_prints, fine_veins = (matrix[:count] for matrix in self._matrices)
        device_print, device_vein = prints @ probe.coarse_print, veins @ probe.coarse_vein
        rank = device_print + device_vein
        if hand is not None:
            of_hand = np.array([record.hand in (hand, "unknown") for record in self.records])
            rank = np.where(of_hand, rank, -np.inf)
        likeliest = (int(row) for row in np.argsort(-rank)[:_SHORTLIST])
        rows = [row for row in likeliest if rank[row] > -np.inf]
        server_print = fine_prints[rows] @ probe.fine_print.T
        server_vein = fine_veins[rows] @ probe.fine_vein.T
        for place, row in enumerate(rows):
            record = self.records[row]
            shift = int(np.argmax(server_print[place] + server_vein[place]))
            yield Found(
                user_id=record.user_id,
                hand=record.hand,
                scores=(
                    _score(float(device_print[row])),
                    _score(float(device_vein[row])),
                    _score(float(server_print[place, shift])),
                    _score(float(server_vein[place, shift])),
                ),
            )


class Gallery:
    """Every enrolled palm of one directory. One process at a time may have it open."""

    def __init__(self, directory: Path) -> None:
        """Load everything. Raises GalleryCorrupt when a file does not hold what was written."""
        self._directory = directory
        self._groups: dict[str, _Group] = {}
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for leftover in directory.glob(f"*{_SUFFIX}.new"):
            leftover.unlink()
        for path in sorted(directory.glob(f"*{_SUFFIX}")):
            record = _read(path)
            self._groups.setdefault(_group(record.user_id), _Group()).put(record)

    def __len__(self) -> int:
        return sum(len(group.records) for group in self._groups.values())

    def add(self, user_id: str, hand: Hand, features: Features) -> str:
        """Enrol durably and return the palm's id; the same palm again gets the same id.

        Raises UserIdTaken when another palm stands under the user id.
        """
        group = self._groups.setdefault(_group(user_id), _Group())
        if user_id in group.row_of:
            held = group.records[group.row_of[user_id]]
            if _resemblance(held, features) < _SAME_PALM:
                raise UserIdTaken
            return held.palm_id
        vectors = b"".join(
            vector.astype("<f2").tobytes()
            for vector in (
                features.coarse_print,
                features.coarse_vein,
                features.fine_print[0],
                features.fine_vein[0],
            )
        )
        digest = hashlib.sha256(user_id.encode() + vectors).digest()
        record = _Record(1, user_id, hand, uuid4().hex, vectors, digest)
        self._write(record)
        group.put(record)
        return record.palm_id

    def delete(self, user_id: str) -> bool:
        """Forget a palm durably; False when there was none."""
        group = self._groups.get(_group(user_id))
        if group is None or user_id not in group.row_of:
            return False
        self._path(user_id).unlink(missing_ok=True)
        _flush_directory(self._directory)
        group.drop(user_id)
        return True

    def search(
        self, probe: Features, *, group: str | None, hand: Hand | None, top_k: int
    ) -> list[Found]:
        """The palms most like the probe, best first; in one group, or in all when None."""
        if group is None:
            searched = list(self._groups.values())
        else:
            searched = [self._groups[group]] if group in self._groups else []
        found = [
            candidate
            for each in searched
            for candidate in each.search(probe, hand)
            if candidate.mean >= REPORT_FLOOR
        ]
        found.sort(key=lambda candidate: candidate.mean, reverse=True)
        return found[:top_k]

    def _path(self, user_id: str) -> Path:
        return self._directory / (hashlib.sha256(user_id.encode()).hexdigest() + _SUFFIX)

    def _write(self, record: _Record) -> None:
        path = self._path(record.user_id)
        beside = path.with_name(path.name + ".new")
        descriptor = os.open(beside, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.msgpack.encode(record))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        _flush_directory(self._directory)


def _group(user_id: str) -> str:
    return user_id.rpartition(".")[0]


def _score(cosine: float) -> float:
    return min(1.0, max(0.0, cosine))


def _vectors(record: _Record) -> list[Floats]:
    joined = np.frombuffer(record.vectors, "<f2").astype(np.float32)
    ends = np.cumsum([COARSE_SIZE, COARSE_SIZE, FINE_SIZE])
    return np.split(joined, ends.tolist())


def _resemblance(held: _Record, features: Features) -> float:
    """The mean of the four cosines between an enrolled palm and another to be enrolled."""
    mine = _vectors(held)
    other = (
        features.coarse_print,
        features.coarse_vein,
        features.fine_print[0],
        features.fine_vein[0],
    )
    return sum(float(a @ b) for a, b in zip(mine, other, strict=True)) / 4


def _read(path: Path) -> _Record:
    try:
        record = msgspec.msgpack.decode(path.read_bytes(), type=_Record)
    except msgspec.MsgspecError as error:
        raise GalleryCorrupt(f"{path.name}: {error}") from error
    expected = hashlib.sha256(record.user_id.encode() + record.vectors).digest()
    if record.sha256 != expected or len(record.vectors) != 4 * (COARSE_SIZE + FINE_SIZE):
        raise GalleryCorrupt(f"{path.name}: its digest does not fit its contents")
    return record


def _flush_directory(directory: Path) -> None:
    """Make a rename or an unlink durable, where the system lets a directory be opened."""
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
