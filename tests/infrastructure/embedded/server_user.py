"""A process that uses an embedded server until it is told to stop, or killed: a test's subject.

It reads one JSON object from its arguments, says `{"connect": ...}` once the server answers, and
stops cleanly at the end of its standard input.
"""

import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import msgspec

from infrastructure.embedded.postgres import EmbeddedPostgres
from infrastructure.embedded.redis import EmbeddedRedis


class Order(msgspec.Struct, kw_only=True):
    """What to run, where, and as whom; `program` is an installation or an executable."""

    server: Literal["postgres", "redis"]
    data_dir: str
    state_root: str
    program: str
    uid: int | None = None


def become(uid: int) -> None:
    """Give up root for good, as an ordinary user's process has never had it."""
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)


def main() -> None:
    order = msgspec.json.decode(sys.argv[1], type=Order)
    if order.uid is not None:
        become(order.uid)
    program, data_dir = Path(order.program), Path(order.data_dir)
    with ExitStack() as stack:
        if order.server == "postgres":
            postgres = stack.enter_context(
                EmbeddedPostgres(
                    data_dir,
                    state_root=Path(order.state_root),
                    installation=program,
                    shared_buffers_mb=128,
                )
            )
            connect = postgres.dsn()
        else:
            connect = stack.enter_context(EmbeddedRedis(data_dir, program)).url()
        sys.stdout.write(json.dumps({"connect": connect}) + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
