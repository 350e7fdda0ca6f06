"""Signed notes against the vectors of Go's sumdb/note; cosignatures, checkpoints, submissions."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.transparency.checkpoint import Checkpoint, CheckpointMalformed, read_checkpoint
from domain.transparency.merkle import ProofInvalid, fold, leaf_hash, prove_inclusion
from domain.transparency.note import (
    COSIGNATURE_V1,
    NoteMalformed,
    NoteUnverified,
    Signature,
    SignedNote,
    VerifierKey,
    cosign,
    cosigned_at,
    read_note,
    read_vkey,
    sign_note,
    verify_note,
)
from domain.transparency.proof import TlogProof, TlogProofMalformed, check_proof, read_proof
from domain.transparency.submission import Submission, SubmissionMalformed, read_submission
from domain.transparency.tiles import TileHashes
from infrastructure.transparency.ed25519 import NoteSigner, verify

# golang.org/x/mod/sumdb/note, note_test.go and example_test.go.
GO_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
GO_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2p"
    "ZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)

LOG = NoteSigner(bytes(range(32)))
ORIGIN = "link.example/tenant/1"
LOG_KEY = VerifierKey(ORIGIN, LOG.public_key)
WITNESS = NoteSigner(bytes(range(1, 33)))
WITNESS_KEY = VerifierKey("witness.example/w1", WITNESS.public_key, COSIGNATURE_V1)
LEAVES = [b"first", b"second", b"third"]
ROOT = fold([leaf_hash(leaf) for leaf in LEAVES])
CHECKPOINT = Checkpoint(origin=ORIGIN, size=3, root=ROOT)


def signed(checkpoint: Checkpoint = CHECKPOINT) -> SignedNote:
    body = checkpoint.body()
    return SignedNote(body, (sign_note(body, LOG_KEY, LOG.sign),))


def cosigned(note: SignedNote, at: int = 1_700_000_000) -> SignedNote:
    line = cosign(note.text, WITNESS_KEY, at, WITNESS.sign)
    return SignedNote(note.text, (*note.signatures, line))


def test_the_vectors_of_go() -> None:
    key = read_vkey(GO_VKEY)
    assert key.vkey() == GO_VKEY
    signer = NoteSigner(GO_SEED)
    assert signer.public_key == key.public_key
    signature = sign_note(GO_TEXT, key, signer.sign)
    assert signature.line() == GO_LINE
    note = read_note(f"{GO_TEXT}\n{GO_LINE}")
    assert note == SignedNote(GO_TEXT, (signature,))
    assert verify_note(note, [key], verify) == [key]


def test_a_mangled_verifier_key_is_refused() -> None:
    """Go's TestNewVerifier: every other piece of the key, and every byte moved by one."""
    length = len(GO_VKEY)
    pieces = [
        GO_VKEY[low:high]
        for low in range(length)
        for high in range(low, length + 1)
        if (low, high) != (0, length)
    ]
    moved = [GO_VKEY[:at] + chr(ord(GO_VKEY[at]) + 1) + GO_VKEY[at + 1 :] for at in range(length)]
    others = [
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    ]
    for text in (*pieces, *moved, *others):
        with pytest.raises(NoteMalformed):
            read_vkey(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "text\n",
        "text\n\n",
        "text\n\nno signature\n",
        f"{GO_TEXT}\n{GO_LINE[:-1]}",
        f"{GO_TEXT}\n{GO_LINE}tail\n",
        f"{GO_TEXT}{GO_LINE}",
        f"tab\there\n\n{GO_LINE}",
        f"null\0\n\n{GO_LINE}",
        f"{GO_TEXT}\n— Peter Neumann x08go/ZJkuBS\n",
        f"{GO_TEXT}\n— Peter+Neumann x08go/ZJkuBS\n",
        f"{GO_TEXT}\n—  x08go/ZJkuBS\n",
        f"{GO_TEXT}\n— PeterNeumann x08g\n",
        f"{GO_TEXT}\n— PeterNeumann !!!!\n",
        f"{GO_TEXT}\n- PeterNeumann x08go/ZJkuBS\n",
        f"{GO_TEXT}\n{GO_LINE * 65}",
        f"{'x' * 65_536}\n\n{GO_LINE}",
    ],
)
def test_what_is_no_note(text: str) -> None:
    with pytest.raises(NoteMalformed):
        read_note(text)


def test_the_last_blank_line_ends_the_text() -> None:
    note = read_note(f"one\n\ntwo\n\n{GO_LINE}")
    assert note.text == "one\n\ntwo\n"


