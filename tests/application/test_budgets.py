"""Every budget stands in the runbook's table, and no other does."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
COUNTING = {"hit", "room", "left", "_count", "Budget"}


def budgets_of(source: str) -> Iterator[str]:
    """The names that are written where something is counted."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        first = node.args[0]
        if name in COUNTING and isinstance(first, ast.Constant) and isinstance(first.value, str):
            yield first.value


def test_every_budget_is_told_to_whoever_runs_the_platform() -> None:
    counted = {
        budget
        for room in ("application", "interfaces")
        for path in (ROOT / room).rglob("*.py")
        for budget in budgets_of(path.read_text())
    }
    page = (ROOT / "docs" / "runbook.md").read_text()
    section = page.partition("## Somebody is told to wait (429)")[2].partition("\n## ")[0]
    told = set(re.findall(r"^\| `([a-z_.]+)` \|", section, re.M))
    assert told == counted
    assert len(told) > 20


def test_a_budget_that_nobody_told_of_is_found() -> None:
    planted = 'await self._limiter.hit("new.budget", key, limit=1, per_s=1)'
    assert list(budgets_of(f"async def f(self, key):\n    {planted}")) == ["new.budget"]
