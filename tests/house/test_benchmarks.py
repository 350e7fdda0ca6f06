"""Every benchmark runs from nothing to its one line of JSON; how fast it was is not asked."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import BENCHMARKS

ROOT = Path(__file__).parents[2]
FIELDS = {"name", "ours", "baseline", "ratio", "unit", "runs"}
SHORT = ("--rounds", "1", "--in-flight", "20", "--leaves", "3000")
SECONDS = {"broker-slow": "1.2", "broker-open": "0.4"}
"""A palm that takes 850 ms is not found in less, unless the load waits for the last answers; the
others are content with 0.3 seconds."""

OTHERS: dict[str, set[str]] = {
    "append": {"library", "ratio_to_library", "one_submitter"},
    "broker": {"ours", "baseline", "processes"},
    "broker-open": {"ours", "memory_mb", "overload", "neighbour", "lost", "processes"},
    "broker-slow": {"ours", "baseline", "processes"},
    "checkpoint": {"signed"},
    "edge": {"revoked"},
    "login": {"tokens_quiet", "tokens_in_a_storm", "p99_ratio"},
    "projections": {"events", "read_models"},
    "token": {"ours"},
    "verify": {"leaves", "megabytes"},
    "growth": {"events", "loads", "pages"},
}


@pytest.mark.parametrize("name", list(BENCHMARKS))
def test_a_benchmark_ends_with_one_json_object_as_agreed(name: str, tmp_path: Path) -> None:
    found = measured(name, tmp_path)
    assert found.keys() >= FIELDS
    assert found["name"] == name
    assert found["ours"] > 0
    assert found["ratio"] is None or found["ratio"] == pytest.approx(
        found["ours"] / found["baseline"], rel=0.01
    )
    assert [run.keys() for run in found["runs"]] == [{"ours", "baseline"}]
    assert found["others"].keys() >= OTHERS[name]
    assert {"cpus", "load_average", "stolen_share"} <= found["machine"].keys()
    if name == "broker-open":
        assert (found["others"]["lost"], found["others"]["overload"]["errors"]) == (0, 0)
    if name.startswith("broker"):
        assert found["others"]["ours"]["errors"] == 0
        assert found["others"]["ours"]["cpu_us"]["app"] > 0


def measured(name: str, tmp_path: Path) -> dict[str, Any]:
    """What the last line of a short run says. Nothing of it stays behind in its folder."""
    short = (*SHORT, "--seconds", SECONDS.get(name, "0.3"))
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks", name, "--json", *short],
        cwd=ROOT,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "TMPDIR": str(open_to_all(tmp_path))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert list(tmp_path.glob("link-bench-*")) == []
    answer: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return answer


def open_to_all(folder: Path) -> Path:
    """Let the account that PostgreSQL runs as pass through, up to the folder of all tests."""
    for each in (folder, *folder.parents[:3]):
        if each.owner() == Path.home().owner() and each != Path("/"):
            each.chmod(each.stat().st_mode | 0o011)
    return folder
