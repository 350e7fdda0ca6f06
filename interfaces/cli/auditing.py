"""`link-identity log export | verify | prove | certificate`: what an auditor does with a copy.

All but `export` read a directory and a key; they know no secret, and open no database of ours.
"""

import sys
from pathlib import Path

import msgspec
import rich_click as click

from domain.catalogue import EVENTS, UPCASTERS
from domain.ids import TenantId
from domain.transparency.origin import PLATFORM_LOG
from infrastructure.event_log.mapper import EventMapper
from infrastructure.log_export import erasure_certificate
from infrastructure.log_export.directory import ExportDirectory, NotAnExport
from infrastructure.log_export.export import (
    AnotherLog,
    Exported,
    LogDamaged,
    NothingSigned,
    WriteRows,
    export,
)
from infrastructure.log_export.proving import CannotProve, NoSuchEvent, prove
from infrastructure.log_export.reasons import MEANINGS
from infrastructure.log_export.shown_rows import write_rows
from infrastructure.log_export.verification import Verdict, verify
from infrastructure.projections.live_rows import OtherVersion
from interfaces.cli.output import facts, json_option, line, notice
from interfaces.cli.session import WrongArgument, tenant_of, with_platform
from interfaces.cli.trust import (
    FILE,
    CannotRun,
    directory_argument,
    progress,
    read_file,
    trust_of,
    trust_options,
)
from interfaces.composition import Platform
from projections.catalogue import READ_MODELS

PLATFORM_NAME = "platform"


@click.command("export")
@click.option("--tenant", required=True, help="Whose log: ten_…, or `platform` for its own tree.")
@click.option("--final", is_flag=True, help="Only up to the last checkpoint with its cosignatures.")
@directory_argument
@json_option
def export_log(tenant: str, final: bool, directory: Path, as_json: bool) -> None:
    """Write a tenant's log to DIRECTORY, as files that any web server can serve.

    Into a directory that has an earlier export only what is new is written.
    """
    log_id = PLATFORM_LOG if tenant == PLATFORM_NAME else tenant_of(tenant)

    async def command(platform: Platform) -> Exported:
        # Where no worker runs, nobody would sign what is to be exported.
        async with platform.transparency.keeper:
            with progress("files") as told:
                return await export(
                    platform.transparency.logs,
                    log_id,
                    directory,
                    final=final,
                    rows=None if log_id == PLATFORM_LOG else _rows_of(platform, log_id),
                    progress=told,
                )

    try:
        done = with_platform(command)
    except AnotherLog as error:
        raise WrongArgument(str(error)) from error
    except (NothingSigned, LogDamaged, OtherVersion, OSError) as error:
        raise CannotRun(str(error)) from error
    facts({"directory": str(directory), **msgspec.to_builtins(done)}, as_json=as_json)


@click.command("verify")
@directory_argument
@trust_options
@click.option(
    "--since",
    "earlier_files",
    type=FILE,
    multiple=True,
    help="A checkpoint that you kept: the log must continue it. May be given again.",
)
@json_option
def verify_log(
    directory: Path,
    key_file: Path,
    witness_files: tuple[Path, ...],
    witnesses_required: int,
    earlier_files: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Check the export in DIRECTORY: signatures, every leaf, every tile, earlier checkpoints.

    Exit 0: verified. 1: refused, with the first bad leaf where one can be named. 2: could not run.
    """
    trust = trust_of(key_file, witness_files, witnesses_required)
    earlier = [read_file(path) for path in earlier_files]
    try:
        with progress("leaves") as told:
            verdict = verify(
                directory, trust, earlier=earlier, progress=lambda done: told(done, None)
            )
    except (NotAnExport, OSError) as error:
        raise CannotRun(str(error)) from error
    tell_verdict(verdict, as_json=as_json)
    if not verdict.ok:
        sys.exit(1)


@click.command("prove")
@directory_argument
@click.argument("event")
@trust_options
@click.option("--leaf", "leaf_file", type=FILE, help="Write the leaf that the proof is about here.")
@json_option
def prove_event(
    directory: Path,
    event: str,
    key_file: Path,
    witness_files: tuple[Path, ...],
    witnesses_required: int,
    leaf_file: Path | None,
    as_json: bool,
) -> None:
    """Print the tlog-proof of EVENT, which is a position of the log or <stream>:<version>.

    The proof has been checked with the key. Exit 1: there is no such event in the export. 2: the
    export is not whole, or not what was signed; `verify` says where.
    """
    trust = trust_of(key_file, witness_files, witnesses_required)
    try:
        proved = prove(ExportDirectory(directory), trust, event)
    except NoSuchEvent as error:
        raise WrongArgument(str(error)) from error
    except (CannotProve, NotAnExport, OSError) as error:
        raise CannotRun(str(error)) from error
    if leaf_file is not None:
        leaf_file.write_bytes(proved.leaf)
    if as_json:
        line({"index": proved.index, "leaf": proved.leaf.decode(), "proof": proved.proof})
    else:
        sys.stdout.write(proved.proof)


@click.command("certificate")
@directory_argument
@click.argument("certificate", type=FILE)
@trust_options
@json_option
def check_certificate(
    directory: Path,
    certificate: Path,
    key_file: Path,
    witness_files: tuple[Path, ...],
    witnesses_required: int,
    as_json: bool,
) -> None:
    """Check the CERTIFICATE of an erasure against the export in DIRECTORY.

    Every step must be in the signed log, and the steps must be the whole erasure of the person.
    Exit 0: it holds. 1: it does not. 2: could not run.
    """
    trust = trust_of(key_file, witness_files, witnesses_required)
    try:
        verdict = erasure_certificate.check_certificate(
            ExportDirectory(directory),
            trust,
            EventMapper(EVENTS, UPCASTERS),
            read_file(certificate),
        )
    except (CannotProve, NotAnExport, OSError) as error:
        raise CannotRun(str(error)) from error
    told = msgspec.to_builtins(verdict)
    facts(told if as_json else {k: v for k, v in told.items() if v is not None}, as_json=as_json)
    if verdict.reason is not None:
        if not as_json:
            notice(f"refused: {erasure_certificate.MEANINGS[verdict.reason]}")
        sys.exit(1)


def _rows_of(platform: Platform, tenant_id: TenantId) -> WriteRows:
    async def rows(directory: ExportDirectory) -> int:
        return await write_rows(platform.dsn, directory, READ_MODELS, tenant_id)

    return rows


def tell_verdict(verdict: Verdict, *, as_json: bool) -> None:
    told = msgspec.to_builtins(verdict)
    if as_json:
        line(told)
        return
    facts({name: value for name, value in told.items() if value is not None}, as_json=False)
    if verdict.reason is not None:
        notice(f"refused: {MEANINGS[verdict.reason]}")
