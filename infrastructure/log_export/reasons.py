"""Why an export is not what was signed."""

from typing import Final, Literal

Reason = Literal[
    "checkpoint_missing",
    "checkpoint_malformed",
    "signature_invalid",
    "leaf_missing",
    "leaf_changed",
    "leaf_malformed",
    "tile_missing",
    "tile_changed",
    "root_differs",
    "beyond_checkpoint",
    "earlier_checkpoint_differs",
    "rolled_back",
]

MEANINGS: Final[dict[Reason, str]] = {
    "checkpoint_missing": "there is no checkpoint in the export",
    "checkpoint_malformed": "the checkpoint is not a signed note",
    "signature_invalid": "the checkpoint is not signed by this key, or by too few witnesses",
    "leaf_missing": "a leaf is not there, or there are too many",
    "leaf_changed": "a leaf is not the one that was signed",
    "leaf_malformed": "a leaf is signed and yet no event of this log in its order",
    "tile_missing": "the leaves are those that were signed, but a tile of hashes is missing",
    "tile_changed": "the leaves are those that were signed, but a tile of hashes is not theirs",
    "root_differs": "the leaves make another tree than the one that was signed",
    "beyond_checkpoint": "there are files that a log of this size does not have",
    "earlier_checkpoint_differs": "an earlier checkpoint is of another log, or not signed",
    "rolled_back": "an earlier checkpoint was larger: leaves have been taken away",
}


class Refused(Exception):
    """The export is not what was signed."""

    def __init__(self, reason: Reason, index: int | None = None) -> None:
        self.reason: Reason = reason
        self.index = index
        super().__init__(reason)
