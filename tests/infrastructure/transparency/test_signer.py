"""The signer signs what continues what it signed, and nothing else, whatever is done to the tree.

With `check_consistency` taken out of the signer, the changed past, the rolled-back tree that grew
again and the one that was put right were seen to be signed, and their tests to fail.
"""

import psycopg
import pytest

from domain.transparency.merkle import HASH_BYTES, check_inclusion, leaf_hash
from domain.transparency.note import read_note
from domain.transparency.origin import PLATFORM_LOG
from domain.transparency.proof import check_proof, read_proof
from domain.transparency.tiles import Tile, read_bundle
from infrastructure.transparency.ed25519 import NoteSigner, verify
from infrastructure.transparency.platform_tree import add_checkpoints
from infrastructure.transparency.signer import CheckpointSigner
from tests.infrastructure.event_log.notes import A, B
from tests.infrastructure.transparency.stage import KEY, PREFIX, Stage


async def refused(stage: Stage) -> str | None:
    (found,) = stage.admin("SELECT refused FROM transparency_checkpoints WHERE log_id = %s", A)
    return None if found[0] is None else str(found[0])


async def test_each_log_has_its_name_and_its_checkpoint(stage: Stage) -> None:
    await stage.append(3)
    await stage.append(2, tenant_id=B)
    assert await stage.sign() == 2
    assert (await stage.opened(A)).origin == f"{PREFIX}/tenants/ten_{A.hex}"
    assert (await stage.opened(B)).size == 2
    assert await stage.sign() == 0
    await stage.append(1, tenant_id=B)
    assert await stage.sign() == 1
    assert (await stage.opened(A)).size == 3
    assert (await stage.opened(B)).size == 3


async def test_a_proof_holds_for_its_leaf_offline(stage: Stage) -> None:
    await stage.append(400)
    await stage.sign()
    text = await stage.reads.proof(A, 300)
    assert text is not None
    leaves = stage.leaves()
    checkpoint = check_proof(read_proof(text), leaves[300], stage.key(), verify)
    assert checkpoint.size == 400


async def test_only_what_is_asked_for_is_signed(stage: Stage) -> None:
    await stage.append(1)
    await stage.append(1, tenant_id=B)
    await stage.take_in()
    assert await stage.signer.sign(stage.keeper, [B]) == 1
    assert await stage.reads.checkpoint(A) is None


async def test_a_tree_whose_past_was_changed_is_not_signed(stage: Stage) -> None:
    """A leaf hash below what was signed is replaced, and the log goes on."""
    await stage.append(10)
    await stage.sign()
    before = await stage.opened()
    stage.admin(
        "UPDATE transparency_tiles SET hashes = overlay(hashes PLACING %s FROM 33)"
        " WHERE log_id = %s AND level = 0",
        bytes(HASH_BYTES),
        A,
    )
    await stage.append(1)
    assert await stage.sign() == 0
    assert "another" in (await refused(stage) or "")
    assert await stage.opened() == before


async def test_a_tree_that_was_rolled_back_and_grew_again_is_not_signed(stage: Stage) -> None:
    """The newest events are taken away and others come in their place."""
    await stage.append(10)
    await stage.sign()
    stage.admin("UPDATE transparency_trees SET size = 8")
    stage.admin("UPDATE transparency_tiles SET hashes = substr(hashes, 1, 8 * 32)")
    assert await stage.sign() == 0
    assert "8 leaves, 10 were signed" in (await refused(stage) or "")
    await stage.append(5)
    assert await stage.sign() == 0
    assert "another" in (await refused(stage) or "")


async def test_a_tree_with_a_missing_tile_is_not_signed(stage: Stage) -> None:
    await stage.append(600)
    await stage.sign()
    stage.admin("DELETE FROM transparency_tiles WHERE level = 0 AND tile_index = 1")
    stage.admin("DELETE FROM transparency_tiles WHERE level = 1")
    stage.admin("UPDATE transparency_trees SET size = 700")
    assert await stage.signer.sign(stage.keeper) == 0
    assert "KeyError" in (await refused(stage) or "")


