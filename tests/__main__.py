"""Run every test, in parallel; what fails runs once more, alone.

    python -m tests [ARGUMENTS OF PYTEST]

What fails twice fails. What passes alone had to do with the load: it is named at the very end as
FLAKY, for somebody to mend, and does not fail the run.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

import pytest

PROCESSES_MOST: Final = 8
AGAIN_MOST: Final = 30
"""Whatever fails more often than that is broken, and not flaky."""


class Failed:
    """Hears which tests failed, in whichever process."""

    def __init__(self) -> None:
        self.names: dict[str, None] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """By pytest's own hook; a test may fail in its set-up or afterwards, too."""
        if report.failed:
            self.names[report.nodeid] = None


def main(arguments: Sequence[str]) -> int:
    """The exit code of pytest, of the second run where there was one."""
    failed = Failed()
    parallel = ("-n", str(processes()), "--dist=worksteal")
    code = int(pytest.main([*parallel, *arguments], plugins=[failed]))
    names = list(failed.names)
    if code != pytest.ExitCode.TESTS_FAILED or not 0 < len(names) <= AGAIN_MOST:
        return code
    say(f"{len(names)} failed; they run once more, alone:", names)
    again = subprocess.run([sys.executable, "-m", "pytest", *names], check=False).returncode
    if again == 0:
        say(f"FLAKY: {len(names)} failed under load and passed alone. Mend them:", names)
    return again


def processes() -> int:
    """One more than there are cores: at any time some test waits for a disk or for a clock."""
    return min((os.cpu_count() or 1) + 1, PROCESSES_MOST)


def say(headline: str, names: Sequence[str]) -> None:
    """On stderr, one name a line."""
    sys.stderr.write("\n".join(["", headline, *(f"    {name}" for name in names), ""]))
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
