"""What fails under load alone is named FLAKY, and what fails twice fails."""

import subprocess
from collections.abc import Sequence

import pytest

from tests.__main__ import AGAIN_MOST, Failed, main


class Runs:
    """Stands in for both runs of pytest: `names` fail in the first, and what comes of each run."""

    def __init__(self, names: Sequence[str], first: int, again: int) -> None:
        self._names, self._first, self._again = names, first, again
        self.repeated: list[str] | None = None

    def main(self, arguments: Sequence[str], plugins: Sequence[Failed]) -> int:
        assert "palm" in arguments
        for name in self._names:
            for when in ("call", "teardown"):
                place = (name, None, name)
                report = pytest.TestReport(name, place, {}, "failed", None, when)
                plugins[0].pytest_runtest_logreport(report)
        return self._first

    def run(
        self, command: Sequence[str], *, check: bool
    ) -> subprocess.CompletedProcess[Sequence[str]]:
        assert not check
        self.repeated = [*command[3:]]
        return subprocess.CompletedProcess(command, self._again)


@pytest.mark.parametrize(
    ("names", "first", "again", "code", "flaky"),
    [
        ([], 0, 0, 0, False),
        (["t.py::one", "t.py::two[a::b]"], 1, 0, 0, True),
        (["t.py::one"], 1, 1, 1, False),
        (["t.py::one"], 2, 0, 2, False),
        ([], 1, 0, 1, False),
        ([f"t.py::{n}" for n in range(AGAIN_MOST + 1)], 1, 0, 1, False),
    ],
    ids=["all well", "flaky", "broken", "interrupted", "no test failed", "too many"],
)
def test_what_a_run_comes_to(
    names: list[str],
    first: int,
    again: int,
    code: int,
    flaky: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = Runs(names, first, again)
    monkeypatch.setattr("tests.__main__.pytest.main", runs.main)
    monkeypatch.setattr("tests.__main__.subprocess.run", runs.run)
    assert main(["-k", "palm"]) == code
    said = capsys.readouterr().err
    assert ("FLAKY" in said) is flaky
    if flaky:
        assert said.endswith("".join(f"    {name}\n" for name in names))
        assert runs.repeated == names