def test_unknown_keys_are_passed_over_and_known_ones_must_hold() -> None:
    note = signed()
    stranger = Signature(ORIGIN, b"\0\0\0\0", bytes(64))
    both = SignedNote(note.text, (stranger, *note.signatures))
    assert verify_note(both, [LOG_KEY], verify) == [LOG_KEY]
    with pytest.raises(NoteUnverified):
        verify_note(SignedNote(note.text, (stranger,)), [LOG_KEY], verify)
    forged = Signature(ORIGIN, LOG_KEY.key_id, bytes(64))
    with pytest.raises(NoteUnverified):
        verify_note(SignedNote(note.text, (forged,)), [LOG_KEY], verify)
    moved = SignedNote(note.text.replace("3", "4", 1), note.signatures)
    with pytest.raises(NoteUnverified):
        verify_note(moved, [LOG_KEY], verify)


def test_one_key_serves_many_names_and_each_has_its_id() -> None:
    other = VerifierKey("link.example/tenant/2", LOG.public_key)
    assert other.key_id != LOG_KEY.key_id
    with pytest.raises(NoteUnverified):
        verify_note(signed(), [other], verify)


def test_a_cosignature_covers_its_time() -> None:
    note = cosigned(signed())
    assert list(verify_note(note, [LOG_KEY, WITNESS_KEY], verify)) == [LOG_KEY, WITNESS_KEY]
    line = note.by(WITNESS_KEY)
    assert line is not None
    assert cosigned_at(line) == 1_700_000_000
    later = (1_700_000_001).to_bytes(8, "big") + line.signature[8:]
    spoilt = SignedNote(note.text, (Signature(line.name, line.key_id, later),))
    with pytest.raises(NoteUnverified):
        verify_note(spoilt, [WITNESS_KEY], verify)
    short = SignedNote(note.text, (Signature(line.name, line.key_id, line.signature[:-1]),))
    with pytest.raises(NoteUnverified):
        verify_note(short, [WITNESS_KEY], verify)


def test_a_log_key_does_not_cosign_and_a_witness_does_not_sign() -> None:
    with pytest.raises(ValueError, match="0x04"):
        cosign("text\n", LOG_KEY, 1, LOG.sign)
    with pytest.raises(ValueError, match="0x01"):
        sign_note("text\n", WITNESS_KEY, WITNESS.sign)
    with pytest.raises(ValueError, match="newline"):
        sign_note("text", LOG_KEY, LOG.sign)


def test_the_checkpoint_of_the_c2sp_page() -> None:
    body = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    found = read_checkpoint(body)
    assert (found.origin, found.size) == ("example.com/behind-the-sofa", 20852163)
    assert found.body() == body
    extended = read_checkpoint(f"{body}extension\n")
    assert extended.extensions == ("extension",)
    assert extended.body() == f"{body}extension\n"


@pytest.mark.parametrize(
    "body",
    [
        "",
        "\n",
        "origin\n3\n",
        f"origin\n03\n{'A' * 43}=\n",
        f"origin\n-3\n{'A' * 43}=\n",
        f"origin\n3 \n{'A' * 43}=\n",
        f"origin\n٣\n{'A' * 43}=\n",
        f"origin\n{2**63}\n{'A' * 43}=\n",
        f"origin\n{'9' * 5000}\n{'A' * 43}=\n",
        f"\n3\n{'A' * 43}=\n",
        f"origin\n3\n{'A' * 42}B=\n",
        f"origin\n3\n{'A' * 40}\n",
        f"origin\n3\n{'A' * 43}=",
        f"origin\n3\n{'A' * 43}=\n\n",
    ],
)
def test_what_is_no_checkpoint(body: str) -> None:
    with pytest.raises(CheckpointMalformed):
        read_checkpoint(body)


def tlog_proof(index: int = 1, note: SignedNote | None = None) -> TlogProof:
    hashes = b"".join(leaf_hash(leaf) for leaf in LEAVES)
    path = prove_inclusion(index, 3, TileHashes({(0, 0): hashes}))
    return TlogProof(index=index, path=tuple(path), checkpoint=note or signed())


def test_a_tlog_proof_is_read_back_and_checked() -> None:
    proof = tlog_proof(note=cosigned(signed()))
    text = proof.encode()
    assert text.startswith("c2sp.org/tlog-proof@v1\nindex 1\n")
    assert read_proof(text) == proof
    found = check_proof(
        proof, LEAVES[1], LOG_KEY, verify, witnesses=[WITNESS_KEY], witnesses_required=1
    )
    assert found == CHECKPOINT
    with_extra = TlogProof(
        index=0, path=proof.path, checkpoint=proof.checkpoint, extra=b"not signed"
    )
    assert read_proof(with_extra.encode()) == with_extra
    alone = Checkpoint(origin=ORIGIN, size=1, root=leaf_hash(b"only"))
    empty_path = TlogProof(index=0, path=(), checkpoint=signed(alone))
    assert read_proof(empty_path.encode()) == empty_path
    check_proof(empty_path, b"only", LOG_KEY, verify)


