"""Sixteen writers and two workers under kill -9, and rebuilds: read models end as the log says.

The second test is why the first may be believed: a worker that commits its position apart from
the rows, and a rebuild that skips an event at the swap, do not get past the same comparison.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

ROOT = Path(__file__).parents[2]
SHORT = ("--pause", "0.1", "--delay", "0.3", "--json")


def crowd(*arguments: str) -> dict[str, Any]:
    """What `python -m tests.chaos.crowd` says of itself, once it has ended well."""
    finished = subprocess.run(
        [sys.executable, "-m", "tests.chaos.crowd", *arguments, *SHORT],
        cwd=ROOT,
        capture_output=True,
        check=False,
        timeout=280,
    )
    assert finished.returncode == 0, finished.stderr.decode(errors="replace")[-3000:]
    return msgspec.json.decode(finished.stdout.splitlines()[-1], type=dict[str, Any])


def test_every_read_model_equals_a_replay_after_writers_workers_and_rebuilds_were_killed() -> None:
    told = crowd("--events", "3000", "--planted", "none")
    assert told["writers"] == 16
    honest = told["honest"]
    assert honest["different"] == []
    assert honest["events"] >= 3000
    assert honest["kills"]["worker"] >= 2
    assert honest["rebuilds"] >= 1
    assert honest["rows"] > honest["events"], "the audit alone has a row for every event"


@pytest.mark.parametrize("bug", ["position_apart", "skip_at_swap"])
def test_a_planted_bug_is_caught(bug: str) -> None:
    told = crowd("--events", "0", "--planted", bug, "--planted-events", "2000")
    assert told[bug]["different"]
