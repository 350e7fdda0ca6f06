"""One row per commit by pgbench, the tool that comes with PostgreSQL: the baseline of appends."""

import os
import random
import re
import subprocess
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import psycopg
from psycopg.conninfo import conninfo_to_dict

from benchmarks.processes import ProgramFailed
from infrastructure.embedded.installation import packaged_postgres

_TPS: Final = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)
_LATENCY: Final = re.compile(r"^latency average = ([0-9.]+) ms", re.MULTILINE)

_TABLE: Final = """
    CREATE TABLE plain_events (
        tenant_id uuid NOT NULL,
        stream_id uuid,
        stream_version bigint,
        name text NOT NULL,
        payload bytea NOT NULL,
        position bigint GENERATED ALWAYS AS IDENTITY,
        PRIMARY KEY (stream_id, stream_version)
    )
"""

_INSERT: Final = """
    INSERT INTO plain_events (tenant_id, stream_id, stream_version, name, payload)
    VALUES ('{tenant_id}', uuidv7(), 1, 'transaction.denied', '\\x{payload}');
"""


class OneRowPerCommit:
    """A table as one would make it for events by hand, and single inserts into it.

    Its indexes are those of our log and its ids are UUIDv7 too. It has fewer columns, and its
    positions have gaps and are not in the order of commits, so it is a baseline that does less.
    """

    def __init__(self, dsn: str, event_bytes: int) -> None:
        self._given: dict[str, Any] = conninfo_to_dict(dsn)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(_TABLE)
            connection.execute("CREATE UNIQUE INDEX ON plain_events (position)")
            connection.execute("CREATE INDEX ON plain_events (tenant_id, position)")
        payload = random.Random(1).randbytes(event_bytes).hex()  # noqa: S311 (filler, no secret)
        self._script = _INSERT.format(tenant_id=uuid4(), payload=payload)

    def run(self, clients: int, seconds: float) -> tuple[float, float]:
        """Inserts per second and the mean latency in milliseconds; whole seconds, at least one.

        Raises ProgramFailed.
        """
        arguments = {
            "--host": self._given["host"],
            "--port": self._given["port"],
            "--username": self._given["user"],
            "--client": clients,
            "--jobs": min(clients, os.cpu_count() or 1),
            "--time": max(1, round(seconds)),
            "--protocol": "prepared",
            "--file": "/dev/stdin",
        }
        finished = subprocess.run(
            [
                str(_program()),
                "--no-vacuum",
                *(str(part) for pair in arguments.items() for part in pair),
                self._given["dbname"],
            ],
            input=self._script,
            capture_output=True,
            text=True,
            check=False,
        )
        tps, latency = _TPS.search(finished.stdout), _LATENCY.search(finished.stdout)
        if finished.returncode != 0 or tps is None or latency is None:
            raise ProgramFailed(f"pgbench: {finished.stderr}{finished.stdout}")
        return float(tps[1]), float(latency[1])


def _program() -> Path:
    return packaged_postgres() / "bin" / "pgbench"
