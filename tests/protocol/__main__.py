"""`python -m tests.protocol [--histories N]`: draw more histories than the tests have time for.

First N with every rule in force, then as many as it takes, up to N, with each rule off in turn.
Exit code 0 when every promise held and every rule that was off was missed.
"""

import argparse
import contextlib
import io
import sys
import tempfile
from pathlib import Path

import psycopg

from infrastructure.embedded.postgres import EmbeddedPostgres
from infrastructure.migrate import migrate
from tests.protocol.ground import Ground, opened
from tests.protocol.histories import RULES
from tests.protocol.machine import search
from tests.protocol.promises import Broken
from tests.protocol.scene import Plant

DATABASE = "protocol"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.protocol", description=__doc__)
    parser.add_argument("--histories", type=int, default=1000)
    most: int = parser.parse_args().histories
    with tempfile.TemporaryDirectory(prefix="link-protocol-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with EmbeddedPostgres(
            folder, state_root=folder / "state", shared_buffers_mb=128, notice=_say
        ) as server:
            with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {DATABASE}".encode())
            migrate(server.dsn(DATABASE))
            with opened(server.dsn(DATABASE)) as ground:
                return _search_all(ground, most)


def _search_all(ground: Ground, most: int) -> int:
    search(ground, Plant(), examples=most)
    _say(f"{ground.histories} histories with every rule in force: every promise held")
    missed = 0
    for name, rule in RULES.items():
        before = ground.histories
        try:
            # Hypothesis would print the whole history, which nobody has to mend.
            with contextlib.redirect_stdout(io.StringIO()):
                search(ground, rule.off, examples=most)
        except Broken as found:
            drawn = ground.histories - before
            _say(f"without {name}: {found.promise!r} broken within {drawn} histories")
        else:
            missed += 1
            _say(f"without {name}: NOT FOUND in {most} histories")
    return 1 if missed else 0


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
