"""Whom an auditor believes, and how long it takes: what the commands about exports share."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import rich_click as click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from domain.transparency.note import NoteMalformed, VerifierKey, read_vkey
from infrastructure.log_export.verification import Trust
from interfaces.cli.output import console

F = TypeVar("F", bound=Callable[..., None])

FILE = click.Path(dir_okay=False, path_type=Path)
directory_argument = click.argument("directory", type=click.Path(path_type=Path))


class CannotRun(click.ClickException):
    """What keeps a command from any verdict."""

    exit_code = 2


def trust_options(command: F) -> F:
    """The options by which an auditor says whom to believe."""
    key = click.option(
        "--key",
        "key_file",
        type=FILE,
        required=True,
        help="File with the log's verifier key, from a source that you trust.",
    )
    witness = click.option(
        "--witness",
        "witness_files",
        type=FILE,
        multiple=True,
        help="File with the verifier key of a witness; may be given again.",
    )
    required = click.option(
        "--witnesses",
        "witnesses_required",
        default=0,
        show_default=True,
        help="So many of the witnesses must have cosigned.",
    )
    return key(witness(required(command)))


def trust_of(key_file: Path, witness_files: tuple[Path, ...], required: int) -> Trust:
    return Trust(
        log_key=_key(key_file),
        witnesses=tuple(_key(path) for path in witness_files),
        witnesses_required=required,
    )


def _key(path: Path) -> VerifierKey:
    try:
        return read_vkey(read_file(path).decode().strip())
    except (NoteMalformed, UnicodeDecodeError) as error:
        raise CannotRun(f"{path}: {error}") from error


def read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CannotRun(str(error)) from error


@contextmanager
def progress(what: str) -> Generator[Callable[[int, int | None], None]]:
    """A bar on the terminal, for whoever sits at one."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as shown:
        task = shown.add_task(what, total=None)

        def told(done: int, total: int | None) -> None:
            shown.update(task, completed=done, total=total)

        yield told
