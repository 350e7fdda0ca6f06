"""The pages about the platform say what the code says, and say it once."""

import re
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import pytest

from docs.events import page
from domain.catalogue import EVENTS
from domain.events import DomainEvent
from projections.published import PUBLISHED, Published

DOCS = Path(__file__).parents[2] / "docs"
ENTRY = re.compile(
    r"[A-Z].+\.\n\*Seeds:\* \S.*?\. \*Field:\* \S.*?\. \*Not:\* \S.*?\.\n*", re.DOTALL
)


def glossary() -> list[tuple[str, str]]:
    """Every term of the glossary with its entry, in the order of the page."""
    text = (DOCS / "glossary.md").read_text("utf-8")
    _, *parts = re.split(r"^### (.+)\n", text, flags=re.MULTILINE)
    return list(zip(parts[::2], parts[1::2], strict=True))


def disorder(terms: list[str]) -> list[str]:
    """The terms that stand twice, or before their place in the alphabet."""
    return [after for before, after in pairwise(terms) if before.lower() >= after.lower()]


def test_the_page_of_events_is_fresh() -> None:
    assert (DOCS / "events.md").read_text("utf-8") == page(EVENTS, PUBLISHED), (
        "run `python -m docs.events > docs/events.md`"
    )


@pytest.mark.parametrize("event", EVENTS.values(), ids=lambda event: event.NAME)
def test_every_event_says_in_a_sentence_what_happened(event: type[DomainEvent]) -> None:
    assert re.match(r"[A-Z].*\.$", event.__doc__ or "", re.DOTALL | re.MULTILINE)
    assert event.__doc__ != DomainEvent.__doc__


@pytest.mark.parametrize("event", EVENTS.values(), ids=lambda event: event.NAME)
def test_every_event_stands_on_the_page_with_every_field(event: type[DomainEvent]) -> None:
    _, _, after = (DOCS / "events.md").read_text("utf-8").partition(f"### `{event.NAME}`\n")
    section = after.partition("\n#")[0]
    assert f"`{event.__name__}`, version {event.VERSION}." in section
    assert re.findall(r"^- `(\w+)`:", section, re.MULTILINE) == list(event.__struct_fields__)


class DeviceMoved(DomainEvent, frozen=True, kw_only=True):
    """A device stands somewhere else."""

    NAME: ClassVar[str] = "device.moved"
    site: str


class DeviceRenamed(DomainEvent, frozen=True, kw_only=True):
    NAME: ClassVar[str] = "device.renamed"


def test_a_new_event_changes_the_page() -> None:
    shown = page(
        {**EVENTS, DeviceMoved.NAME: DeviceMoved},
        {**PUBLISHED, DeviceMoved: Published("device", "device_moved")},
    )
    assert shown != page(EVENTS, PUBLISHED)
    assert "### `device.moved`\n\nA device stands somewhere else.\n" in shown
    assert "Audit: `device_moved`. Webhook: none.\n\n- `site`: text\n" in shown


def test_an_event_that_nobody_decided_how_to_publish_has_no_page() -> None:
    with pytest.raises(KeyError):
        page({DeviceMoved.NAME: DeviceMoved}, PUBLISHED)


def test_an_event_that_does_not_say_what_happened_has_no_page() -> None:
    with pytest.raises(ValueError, match="DeviceRenamed"):
        page(
            {DeviceRenamed.NAME: DeviceRenamed},
            {DeviceRenamed: Published("device", "device_renamed")},
        )


def test_the_terms_of_the_glossary_are_unique_and_sorted() -> None:
    assert disorder([term for term, _ in glossary()]) == []


def test_a_term_out_of_place_or_said_twice_is_noticed() -> None:
    assert disorder(["Claim", "Actor", "Event", "event", "Void"]) == ["Actor", "event"]


@pytest.mark.parametrize(("term", "entry"), glossary(), ids=lambda part: part.partition("\n")[0])
def test_a_term_has_a_meaning_and_the_words_of_others(term: str, entry: str) -> None:
    assert ENTRY.fullmatch(entry), f"{term}: a meaning, then Seeds, Field and Not"


def test_every_aggregate_of_the_catalogue_is_in_the_glossary() -> None:
    words = {term.lower().replace(" ", "_") for term, _ in glossary()}
    assert {name.partition(".")[0] for name in EVENTS} - words == set()
