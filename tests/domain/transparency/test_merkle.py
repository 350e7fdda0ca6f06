"""RFC 6962's tree against its own definition, written out naively, and its published roots."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.transparency import merkle as m

# The leaves and roots of the Certificate Transparency reference implementation.
CT_LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
CT_ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


def mth(leaves: list[bytes]) -> bytes:
    """RFC 6962 §2.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    k = split(len(leaves))
    return sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(index: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 6962 §2.1.1."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if index < k:
        return [*path(index, leaves[:k]), mth(leaves[k:])]
    return [*path(index - k, leaves[k:]), mth(leaves[:k])]


def consistency(old: int, leaves: list[bytes], whole: bool = True) -> list[bytes]:
    """RFC 6962 §2.1.2: PROOF is SUBPROOF with `whole`."""
    if old == len(leaves):
        return [] if whole else [mth(leaves)]
    k = split(len(leaves))
    if old <= k:
        return [*consistency(old, leaves[:k], whole), mth(leaves[k:])]
    return [*consistency(old - k, leaves[k:], False), mth(leaves[:k])]


def split(count: int) -> int:
    k = 1
    while k * 2 < count:
        k *= 2
    return k


def leaves_of(size: int) -> list[bytes]:
    return [b"leaf %d" % number for number in range(size)]


def hash_at(leaves: list[bytes]) -> m.HashAt:
    return lambda level, index: mth(leaves[index << level : (index + 1) << level])


@pytest.mark.parametrize("size", range(9))
def test_published_roots(size: int) -> None:
    leaves = CT_LEAVES[:size]
    assert m.fold([m.leaf_hash(leaf) for leaf in leaves]).hex() == CT_ROOTS[size]
    assert m.root(size, hash_at(leaves)).hex() == CT_ROOTS[size]


@pytest.mark.parametrize("size", range(1, 70))
def test_every_proof_of_every_small_tree(size: int) -> None:
    leaves = leaves_of(size)
    root, at = mth(leaves), hash_at(leaves)
    assert m.fold([m.leaf_hash(leaf) for leaf in leaves]) == root
    for index in range(size):
        proof = m.prove_inclusion(index, size, at)
        assert proof == path(index, leaves)
        m.check_inclusion(index, size, m.leaf_hash(leaves[index]), proof, root)
    for old in range(size + 1):
        proof = m.prove_consistency(old, size, at)
        assert proof == (consistency(old, leaves) if old else [])
        m.check_consistency(old, mth(leaves[:old]), size, root, proof)


Sizes = st.integers(1, 300)


@given(size=Sizes, data=st.data())
def test_an_inclusion_proof_proves_nothing_else(size: int, data: st.DataObject) -> None:
    leaves = leaves_of(size)
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(
        st.integers(0, size - 1).filter(lambda n: n != index) if size > 1 else st.just(1)
    )
    proof, root = path(index, leaves), mth(leaves)
    leaf = m.leaf_hash(leaves[index])
    with pytest.raises(m.ProofInvalid):
        m.check_inclusion(other, size, leaf, proof, root)
    with pytest.raises(m.ProofInvalid):
        m.check_inclusion(index, size, m.leaf_hash(b"another"), proof, root)
    with pytest.raises(m.ProofInvalid):
        m.check_inclusion(index, size, leaf, [*proof, root], root)
    with pytest.raises(m.ProofInvalid):
        m.check_inclusion(index, size, leaf, proof, m.leaf_hash(b"root"))
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        with pytest.raises(m.ProofInvalid):
            m.check_inclusion(index, size, leaf, proof[:-1], root)
        spoilt = [*proof[:at], bytes(32), *proof[at + 1 :]]
        with pytest.raises(m.ProofInvalid):
            m.check_inclusion(index, size, leaf, spoilt, root)


@given(new=Sizes, data=st.data())
def test_a_fork_is_never_consistent(new: int, data: st.DataObject) -> None:
    """A leaf below the old size changed: no proof of either tree leads from one to the other."""
    old = data.draw(st.integers(1, new))
    changed = data.draw(st.integers(0, old - 1))
    honest, forked = leaves_of(new), leaves_of(new)
    forked[changed] = b"forked"
    for leaves in (honest, forked):
        proof = consistency(old, leaves)
        with pytest.raises(m.ProofInvalid):
            m.check_consistency(old, mth(honest[:old]), new, mth(forked), proof)
        with pytest.raises(m.ProofInvalid):
            m.check_consistency(old, mth(forked[:old]), new, mth(honest), proof)


@pytest.mark.parametrize(
    ("index", "size"), [(0, 0), (-1, 5), (5, 5), (6, 5), (0, -1), (2**63, 2**63 + 1)]
)
def test_no_such_leaf(index: int, size: int) -> None:
    with pytest.raises(m.ProofInvalid):
        m.check_inclusion(index, size, bytes(32), [], bytes(32))


def test_a_leaf_that_is_not_there_has_no_proof() -> None:
    at = hash_at(leaves_of(5))
    for index in (-1, 5, 2**70):
        with pytest.raises(ValueError, match="no leaf"):
            m.prove_inclusion(index, 5, at)
    for old in (-1, 6):
        with pytest.raises(ValueError, match="no prefix"):
            m.prove_consistency(old, 5, at)


@pytest.mark.parametrize(("old", "new"), [(6, 5), (-1, 5), (0, 2**63)])
def test_sizes_that_no_tree_has(old: int, new: int) -> None:
    with pytest.raises(m.ProofInvalid):
        m.check_consistency(old, bytes(32), new, bytes(32), [])


def test_two_roots_for_one_size_and_a_wrong_empty_root() -> None:
    with pytest.raises(m.ProofInvalid):
        m.check_consistency(3, mth(leaves_of(3)), 3, mth(leaves_of(4)), [])
    with pytest.raises(m.ProofInvalid):
        m.check_consistency(0, bytes(32), 3, mth(leaves_of(3)), [])


def test_a_hash_of_another_length_is_refused_before_it_is_hashed() -> None:
    leaves = leaves_of(2)
    joined = [mth(leaves[1:]) + b"!"]
    with pytest.raises(m.ProofInvalid, match="32 bytes"):
        m.check_inclusion(0, 2, m.leaf_hash(leaves[0]), joined, mth(leaves))
