"""What the person who watches sees: one block per step, aligned, and nothing else."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from examples.demo.step import Check, Step
from examples.demo.what_next import Suggestion

WIDTH: Final = 96

_BADGES: Final = {
    "allow": ("ALLOW", "bold white on green4"),
    "deny": ("DENY", "bold white on red3"),
    "not_recognized": ("NOT RECOGNIZED", "bold black on gold3"),
    "refused": ("REFUSED", "bold white on purple4"),
    "enrolled": ("ENROLLED", "bold white on dodger_blue3"),
    None: ("NO ANSWER", "bold white on grey37"),
}


class Screen:
    """Prints on stdout, or on stderr when stdout belongs to a program."""

    def __init__(self, *, stderr: bool) -> None:
        probe = Console(stderr=stderr)
        width = max(60, min(WIDTH, probe.width)) if probe.is_terminal else WIDTH
        self._console = Console(stderr=stderr, highlight=False, width=width)
        self._number = 0

    def title(self) -> None:
        self._console.print()
        self._console.print(Text("  Link Identity Platform", "bold"))
        self._console.print(Text("  A palm opens a gate, and an auditor can prove it.", "dim"))
        self._console.print()

    @contextmanager
    def working(self, what: str) -> Generator[None]:
        """Say that something takes a moment; nothing is left of it on the screen."""
        with self._console.status(Text(what, "dim"), spinner="dots"):
            yield

    def ready(self, what: str, where: str, seconds: float | None = None) -> None:
        """One line for something that is up."""
        row = Table.grid(padding=(0, 1), expand=True)
        row.add_column(width=1)
        row.add_column(width=14)
        row.add_column(ratio=1, overflow="fold")
        row.add_column(justify="right")
        took = "" if seconds is None else f"{seconds:.1f} s"
        row.add_row(Text("✓", "green"), what, Text(where, "dim"), Text(took, "dim"))
        self._console.print(Padding(row, (0, 2)))

    def chapter(self, title: str) -> None:
        self._console.print()
        self._console.print(
            Padding(Rule(Text(title, "bold"), style="grey50", align="left"), (0, 2))
        )
        self._console.print()

    def enrolled(self, step: Step) -> None:
        """An enrolment in one line: three alike need no more."""
        row = Table.grid(padding=(0, 1), expand=True)
        row.add_column(width=1)
        row.add_column(width=8)
        row.add_column(ratio=1)
        row.add_column()
        row.add_column(justify="right", width=8)
        row.add_row(
            _mark(step),
            Text(step.title, "bold"),
            Text(step.story, "dim"),
            _badge(step),
            f"{step.milliseconds:.0f} ms",
        )
        self._console.print(Padding(row, (0, 2)))
        self._failures(step.failures)

    def log_of(self, step: Step) -> None:
        """The events of a step, for a block that several steps share."""
        self._console.print()
        self._details([("log", _chain(step.events))])

    def played(self, step: Step) -> None:
        """A scene: what it is, what the device showed, how long it took, what the log holds."""
        self._number += 1
        head = Table.grid(padding=(0, 1), expand=True)
        head.add_column(width=1)
        head.add_column(width=1, justify="right")
        head.add_column(ratio=1)
        head.add_column(justify="right")
        head.add_row(
            _mark(step),
            Text(str(self._number), "bold"),
            Text(step.title, "bold"),
            Text(f"{step.milliseconds:.0f} ms", "bold"),
        )
        self._console.print(Padding(head, (0, 2)))
        self._console.print(Padding(Text(step.story, "dim"), (0, 6)))
        shown = Text.assemble(_badge(step), "  ", (step.display, "bold"))
        if step.reason:
            shown.append(f"  {step.reason}", "dim")
        self._console.print(Padding(shown, (0, 6)))
        rows = [("took", Text(step.took, "dim"))] if step.took else []
        rows += [("note", Text(note, "dim")) for note in step.notes]
        rows += [("log", _chain(step.events))] if step.events else []
        self._details(rows)
        self._failures(step.failures)
        self._console.print()

    def verdict(self, steps: Sequence[Step], seconds: float) -> None:
        wrong = [step for step in steps if not step.ok]
        if not wrong:
            text = Text(f"  ✓ All {len(steps)} steps came out as said", "bold green")
            text.append(f", in {seconds:.1f} s.", "green")
            self._console.print(text)
            return
        self._console.print(
            Text(f"  ✗ {len(wrong)} of {len(steps)} steps did not come out as said:", "bold red")
        )
        for step in wrong:
            self._console.print(Text(f"    {step.name}", "bold"))
            self._failures(step.failures)

    def suggest(self, suggestions: Sequence[Suggestion]) -> None:
        """Commands to paste. They are never broken into lines, however narrow the window."""
        self.chapter("Everything is still running: try it by hand")
        for suggestion in suggestions:
            self._console.print(Text(f"  {suggestion.about}", "cyan"))
            for line in suggestion.command.splitlines():
                self._console.print(Text(line), soft_wrap=True)
            self._console.print()
        self._console.print(Text("  Ctrl-C stops everything. README.md has the longer tour."))
        self._console.print()

    def say(self, text: str) -> None:
        self._console.print(Text(f"  {text}", "dim"))

    def trouble(self, text: str) -> None:
        self._console.print(Text(f"  ✗ {text}", "red"), soft_wrap=True)

    def _details(self, rows: Sequence[tuple[str, Text]]) -> None:
        if not rows:
            return
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(width=4)
        table.add_column(ratio=1)
        for name, text in rows:
            table.add_row(Text(name, "grey50"), text)
        self._console.print(Padding(table, (0, 2, 0, 6)))

    def _failures(self, failures: Sequence[Check]) -> None:
        for check in failures:
            line = f"      {check.what}: expected {check.expected!r}, found {check.found!r}"
            self._console.print(Text(line, "red"))


def _mark(step: Step) -> Text:
    return Text("✓", "green") if step.ok else Text("✗", "bold red")


def _badge(step: Step) -> Text:
    word, style = _BADGES[step.decision]
    return Text(f" {word} ", style)


def _chain(events: Sequence[str]) -> Text:
    """`transaction.received → identified → allowed`: a prefix is said when it changes."""
    chain = Text()
    before = ""
    for name in events:
        subject, _, what = name.rpartition(".")
        if chain:
            chain.append(" → ", "grey50")
        if subject != before:
            chain.append(f"{subject}.", "grey50")
        chain.append(what, "cyan")
        before = subject
    return chain