async def test_what_was_refused_is_signed_again_once_it_is_put_right(stage: Stage) -> None:
    await stage.append(10)
    await stage.sign()
    (whole,) = stage.admin("SELECT hashes FROM transparency_tiles")
    # Another byte, whichever it was.
    stage.admin(
        "UPDATE transparency_tiles SET hashes = set_byte(hashes, 0, get_byte(hashes, 0) # 1)"
    )
    await stage.append(1)
    assert await stage.sign() == 0
    stage.admin("UPDATE transparency_tiles SET hashes = overlay(hashes PLACING %s FROM 1)", *whole)
    assert await stage.sign() == 1
    assert await refused(stage) is None
    assert (await stage.opened()).root == stage.root()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE transparency_checkpoints SET size = size - 1",
        "UPDATE transparency_checkpoints SET root = sha256('x')",
        "UPDATE transparency_checkpoints SET final_size = NULL, final_note = NULL",
        "UPDATE transparency_checkpoints SET final_size = 1",
        "DELETE FROM transparency_checkpoints",
        "TRUNCATE transparency_checkpoints",
    ],
)
async def test_what_was_signed_is_not_taken_back(stage: Stage, statement: str) -> None:
    """By nobody who leaves the triggers in place."""
    await stage.append(3)
    await stage.sign()
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        stage.admin(statement)


async def test_an_application_may_not_write_any_of_it(stage: Stage) -> None:
    async with stage.app.connection() as connection:
        for statement in (
            b"UPDATE transparency_checkpoints SET note = ''",
            b"DELETE FROM transparency_tiles",
            b"UPDATE transparency_position SET position = 0",
            b"INSERT INTO transparency_trees VALUES (gen_random_uuid(), 1)",
            b"SELECT * FROM platform_log_entries",
            b"SELECT * FROM transparency_witnesses",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute(statement)


async def test_without_witnesses_a_checkpoint_is_final_at_once(stage: Stage) -> None:
    await stage.append(1)
    await stage.sign()
    final = await stage.reads.checkpoint(A, final=True)
    assert final is not None
    assert final.final
    strict = CheckpointSigner(KEY, PREFIX, final_at_once=False)
    await stage.append(1)
    await stage.take_in()
    await strict.sign(stage.keeper)
    newest, last_final = (
        await stage.reads.checkpoint(A),
        await stage.reads.checkpoint(A, final=True),
    )
    assert newest is not None
    assert (newest.size, newest.final) == (2, False)
    assert last_final is not None
    assert (last_final.size, last_final.final) == (1, True)


async def test_the_platform_tree_holds_the_tenants_checkpoints(stage: Stage) -> None:
    await stage.append(2)
    await stage.append(1, tenant_id=B)
    await stage.sign()
    assert await add_checkpoints(stage.keeper) == 2
    assert await add_checkpoints(stage.keeper) == 0
    await stage.append(1)
    await stage.sign()
    assert await add_checkpoints(stage.keeper) == 1
    assert await stage.signer.sign(stage.keeper, [PLATFORM_LOG]) == 1
    platform = await stage.opened(PLATFORM_LOG)
    assert (platform.origin, platform.size) == (f"{PREFIX}/platform", 3)
    bundle = await stage.reads.tile(PLATFORM_LOG, Tile(None, 0, 3))
    assert bundle is not None
    last = read_bundle(bundle)[2]
    assert last.decode() == (await stage.opened(A)).body()
    text = await stage.reads.proof(PLATFORM_LOG, 2)
    assert text is not None
    proof = read_proof(text)
    check_inclusion(2, 3, leaf_hash(last), proof.path, platform.root)
    assert await stage.reads.leaf_index(PLATFORM_LOG, "1") is None


async def test_the_platforms_entries_are_not_rewritten(stage: Stage) -> None:
    await stage.append(1)
    await stage.sign()
    await add_checkpoints(stage.keeper)
    for statement in (
        "UPDATE platform_log_entries SET size = 2",
        "DELETE FROM platform_log_entries",
        "TRUNCATE platform_log_entries",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            stage.admin(statement)


async def test_another_key_makes_another_signature(stage: Stage) -> None:
    await stage.append(1)
    await stage.take_in()
    other = NoteSigner(NoteSigner.generate())
    await CheckpointSigner(other, PREFIX, final_at_once=True).sign(stage.keeper)
    found = await stage.reads.checkpoint(A)
    assert found is not None
    assert read_note(found.note).by(stage.key()) is None
