"""Trees in the database: the same leaf as in Python, every step size, nothing twice, no gap."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.catalogue import EVENTS
from domain.ids import PLATFORM, TenantId
from domain.transparency.leaf import LoggedEvent, encode, read
from domain.transparency.merkle import check_consistency, check_inclusion, fold, leaf_hash
from domain.transparency.tiles import Tile, bundles_of, read_bundle, tiles_of
from infrastructure.event_log.positions import LogGap
from infrastructure.transparency.intake import take_in
from infrastructure.transparency.trees import TreeDamaged
from tests.infrastructure.event_log.notes import A, B, notes, origin
from tests.infrastructure.transparency.stage import Stage

TEXTS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    position=st.integers(1, 2**63 - 1),
    at=st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    ids=st.tuples(st.uuids(), st.uuids(), st.uuids(), st.uuids()),
    version=st.integers(0, 2**63 - 1),
    name=TEXTS,
    actor=TEXTS,
    payload=st.binary(max_size=200)
    | st.binary(max_size=90).map(lambda data: b'{"v":' + data + b"}"),
)
def test_the_database_makes_the_leaf_that_python_makes(
    database: str,
    position: int,
    at: datetime,
    ids: tuple[UUID, UUID, UUID, UUID],
    version: int,
    name: str,
    actor: str,
    payload: bytes,
) -> None:
    tenant, stream, correlation, command = ids
    event = LoggedEvent(
        position=position,
        recorded_at=at,
        tenant_id=TenantId(tenant),
        stream_id=stream,
        stream_version=version,
        name=name,
        actor=actor,
        correlation_id=correlation,
        command_id=command,
        payload=payload,
    )
    with psycopg.connect(database, autocommit=True) as connection:
        found = connection.execute(
            "SELECT event_leaf(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (position, at, tenant, stream, version, name, actor, correlation, command, payload),
        ).fetchone()
    assert found == (encode(event),)


def test_what_an_envelope_takes_leaves_room_for_the_largest_payload() -> None:
    """64,512 bytes of payload are appended at most (`PAYLOAD_BYTES_MAX`)."""
    event = LoggedEvent(
        position=2**63 - 1,
        recorded_at=datetime(2026, 1, 1, tzinfo=UTC),
        tenant_id=PLATFORM,
        stream_id=PLATFORM,
        stream_version=2**63 - 1,
        name=max(EVENTS, key=len),
        actor="\x01" * 80,
        correlation_id=PLATFORM,
        command_id=PLATFORM,
        payload=b'{"v":' + b"1" * (64_512 - 6) + b"}",
    )
    assert len(encode(event)) <= 65_535


async def test_every_tile_and_bundle_of_a_log_that_grew_in_steps(stage: Stage) -> None:
    """Two tenants, batches that end anywhere, tiles full to the brim and partial ones."""
    for count, limit in ((1, 1000), (254, 100), (1, 1000), (300, 7), (600, 1000)):
        await stage.append(count)
        await stage.append(count // 2, tenant_id=B)
        await stage.take_in(limit)
    await stage.sign()
    for tenant in (A, B):
        leaves = stage.leaves(tenant)
        checkpoint = await stage.opened(tenant)
        assert (checkpoint.size, checkpoint.root) == (len(leaves), stage.root(tenant))
        hashes = [leaf_hash(leaf) for leaf in leaves]
        for tile in tiles_of(len(leaves)):
            found = await stage.reads.tile(tenant, tile)
            assert found is not None
            begin = tile.index * 256
            if tile.level == 0:
                assert found == b"".join(hashes[begin : begin + tile.width])
            else:
                assert found == b"".join(
                    fold(hashes[at * 256 : at * 256 + 256])
                    for at in range(begin, begin + tile.width)
                )
        bundles = [await stage.reads.tile(tenant, tile) for tile in bundles_of(len(leaves))]
        assert [leaf for data in bundles if data for leaf in read_bundle(data)] == list(leaves)
    assert read(stage.leaves()[0]).name == "test.noted"


async def test_a_narrower_tile_of_an_earlier_checkpoint_is_still_served(stage: Stage) -> None:
    await stage.append(5)
    await stage.sign()
    early = await stage.reads.tile(A, Tile(0, 0, 5)), await stage.reads.tile(A, Tile(None, 0, 5))
    await stage.append(300)
    await stage.sign()
    late = await stage.reads.tile(A, Tile(0, 0, 5)), await stage.reads.tile(A, Tile(None, 0, 5))
    assert None not in early
    assert early == late


async def test_nothing_beyond_the_checkpoint_is_served(stage: Stage) -> None:
    await stage.append(5)
    await stage.sign()
    await stage.append(5)
    await stage.take_in()
    assert await stage.reads.tile(A, Tile(0, 0, 6)) is None
    assert await stage.reads.tile(A, Tile(None, 0, 6)) is None
    assert await stage.reads.tile(A, Tile(1, 0, 1)) is None
    assert await stage.reads.tile(A, Tile(63, 2**50, 1)) is None
    assert await stage.reads.proof(A, 5) is None
    assert await stage.reads.consistency(A, 5, 6) is None


async def test_two_keepers_at_once_take_nothing_twice(stage: Stage) -> None:
    """Only one holds the lock; should two run all the same, the position's row holds them apart."""
    await stage.append(900)
    async with stage.projector.connection() as one, stage.projector.connection() as two:

        async def run(connection: object) -> None:
            assert connection in (one, two)
            while (await take_in(one if connection is one else two, 50))[0]:
                pass

        await asyncio.gather(run(one), run(two))
    await stage.sign()
    assert (await stage.opened()).root == stage.root()


