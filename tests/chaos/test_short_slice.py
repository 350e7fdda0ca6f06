"""A few kills under load in every run of the tests; `make chaos` does the long ones.

The last test is why the first may be believed: a platform that answers before it commits, and
one that asks the product under another key, do not get past the same harness.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

ROOT = Path(__file__).parents[2]


def chaos(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
    """`python -m tests.chaos` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "tests.chaos", *arguments, "--json"],
        cwd=ROOT,
        capture_output=True,
        check=False,
        timeout=600,
    )


def summary(finished: "subprocess.CompletedProcess[bytes]") -> dict[str, Any]:
    """The last line, once the run is known to be good."""
    assert finished.returncode == 0, finished.stderr.decode(errors="replace")[-3000:]
    return msgspec.json.decode(finished.stdout.splitlines()[-1], type=dict[str, Any])


def test_five_kills_lose_nothing_and_double_nothing() -> None:
    """Two of the platform, and one each of a backend, the postmaster, and both at once."""
    found = summary(chaos("--kills", "5", "--planted", "none"))
    assert found.pop("acknowledged") > 5 * 20
    assert found == {
        "kills": 5,
        "lost": 0,
        "gaps": 0,
        "extra_charges": 0,
        "orphan_charges": 0,
        "uncommitted_allows": 0,
        "planted_caught": 0,
        "planted_total": 0,
    }


@pytest.mark.parametrize("bug", ["answer_before_commit", "fresh_product_key"])
def test_a_platform_with_a_planted_bug_is_caught(bug: str) -> None:
    found = summary(chaos("--kills", "0", "--planted", bug))
    assert (found["planted_caught"], found["planted_total"]) == (1, 1)
