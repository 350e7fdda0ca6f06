"""Exports of logs that never were in a database: signed, whole, and quick to make."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from domain.ids import TenantId
from domain.transparency import leaf, merkle
from domain.transparency.checkpoint import Checkpoint
from domain.transparency.leaf import LoggedEvent
from domain.transparency.note import SignedNote, VerifierKey, sign_note
from domain.transparency.tiles import append, bundle, bundles_of, tile_path
from infrastructure.log_export.directory import CHECKPOINT, ExportDirectory
from infrastructure.log_export.verification import Trust
from infrastructure.transparency.ed25519 import NoteSigner

TENANT = TenantId(UUID("0198c7a0-9e6c-7b1f-8d3e-2a4b5c6d7e8f"))
ORIGIN = "link.example/tenants/ten_0198c7a09e6c7b1f8d3e2a4b5c6d7e8f"
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def event(rank: int, tenant: TenantId = TENANT) -> LoggedEvent:
    """Positions have gaps, as where other tenants stand in between."""
    return LoggedEvent(
        position=3 * rank + 7,
        recorded_at=NOON + timedelta(milliseconds=rank),
        tenant_id=tenant,
        stream_id=UUID(int=rank // 3 + 1),
        stream_version=rank % 3 + 1,
        name="device.revoked",
        actor="client:cli_1",
        correlation_id=UUID(int=rank),
        command_id=UUID(int=rank),
        payload=b'{"v":1,"data":{"reason":"lost %d"}}' % rank,
    )


def leaves_of(count: int, tenant: TenantId = TENANT) -> list[bytes]:
    return [leaf.encode(event(rank, tenant)) for rank in range(count)]


class Log:
    """A log with a key of its own."""

    def __init__(self, leaves: list[bytes], *, seed: bytes = b"\1" * 32, origin: str = ORIGIN):
        self.leaves = leaves
        self.signer = NoteSigner(seed)
        self.key = VerifierKey(origin, self.signer.public_key)
        self.trust = Trust(log_key=self.key)

    def checkpoint(self, size: int | None = None) -> str:
        known = self.leaves[: len(self.leaves) if size is None else size]
        root = merkle.fold([merkle.leaf_hash(each) for each in known])
        text = Checkpoint(origin=self.key.name, size=len(known), root=root).body()
        return SignedNote(text, (sign_note(text, self.key, self.signer.sign),)).encode()

    def write(self, root: Path) -> ExportDirectory:
        """The files of a whole export."""
        directory = ExportDirectory(root)
        root.mkdir(parents=True, exist_ok=True)
        hashes = [merkle.leaf_hash(each) for each in self.leaves]
        for tile, data in append(0, {}, hashes)[1]:
            directory.write(tile_path(tile), data)
        for tile in bundles_of(len(self.leaves)):
            start = tile.index * 256
            directory.write(tile_path(tile), bundle(self.leaves[start : start + tile.width]))
        directory.write(CHECKPOINT, self.checkpoint().encode())
        return directory