def test_a_tlog_proof_proves_nothing_else() -> None:
    proof = tlog_proof()
    with pytest.raises(ProofInvalid):
        check_proof(proof, LEAVES[0], LOG_KEY, verify)
    with pytest.raises(NoteUnverified, match="0 witnesses"):
        check_proof(
            proof, LEAVES[1], LOG_KEY, verify, witnesses=[WITNESS_KEY], witnesses_required=1
        )
    other = VerifierKey("link.example/tenant/2", LOG.public_key)
    with pytest.raises(NoteUnverified):
        check_proof(proof, LEAVES[1], other, verify)


def test_a_cosignature_without_the_log_is_not_enough() -> None:
    body = CHECKPOINT.body()
    only = SignedNote(body, (cosign(body, WITNESS_KEY, 1, WITNESS.sign),))
    with pytest.raises(NoteUnverified, match="the log did not sign"):
        check_proof(tlog_proof(note=only), LEAVES[1], LOG_KEY, verify, witnesses=[WITNESS_KEY])


def test_one_witness_under_two_names_counts_once() -> None:
    twin = VerifierKey("witness.example/w2", WITNESS.public_key, COSIGNATURE_V1)
    note = cosigned(signed())
    note = SignedNote(
        note.text, (*note.signatures, cosign(note.text, twin, 1_700_000_000, WITNESS.sign))
    )
    with pytest.raises(NoteUnverified, match="1 witnesses cosigned, 2 must"):
        check_proof(
            tlog_proof(note=note),
            LEAVES[1],
            LOG_KEY,
            verify,
            witnesses=[WITNESS_KEY, twin],
            witnesses_required=2,
        )


def test_what_is_signed_must_be_a_checkpoint_of_this_log() -> None:
    words = SignedNote("words\n", (sign_note("words\n", LOG_KEY, LOG.sign),))
    with pytest.raises(NoteUnverified, match="no checkpoint"):
        check_proof(tlog_proof(note=words), LEAVES[1], LOG_KEY, verify)
    body = Checkpoint(origin="link.example/tenant/2", size=3, root=ROOT).body()
    swapped = SignedNote(body, (sign_note(body, LOG_KEY, LOG.sign),))
    with pytest.raises(NoteUnverified, match="another log"):
        check_proof(tlog_proof(note=swapped), LEAVES[1], LOG_KEY, verify)


def test_what_is_no_proof() -> None:
    text = tlog_proof().encode()
    _, index, first, *_ = text.split("\n")
    for spoilt in (
        "",
        "\n",
        text.replace("@v1", "@v2"),
        text.replace(index, "index 01"),
        text.replace(index, "index -1"),
        text.replace(index, "index"),
        text.replace(index, f"extra !\n{index}"),
        text.replace(f"{index}\n", ""),
        text.replace(first, first[:-2]),
        text.replace(first, "\n".join([first] * 64)),
        text.replace("— ", "- "),
        text.partition("\n\n")[0],
    ):
        with pytest.raises(TlogProofMalformed):
            read_proof(spoilt)


def test_submissions_to_a_witness() -> None:
    submission = Submission(old_size=2, proof=(bytes(32), ROOT), checkpoint=signed())
    text = submission.encode()
    assert text.startswith("old 2\n")
    assert read_submission(text) == submission
    first = Submission(old_size=0, proof=(), checkpoint=signed())
    assert read_submission(first.encode()) == first
    for spoilt in (
        "",
        text.replace("old 2", "old 02"),
        text.replace("old 2", "old -2"),
        text.replace("old 2", "new 2"),
        text.replace("old 2\n", "old 2\nAAAA\n"),
        text.replace("old 2\n", "old 2\n" + f"{'A' * 43}=\n" * 64),
        text.partition("\n\n")[0],
        text.replace("— ", "- "),
    ):
        with pytest.raises(SubmissionMalformed):
            read_submission(spoilt)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    for reader, refusal in (
        (read_note, NoteMalformed),
        (read_vkey, NoteMalformed),
        (read_checkpoint, CheckpointMalformed),
        (read_proof, TlogProofMalformed),
        (read_submission, SubmissionMalformed),
    ):
        with pytest.raises(refusal):
            reader(text)
