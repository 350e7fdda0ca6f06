"""The Merkle tree of RFC 6962 §2.1 over SHA-256: hashes, proofs, and their verification.

A tree of `size` leaves is a list of perfect subtrees. A node is named by `(level, index)`: it is
the root of the leaves `[index << level, (index + 1) << level)`. Whoever makes a proof says how
to get the hash of such a node; whoever checks one needs nothing but the proof.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256().digest()
"""The root of the tree without leaves."""

SIZE_MAX: Final = 2**63 - 1
PROOF_HASHES_MAX: Final = 63

Node = tuple[int, int]
Span = tuple[int, int]
"""Leaves `[low, high)`."""

HashAt = Callable[[int, int], bytes]
"""The hash of the node `(level, index)`."""


class ProofInvalid(Exception):
    """The proof does not lead from the one to the other."""


def leaf_hash(leaf: bytes) -> bytes:
    return sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def fold(hashes: Sequence[bytes]) -> bytes:
    """The root over consecutive leaf hashes, however many: each level in one pass.

    A last one without a partner is carried up as it is, which is what RFC 6962's split at the
    largest power of two comes to.
    """
    if not hashes:
        return EMPTY_ROOT
    row = list(hashes)
    while len(row) > 1:
        paired = [sha256(b"\x01" + row[i] + row[i + 1]).digest() for i in range(0, len(row) - 1, 2)]
        if len(row) % 2:
            paired.append(row[-1])
        row = paired
    return row[0]


def cover(span: Span) -> list[Node]:
    """The perfect subtrees that make up the tree over a span, from left to right.

    `low` must be a multiple of the largest power of two in `high - low`, as in every span of
    `inclusion_spans` and `consistency_spans`.
    """
    low, high = span
    nodes: list[Node] = []
    while low < high:
        level = (high - low).bit_length() - 1
        nodes.append((level, low >> level))
        low += 1 << level
    return nodes


def root(size: int, hash_at: HashAt) -> bytes:
    """The root of the first `size` leaves."""
    return span_hash((0, size), hash_at) if size else EMPTY_ROOT


def span_hash(span: Span, hash_at: HashAt) -> bytes:
    """The hash of the tree over a span that `cover` understands."""
    *rest, last = cover(span)
    found = hash_at(*last)
    for node in reversed(rest):
        found = node_hash(hash_at(*node), found)
    return found


def inclusion_spans(index: int, size: int) -> list[Span]:
    """Which leaves each hash of an inclusion proof stands for, the leaf's sibling first.

    Raises ValueError when there is no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    spans: list[Span] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            spans.append((middle, high))
            high = middle
        else:
            spans.append((low, middle))
            low = middle
    spans.reverse()
    return spans


def consistency_spans(old: int, new: int) -> list[Span]:
    """Which leaves each hash of a consistency proof stands for (RFC 6962 §2.1.2).

    Empty when there is nothing to show: `old` is 0 or `new`. Raises ValueError when `old` is
    the larger one, or negative.
    """
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {old} is no prefix of one of {new}")
    if old in {0, new}:
        return []
    spans: list[Span] = []
    low, high = 0, new
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            spans.append((middle, high))
            high = middle
        else:
            spans.append((low, middle))
            low = middle
    if low:
        # With `low` at 0 the old root itself is this hash, and the verifier has it.
        spans.append((low, high))
    spans.reverse()
    return spans


def prove_inclusion(index: int, size: int, hash_at: HashAt) -> list[bytes]:
    """Raises ValueError when there is no such leaf."""
    return [span_hash(span, hash_at) for span in inclusion_spans(index, size)]


def prove_consistency(old: int, new: int, hash_at: HashAt) -> list[bytes]:
    """Raises ValueError when `old` is negative or larger than `new`."""
    return [span_hash(span, hash_at) for span in consistency_spans(old, new)]


def check_inclusion(
    index: int, size: int, leaf: bytes, proof: Sequence[bytes], claimed_root: bytes
) -> None:
    """`leaf` is the leaf's hash. Raises ProofInvalid."""
    if not 0 <= index < size <= SIZE_MAX:
        raise ProofInvalid(f"there is no leaf {index} in a tree of {size}")
    _check_hashes(leaf, claimed_root, *proof)
    spans = inclusion_spans(index, size)
    if len(spans) != len(proof):
        raise ProofInvalid(f"the proof has {len(proof)} hashes, {len(spans)} lead to the root")
    found = leaf
    for (low, _), sibling in zip(spans, proof, strict=True):
        found = node_hash(sibling, found) if low < index else node_hash(found, sibling)
    if found != claimed_root:
        raise ProofInvalid("the proof leads to another root")


def check_consistency(
    old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """That the first tree is a prefix of the second (RFC 9162 §2.1.4.2). Raises ProofInvalid."""
    if not 0 <= old <= new <= SIZE_MAX:
        raise ProofInvalid(f"a tree of {old} is no prefix of one of {new}")
    _check_hashes(old_root, new_root, *proof)
    spans = consistency_spans(old, new)
    if len(spans) != len(proof):
        raise ProofInvalid(f"the proof has {len(proof)} hashes, {len(spans)} are needed")
    if old == 0:
        if old_root != EMPTY_ROOT:
            raise ProofInvalid("the empty tree has another root")
        return
    if old == new:
        if old_root != new_root:
            raise ProofInvalid("two roots for one size")
        return
    # The proof starts at the last perfect subtree of the old tree; what lies left of it is in
    # both trees, what lies right of it in the new one only.
    start = 0 if spans[0][0] >= old else 1
    in_old = in_new = old_root if start == 0 else proof[0]
    for (low, _), sibling in zip(spans[start:], proof[start:], strict=True):
        if low < old:
            in_old = node_hash(sibling, in_old)
            in_new = node_hash(sibling, in_new)
        else:
            in_new = node_hash(in_new, sibling)
    if in_old != old_root:
        raise ProofInvalid("the proof leads to another old root")
    if in_new != new_root:
        raise ProofInvalid("the proof leads to another new root")


def _split(leaves: int) -> int:
    """The largest power of two below `leaves`, which is 2 or more."""
    return 1 << ((leaves - 1).bit_length() - 1)


def _check_hashes(*hashes: bytes) -> None:
    if any(len(found) != HASH_BYTES for found in hashes):
        raise ProofInvalid(f"a hash has {HASH_BYTES} bytes")
