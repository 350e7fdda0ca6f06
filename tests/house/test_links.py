"""What the pages point at is there, and no page speaks of the machine that it was written on."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DECISIONS = ROOT / "docs" / "decisions"
PAGES = sorted(
    [
        *(page for page in (ROOT / "README.md", ROOT / "CHANGELOG.md") if page.exists()),
        *(ROOT / "docs").rglob("*.md"),
    ]
)
FOLDERS = (
    "application|benchmarks|clients|docs|domain|examples|infrastructure|interfaces|projections"
    "|tests"
)

LINK = re.compile(r"\[[^\]]*\]\((?![a-z]+:)([^)\s]+)\)")
MENTION = re.compile(
    rf"(?<![\w./:-])(?:\./)?((?:{FOLDERS})/(?:[\w.-]+/)*(?:[\w-]+\.(?:py|sql|md|toml)|(?=[`\s,.)])))"
)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
MACHINE = re.compile(r"(?<![\w.~-])/(?:work|root|Users|home/(?!link\b))\b")


def slug(heading: str) -> str:
    """The anchor that a heading has on a forge: lower case, hyphens, no punctuation."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")


def anchors(text: str) -> set[str]:
    return {slug(found) for found in HEADING.findall(FENCE.sub("", text))}


def broken_links(page: Path, text: str) -> Iterator[str]:
    """Relative links of a page that lead to no file, or to no heading of it."""
    for link in LINK.findall(FENCE.sub("", text)):
        name, _, anchor = link.partition("#")
        target = page.parent / name
        if name and not target.exists():
            yield link
            continue
        there = target.read_text("utf-8") if name and anchor else text
        if anchor and anchor not in anchors(there):
            yield link


def missing_files(text: str) -> list[str]:
    """Files and folders of ours that a text names and that are not there."""
    return [name for name in MENTION.findall(text) if not (ROOT / name).exists()]


def machine_names(text: str) -> list[str]:
    """Lines that name a place of one machine: this checkout, this home, somebody's folders."""
    places = [str(ROOT), str(Path.home())]
    return [
        line
        for line in text.splitlines()
        if MACHINE.search(line) or any(len(place) > 1 and place in line for place in places)
    ]


def index() -> list[tuple[int, str, str]]:
    """The decisions as the index lists them: number, title, file."""
    rows = re.findall(
        r"^\| (\d+) \| \[(.+)\]\((\d{4}-[\w-]+\.md)\) \|$",
        (DECISIONS / "README.md").read_text("utf-8"),
        re.MULTILINE,
    )
    return [(int(number), title, name) for number, title, name in rows]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    assert list(broken_links(page, page.read_text("utf-8"))) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    assert missing_files(page.read_text("utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_page_names_the_machine_it_was_written_on(page: Path) -> None:
    assert machine_names(page.read_text("utf-8")) == []


def test_every_decision_is_in_the_index_under_its_own_title() -> None:
    pages = sorted(DECISIONS.glob("[0-9]*.md"))
    assert pages, "there are decisions"
    titled = [page.read_text("utf-8").partition("\n")[0] for page in pages]
    listed = index()
    assert [name for _, _, name in listed] == [page.name for page in pages]
    assert [f"# {number}. {title}" for number, title, _ in listed] == titled
    assert [number for number, _, _ in listed] == list(range(1, len(pages) + 1))


@pytest.mark.parametrize("page", sorted(DECISIONS.glob("[0-9]*.md")), ids=lambda page: page.name)
def test_a_decision_says_why_what_and_what_follows(page: Path) -> None:
    headings = HEADING.findall(page.read_text("utf-8"))
    assert [kept for kept in headings if kept in ("Context", "Decision", "Consequences")] == [
        "Context",
        "Decision",
        "Consequences",
    ]


def test_a_link_to_nothing_is_noticed() -> None:
    page = ROOT / "docs" / "page.md"
    text = "# Some heading\n[a](#some-heading) [b](#another) [c](nowhere.md) [d](https://x.example)"
    assert list(broken_links(page, text)) == ["#another", "nowhere.md"]
    text = "[e](glossary.md#claim) [f](glossary.md#claymore) [g](../README)"
    assert list(broken_links(page, text)) == ["glossary.md#claymore", "../README"]


def test_a_file_that_was_moved_is_noticed() -> None:
    text = "See `domain/device.py`, domain/devize.py, (./tests/nowhere/) and `tests/house/`."
    assert missing_files(text) == ["domain/devize.py", "tests/nowhere/"]


def test_a_place_of_this_machine_is_noticed() -> None:
    assert machine_names(f"cd {ROOT}\ncd /home/ali/link\ncd ./somewhere") == [
        f"cd {ROOT}",
        "cd /home/ali/link",
    ]
