"""The transparency log as its readers see it: files of a tree, and proofs about it."""

from typing import Protocol

import msgspec

from domain.ids import TenantId
from domain.transparency.tiles import Tile


class LogIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """What a verifier is configured with. `vkey` is C2SP's `name+id+base64`."""

    origin: str
    vkey: str
    witnesses: tuple[str, ...]
    witnesses_required: int


class SignedCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint as text. `final`: enough witnesses cosigned exactly this one."""

    size: int
    note: str
    final: bool


class TransparencyLogs(Protocol):
    """Each tenant's log under the tenant's id, the platform's own under `PLATFORM_LOG`.

    What is not there, not signed yet, or somebody else's is None everywhere, without difference.
    """

    def identity(self, log_id: TenantId) -> LogIdentity: ...

    async def checkpoint(self, log_id: TenantId, *, final: bool = False) -> SignedCheckpoint | None:
        """The last one signed, or the last one that is final."""
        ...

    async def tile(self, log_id: TenantId, tile: Tile) -> bytes | None:
        """A tile or an entry bundle of the signed tree."""
        ...

    async def leaf_index(self, log_id: TenantId, event_id: str) -> int | None:
        """Where an event stands or will stand, whether it is signed yet or not: `event_id` is its
        position, or `<stream>:<version>`."""
        ...

    async def proof(self, log_id: TenantId, index: int, *, final: bool = False) -> str | None:
        """The `tlog-proof@v1` of a leaf under the last checkpoint; None beyond its end."""
        ...

    async def consistency(self, log_id: TenantId, old: int, new: int) -> tuple[bytes, ...] | None:
        """That the tree of `old` leaves is a prefix of that of `new`, both signed."""
        ...
