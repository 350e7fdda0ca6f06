"""What the command line says: words for people on stderr, facts on stdout, JSON when asked."""

import json
import sys
from collections.abc import Mapping
from typing import Any

import rich_click as click
from rich.console import Console

console = Console(stderr=True, highlight=False)

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")


def notice(text: str) -> None:
    console.print(text)


def facts(values: Mapping[str, Any], *, as_json: bool) -> None:
    """One answer: aligned for people, one JSON object for programs."""
    if as_json:
        line(values)
        return
    width = max(len(name) for name in values)
    for name, value in values.items():
        sys.stdout.write(f"{name:<{width}}  {value}\n")
    sys.stdout.flush()


def line(values: Mapping[str, Any]) -> None:
    """One JSON object on a line of its own."""
    sys.stdout.write(json.dumps(values, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()
