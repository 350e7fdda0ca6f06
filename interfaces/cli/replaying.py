"""`link-identity log replay`: what the log comes to, beside what the platform showed."""

import asyncio
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import rich_click as click

from domain.catalogue import EVENTS, UPCASTERS
from infrastructure.embedded.postgres import EmbeddedPostgres
from infrastructure.event_log.mapper import EventMapper
from infrastructure.log_export.directory import ExportDirectory, NotAnExport
from infrastructure.log_export.replaying import CannotReplay, Mismatch, Replayed, replay
from infrastructure.log_export.shown_rows import RowsMalformed
from infrastructure.log_export.verification import verify
from infrastructure.migrate import migrate
from interfaces.cli.auditing import tell_verdict
from interfaces.cli.output import facts, json_option, line
from interfaces.cli.trust import CannotRun, directory_argument, progress, trust_of, trust_options
from projections.catalogue import READ_MODELS


@click.command("replay")
@directory_argument
@trust_options
@click.option(
    "--database",
    help="A database to replay in, with rights to migrate it. Default: a fresh embedded one.",
)
@click.option("--every-digest", is_flag=True, help="Compare all digests in the log, not the last.")
@json_option
def replay_log(
    directory: Path,
    key_file: Path,
    witness_files: tuple[Path, ...],
    witnesses_required: int,
    database: str | None,
    every_digest: bool,
    as_json: bool,
) -> None:
    """Verify the export in DIRECTORY, rebuild the read models from it, and compare.

    They are compared with the digests that the platform committed into the log, and with the
    rows that it showed at the export. Exit 0: all the same. 1: not verified, or a row differs,
    which is named by table, key and position. 2: could not run.
    """
    trust = trust_of(key_file, witness_files, witnesses_required)
    try:
        with progress("leaves") as told:
            verdict = verify(directory, trust, progress=lambda done: told(done, None))
        if not verdict.ok or verdict.size is None:
            tell_verdict(verdict, as_json=as_json)
            sys.exit(1)
        with progress("events") as told, _replay_database(database) as dsn:
            found = asyncio.run(
                replay(
                    ExportDirectory(directory),
                    verdict.size,
                    dsn,
                    READ_MODELS,
                    EventMapper(EVENTS, UPCASTERS),
                    every_digest=every_digest,
                    progress=told,
                )
            )
    except (NotAnExport, CannotReplay, RowsMalformed, OSError) as error:
        raise CannotRun(str(error)) from error
    _tell_replayed(found, as_json=as_json)
    if not found.ok:
        sys.exit(1)


@contextmanager
def _replay_database(dsn: str | None) -> Generator[str]:
    """A migrated database; one of our own is gone with the block."""
    if dsn is not None:
        migrate(dsn)
        yield dsn
        return
    with tempfile.TemporaryDirectory(prefix="link-replay-") as made:
        folder = Path(made)
        # The server's account, which is not ours when we are root, has to get in.
        folder.chmod(0o711)
        with EmbeddedPostgres(folder, state_root=folder / "state") as server:
            migrate(server.dsn())
            yield server.dsn()


def _tell_replayed(found: Replayed, *, as_json: bool) -> None:
    told: dict[str, Any] = {"ok": found.ok, "events": found.events, "position": found.position}
    told |= {"compared": found.compared, "other_versions": found.other_versions}
    mismatches = [_mismatch(each) for each in found.mismatches]
    if as_json:
        line({**told, "mismatches": mismatches})
        return
    facts(told, as_json=False)
    for mismatch in mismatches:
        sys.stdout.write("\n")
        facts({name: value for name, value in mismatch.items() if value is not None}, as_json=False)


def _mismatch(found: Mismatch) -> dict[str, Any]:
    differing = found.differing
    return {
        "read_model": found.read_model,
        "said_by": "a digest in the log" if found.source == "log" else "the exported rows",
        "at_position": found.position,
        "table": found.table,
        "difference": None if differing is None else differing.difference,
        "key": None if differing is None else msgspec.json.decode(differing.key),
        "position": None if differing is None else differing.row_position,
    }
