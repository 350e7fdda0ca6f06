"""The command line as a script meets it, against a test's own database."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

ROOT = Path(__file__).parents[2]


class Shell:
    """Runs the commands of one group."""

    def __init__(self, dsn: str, folder: Path, group: str) -> None:
        given = conninfo_to_dict(dsn)
        host = quote(str(given["host"]), safe="")
        url = f"postgresql://{given['user']}@/{given['dbname']}?host={host}&port={given['port']}"
        self._group = group
        self._env = {
            **os.environ,
            "LINK_DATABASE_URL": url,
            "LINK_DATA_DIR": str(folder),
            "LINK_DEVELOPMENT": "true",
        }

    def run(self, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
        """What stands on stdout, a line an object; the program ends with `code`."""
        finished = subprocess.run(
            [sys.executable, "-m", "interfaces", self._group, *arguments, "--json"],
            cwd=ROOT,
            env=self._env,
            capture_output=True,
            check=False,
            timeout=120,
        )
        assert finished.returncode == code, finished.stderr.decode(errors="replace")
        return [json.loads(line) for line in finished.stdout.splitlines()]
