"""An export replayed comes to the rows that were shown, or the first that is not is named."""

from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec
import psycopg
import pytest
import pytest_asyncio

from domain.catalogue import EVENTS, UPCASTERS
from domain.transparency.leaf import LoggedEvent, encode
from domain.transparency.tiles import Tile, tile_path
from infrastructure.event_log.mapper import EventMapper
from infrastructure.log_export.directory import ExportDirectory
from infrastructure.log_export.replaying import CannotReplay, Mismatch, Replayed, replay
from infrastructure.log_export.shown_rows import ROWS, RowsMalformed, write_rows
from infrastructure.projections.digester import Digests
from projections.catalogue import READ_MODELS
from tests import builders
from tests.infrastructure.log_export.stage import Log
from tests.projections.stage import Stage, stage_on
from tests.projections.story import tell
from tests.spec import TENANT

MAPPER = EventMapper(EVENTS, UPCASTERS)

_EVENTS = """
    SELECT position, recorded_at, tenant_id, stream_id, stream_version, name, actor,
           correlation_id, command_id, payload
    FROM events WHERE tenant_id = %s ORDER BY position"""


@pytest_asyncio.fixture
async def stage(database: str) -> AsyncGenerator[Stage]:
    async with stage_on(database) as stage:
        await tell(stage)
        await stage.show()
        yield stage


async def digested(stage: Stage) -> None:
    digests = Digests(stage.dsn, stage.log)
    for model in READ_MODELS:
        await digests.state(model, TENANT, compared=False)


async def exported(stage: Stage, root: Path) -> tuple[ExportDirectory, int]:
    """The tenant's log and what is shown of it now; the leaves as the database has them."""
    directory = ExportDirectory(root)
    await write_rows(stage.dsn, directory, READ_MODELS, TENANT)
    async with await psycopg.AsyncConnection.connect(stage.dsn) as admin:
        rows = await (await admin.execute(_EVENTS, (TENANT,))).fetchall()
    names = LoggedEvent.__struct_fields__
    leaves = [
        encode(msgspec.convert(dict(zip(names, row, strict=True)), LoggedEvent)) for row in rows
    ]
    Log(leaves).write(root)
    return directory, len(leaves)


async def by_hand(stage: Stage, statement: str) -> None:
    """What nobody may do: a change of one of our tenant's rows without an event."""
    async with await psycopg.AsyncConnection.connect(stage.dsn, autocommit=True) as admin:
        assert (await admin.execute(statement.encode(), (TENANT,))).rowcount == 1


async def replayed(
    stage: Stage, directory: ExportDirectory, size: int, *, every_digest: bool = False
) -> Replayed:
    return await replay(directory, size, stage.dsn, READ_MODELS, MAPPER, every_digest=every_digest)


def of_rows(found: Replayed) -> list[Mismatch]:
    """The story's own digest is made up, so those of the log are left aside."""
    return [each for each in found.mismatches if each.source == "rows"]


@pytest.mark.parametrize("every_digest", [False, True])
async def test_an_honest_export_is_replayed_to_what_was_shown(
    stage: Stage, tmp_path: Path, every_digest: bool
) -> None:
    await digested(stage)
    await tell(stage)
    await stage.show()
    await digested(stage)
    directory, size = await exported(stage, tmp_path)
    found = await replayed(stage, directory, size, every_digest=every_digest)
    # The story has a digest too, which nobody took of any rows: only a last one hides it.
    made_up = builders.projection_digested().position
    assert {each.position for each in found.mismatches} == ({made_up} if every_digest else set())
    assert (found.events, found.other_versions) == (size, 0)
    said = len(READ_MODELS) * (2 if every_digest else 1)
    assert found.compared >= said + len(READ_MODELS) - 2, "a digest is stated for what changed"


async def test_a_row_altered_by_sql_is_named_with_table_key_and_position(
    stage: Stage, tmp_path: Path
) -> None:
    await by_hand(
        stage,
        "UPDATE read_models.transactions SET decision = 'allow'"
        " WHERE outcome = 'refused' AND tenant_id = %s",
    )
    directory, size = await exported(stage, tmp_path)
    (mismatch,) = of_rows(await replayed(stage, directory, size))
    assert (mismatch.read_model, mismatch.table) == ("transactions", "transactions")
    assert mismatch.differing is not None
    assert mismatch.differing.difference == "altered"
    assert mismatch.differing.row_position is not None
    refused = [
        each
        for each in await stage.log.read(0, stage.last)
        if each.tenant_id == TENANT and each.event.NAME == "transaction.refused"
    ]
    assert mismatch.differing.row_position == refused[0].position
    assert str(refused[0].stream_id) in mismatch.differing.key


async def test_a_digest_in_the_log_convicts_rows_that_were_put_back_afterwards(
    stage: Stage, tmp_path: Path
) -> None:
    change = "UPDATE read_models.devices SET name = {} WHERE type = 'pos' AND tenant_id = %s"
    await by_hand(stage, change.format("name || '!'"))
    await digested(stage)
    await by_hand(stage, change.format("left(name, -1)"))
    directory, size = await exported(stage, tmp_path)
    found = await replayed(stage, directory, size)
    (mismatch,) = found.mismatches
    assert (mismatch.source, mismatch.read_model, mismatch.differing) == ("log", "devices", None)


async def test_rows_of_an_export_that_were_altered_on_the_way(stage: Stage, tmp_path: Path) -> None:
    directory, size = await exported(stage, tmp_path)
    path = f"{ROWS}/devices/devices.ndjson"
    whole = directory.read(path) or b""
    directory.write(path, whole.replace(b'"type":"pos"', b'"type":"atm"'))
    with pytest.raises(RowsMalformed, match=r"devices\.ndjson"):
        await replayed(stage, directory, size)
    directory.write(path, whole)
    (directory.root / path).unlink()
    with pytest.raises(RowsMalformed, match="missing"):
        await replayed(stage, directory, size)


async def test_rows_of_another_version_are_counted_and_not_compared(
    stage: Stage, tmp_path: Path
) -> None:
    directory, size = await exported(stage, tmp_path)
    path = f"{ROWS}/devices.json"
    head = msgspec.json.decode(directory.read(path) or b"")
    directory.write(path, msgspec.json.encode({**head, "version": 99}))
    found = await replayed(stage, directory, size)
    assert found.other_versions == 1
    assert not of_rows(found)


async def test_what_cannot_be_replayed_is_said(stage: Stage, tmp_path: Path) -> None:
    directory, size = await exported(stage, tmp_path)
    head_path = f"{ROWS}/devices.json"
    head = directory.read(head_path) or b""
    later = {**msgspec.json.decode(head), "position": 10**6}
    directory.write(head_path, msgspec.json.encode(later))
    with pytest.raises(CannotReplay, match="the log ends at"):
        await replayed(stage, directory, size)
    directory.write(head_path, head)
    (directory.root / tile_path(Tile(None, 0, size))).unlink()
    with pytest.raises(CannotReplay, match="not whole"):
        await replayed(stage, directory, size)
