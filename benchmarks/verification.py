"""Verifying an export offline, against hashing the same bytes once."""

import hashlib
import shutil
import tempfile
import time
from pathlib import Path
from typing import Final
from uuid import UUID

from benchmarks.figures import Figure, Machine, Options, Run, figure
from domain.catalogue import EVENTS, UPCASTERS
from domain.ids import TenantId
from domain.transaction import TransactionDenied
from domain.transparency import leaf, merkle, tiles
from domain.transparency.checkpoint import Checkpoint
from domain.transparency.leaf import LoggedEvent
from domain.transparency.note import SignedNote, VerifierKey, sign_note
from domain.transparency.tiles import TILE_WIDTH, Tile, bundles_of, tile_path
from infrastructure.clock import SystemClock
from infrastructure.event_log.mapper import EventMapper
from infrastructure.ids import RandomIds
from infrastructure.log_export.directory import CHECKPOINT, ExportDirectory
from infrastructure.log_export.verification import Trust, verify
from infrastructure.transparency.ed25519 import NoteSigner

TENANT: Final = TenantId(UUID(int=7))
ORIGIN: Final = "bench.example/tenants/one"


def verification(options: Options) -> Figure:
    """A signed log of `--leaves` leaves on disk; the baseline is one SHA-256 over its bundles."""
    folder = Path(tempfile.mkdtemp(prefix="link-bench-"))
    try:
        directory = ExportDirectory(folder)
        trust = _write(directory, options.leaves)
        machine = Machine()
        runs: list[Run] = []
        bytes_hashed = 0
        for _ in range(options.rounds):
            began = time.perf_counter()
            bytes_hashed = _hashed_once(directory, options.leaves)
            between = time.perf_counter()
            verdict = verify(folder, trust)
            ended = time.perf_counter()
            assert verdict.ok, verdict.reason
            runs.append(Run(ours=ended - between, baseline=between - began))
        return figure(
            "verify",
            "seconds",
            runs,
            machine,
            {"leaves": options.leaves, "megabytes": round(bytes_hashed / 1e6, 1)},
        )
    finally:
        shutil.rmtree(folder)


def _hashed_once(directory: ExportDirectory, size: int) -> int:
    """One pass over the leaves, as `sha256sum` would make it; how many bytes there were."""
    found = hashlib.sha256()
    total = 0
    for tile in bundles_of(size):
        data = directory.tile(tile) or b""
        total += len(data)
        found.update(data)
    return total


def _write(directory: ExportDirectory, size: int) -> Trust:
    clock, mapper = SystemClock(), EventMapper(EVENTS, UPCASTERS)
    ids = RandomIds(clock)
    name, payload = mapper.encode(
        TransactionDenied(
            reason="product_denied",
            authorize_ms=41.07,
            decided_at=clock.now(),
            total_ms=93.11,
            text_commitment=43 * "x",
        )
    )
    edge: dict[int, bytes] = {}
    for bundle in bundles_of(size):
        start = bundle.index * TILE_WIDTH
        leaves = [
            leaf.encode(
                LoggedEvent(
                    position=2 * rank + 1,
                    recorded_at=clock.now(),
                    tenant_id=TENANT,
                    stream_id=ids.uuid(),
                    stream_version=4,
                    name=name,
                    actor="device:dev_0198c7a09e6c7b1f8d3e2a4b5c6d7e8f",
                    correlation_id=ids.uuid(),
                    command_id=ids.uuid(),
                    payload=payload,
                )
            )
            for rank in range(start, start + bundle.width)
        ]
        directory.write(tile_path(bundle), tiles.bundle(leaves))
        hashes = [merkle.leaf_hash(each) for each in leaves]
        edge, written = tiles.append(start, edge, hashes)
        for tile, data in written:
            _write_settled(directory, tile, data, size)
    rest = {(tile.level or 0, tile.index): edge[tile.level or 0] for tile in tiles.edge(size)}
    root = merkle.root(size, tiles.TileHashes(rest))
    signer = NoteSigner(bytes(32))
    key = VerifierKey(ORIGIN, signer.public_key)
    text = Checkpoint(origin=ORIGIN, size=size, root=root).body()
    note = SignedNote(text, (sign_note(text, key, signer.sign),))
    directory.write(CHECKPOINT, note.encode().encode())
    return Trust(log_key=key)


def _write_settled(directory: ExportDirectory, tile: Tile, data: bytes, size: int) -> None:
    """A tile as the whole log has it; what is still to grow is not written."""
    if tile.width == tiles.width_at(tile.level or 0, tile.index, size):
        directory.write(tile_path(tile), data)
