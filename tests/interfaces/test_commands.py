"""The command line: what its end means to a script, and that the documents name what there is."""

from pathlib import Path

import pytest
import rich_click as click

from domain.errors import Conflict
from interfaces.cli.commands import commands
from interfaces.cli.exit_codes import exit_code
from interfaces.cli.session import WrongArgument

CHANGELOG = Path(__file__).parents[2] / "CHANGELOG.md"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Conflict("conflict"), 1),
        (WrongArgument("no message"), 1),
        (TimeoutError(), 2),
        (click.UsageError("no such command"), 2),
    ],
)
def test_a_command_that_did_not_do_it_says_so_in_its_exit_code(error: Exception, code: int) -> None:
    def command() -> None:
        raise error

    assert exit_code(command) == code


def test_a_bug_is_not_told_as_a_refusal() -> None:
    """A KeyError of ours was once "refused", with exit code 1 and no trace."""

    def command() -> None:
        raise KeyError("a name that our own code should have known")

    with pytest.raises(KeyError):
        exit_code(command)


def test_a_read_model_that_there_is_not_is_a_wrong_argument() -> None:
    with pytest.raises(click.UsageError, match="nothing"):
        commands(["projections", "resume", "nothing"], standalone_mode=False)


def test_the_changelog_names_every_command() -> None:
    """`log check` was missing."""
    told = CHANGELOG.read_text()
    for name, command in commands.commands.items():
        if isinstance(command, click.Group):
            for sub in command.commands:
                assert f"`{name} {sub}`" in told.replace("\n  ", " "), f"{name} {sub}"
        else:
            assert f"`{name}`" in told, name