async def test_a_batch_that_fails_leaves_nothing(stage: Stage) -> None:
    await stage.append(300)
    stage.admin(
        "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'spoilt'; END $$"
    )
    stage.admin(
        "CREATE TRIGGER spoil BEFORE UPDATE ON transparency_position"
        " FOR EACH ROW EXECUTE FUNCTION spoil()"
    )
    with pytest.raises(psycopg.errors.RaiseException):
        await take_in(stage.keeper, 1000)
    assert stage.admin("SELECT count(*) FROM transparency_tiles") == [(0,)]
    stage.admin("DROP TRIGGER spoil ON transparency_position")
    await stage.sign()
    assert (await stage.opened()).root == stage.root()


async def test_a_missing_position_stops_it(stage: Stage) -> None:
    await stage.append(3)
    stage.admin("ALTER TABLE events DISABLE TRIGGER append_only")
    stage.admin("DELETE FROM events WHERE position = 2")
    with pytest.raises(LogGap):
        await take_in(stage.keeper, 1000)
    assert stage.admin("SELECT position FROM transparency_position") == [(0,)]


async def test_tiles_that_do_not_fit_the_size_stop_it(stage: Stage) -> None:
    await stage.append(3)
    await stage.take_in()
    stage.admin("UPDATE transparency_trees SET size = 2")
    await stage.append(1)
    with pytest.raises(TreeDamaged):
        await take_in(stage.keeper, 1000)


async def test_where_an_event_stands(stage: Stage) -> None:
    """By its position, and by its stream and version, whatever form the stream's id has."""
    streams: list[UUID] = []
    for _ in range(3):
        streams += await stage.append(200)
        await stage.append(90, tenant_id=B)
    await stage.sign()
    leaves = stage.leaves()
    for index in (0, 1, 255, 256, 257, 511, 512, 599):
        event = read(leaves[index])
        assert event.stream_id == streams[index]
        for event_id in (
            str(event.position),
            f"{event.stream_id}:1",
            f"{event.stream_id.hex}:1",
            f"dev_{event.stream_id.hex}:1",
        ):
            assert await stage.reads.leaf_index(A, event_id) == index
        proof = await stage.reads.proof(A, index)
        assert proof is not None
        assert f"\nindex {index}\n" in proof


async def test_whose_event_it_is_does_not_show(stage: Stage) -> None:
    (mine,) = await stage.append(1)
    (theirs,) = await stage.append(1, tenant_id=B)
    await stage.sign()
    assert await stage.reads.leaf_index(A, f"{mine}:1") == 0
    for event_id in (
        f"{theirs}:1",
        "2",
        "3",
        "0",
        "-1",
        "01",
        str(2**63),
        "9" * 40,
        f"{mine}:2",
        f"{mine}:0",
        f"{mine}:{2**64}",
        f"{mine}",
        f"{'-' * 36}:1",
        "",
        ":",
        "\u0661",
    ):
        assert await stage.reads.leaf_index(A, event_id) is None


async def test_a_reader_who_forgets_the_tenant_sees_nothing(stage: Stage) -> None:
    """Row-level security, the second wall: without a tenant set, or with another."""
    await stage.append(2)
    await stage.sign()
    async with stage.app.connection() as connection:
        for query in (
            b"SELECT * FROM transparency_trees",
            b"SELECT * FROM transparency_tiles",
            b"SELECT * FROM transparency_checkpoints",
        ):
            assert await (await connection.execute(query)).fetchall() == []
    assert await stage.reads.checkpoint(B) is None


async def test_consistency_of_what_was_and_is(stage: Stage) -> None:
    await stage.append(300)
    await stage.sign()
    old = await stage.opened()
    await stage.append(300)
    await stage.sign()
    new = await stage.opened()
    proof = await stage.reads.consistency(A, 300, 600)
    assert proof is not None
    check_consistency(300, old.root, 600, new.root, proof)
    for sizes in ((0, 5), (-1, 5), (6, 5), (5, 601), (600, 2**70)):
        assert await stage.reads.consistency(A, *sizes) is None


async def test_several_events_of_one_submission(stage: Stage) -> None:
    stream = (await stage.append(1))[0]
    await stage.log.append(origin(), [notes(stream, 1, "two", "three")])
    await stage.sign()
    for version in (1, 2, 3):
        index = await stage.reads.leaf_index(A, f"{stream}:{version}")
        assert index == version - 1
        proof = await stage.reads.proof(A, version - 1)
        assert proof is not None
    checkpoint = await stage.opened()
    leaf = leaf_hash(stage.leaves()[0])
    hashes = [leaf_hash(found) for found in stage.leaves()]
    check_inclusion(
        0,
        3,
        leaf,
        [hashes[1], hashes[2]],
        checkpoint.root,
    )
