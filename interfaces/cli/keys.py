"""The commands of `link-identity keys`: make, show and rotate the key-encryption key."""

import asyncio

import rich_click as click

from infrastructure.edge.listeners import new_event_loop
from infrastructure.keys.key_encryption import KeyEncryption
from infrastructure.keys.key_file import KeyFile, make_key_file
from infrastructure.keys.key_rotation import Rotated, rotate
from interfaces.cli.output import facts, json_option, notice
from interfaces.cli.session import WrongArgument
from interfaces.key_settings import open_keeper
from interfaces.process import prepare
from interfaces.servers import servers
from interfaces.settings import Settings


def _keeper() -> KeyEncryption:
    return open_keeper(Settings.from_environment().keys, make=False)[0]


@click.group()
def keys() -> None:
    """Make and rotate the key that wraps all others (docs/privacy.md)."""


@keys.command("make")
@json_option
def make(as_json: bool) -> None:
    """Make the file that LINK_KEY_FILE names, or a key in the token, for a new database."""
    settings = Settings.from_environment().keys
    if settings.keeper == "token":
        keeper = _keeper()
        if keeper.ids():
            raise WrongArgument("there is a key already; `keys rotate` makes another one")
        facts({"key_id": keeper.add()}, as_json=as_json)
        return
    path = settings.file
    if not make_key_file(path):
        raise WrongArgument(f"{path} is there already; it is never overwritten")
    facts({"key_file": str(path), "key_id": KeyFile(path).ids()[0]}, as_json=as_json)


@keys.command("show")
@json_option
def show(as_json: bool) -> None:
    """Show the ids of the keys that are held, the one that wraps first; never a key."""
    path = Settings.from_environment().keys.file
    held = _keeper().ids()
    facts(
        {"key_file": str(path), "key_ids": list(held) if as_json else ", ".join(held)},
        as_json=as_json,
    )


@keys.command("prepare")
@json_option
def prepare_key(as_json: bool) -> None:
    """Put a new key before the others; `rotate --prepared` begins to use it."""
    facts({"key_id": _keeper().add()}, as_json=as_json)


@keys.command("rotate")
@click.option("--prepared", is_flag=True, help="Use the first key that is held, make none.")
@click.option("--keep-old", is_flag=True, help="Leave the old key with its keeper.")
@json_option
def rotate_key(prepared: bool, keep_old: bool, as_json: bool) -> None:
    """Wrap every tenant's key by a new key-encryption key while the platform serves.

    Begun and cut off, it is finished by running it again.
    """
    settings = Settings.from_environment()
    keeper = _keeper()

    async def run(dsn: str) -> Rotated:
        return await rotate(
            dsn,
            keeper,
            prepared=prepared,
            keep_old=keep_old,
            progress=lambda done: None if as_json else notice(f"{done} keys wrapped anew"),
        )

    with servers(settings, notice) as found:
        prepare(found)
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            rotated = runner.run(run(found.dsn))
    facts(
        {
            "key_id": rotated.key_id,
            "rewrapped": rotated.rewrapped,
            "destroyed": list(rotated.destroyed) if as_json else ", ".join(rotated.destroyed),
        },
        as_json=as_json,
    )
