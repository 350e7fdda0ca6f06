"""The development inbox keeps codes for the CLI, and the words follow the locale."""

import asyncio
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infrastructure.messages import wording
from infrastructure.messages.inbox import FILE_NAME, Inbox
from tests.infrastructure.messages.unsent import CODE, MOBILE, refused


class Noon:
    """A clock that moves one second with each look."""

    def __init__(self) -> None:
        self.at = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

    def now(self) -> datetime:
        self.at += timedelta(seconds=1)
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()


async def test_the_inbox_gives_the_latest_message_of_a_destination(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox", Noon())
    assert inbox.read(MOBILE) is None
    for destination, code in ((MOBILE, "111111"), (MOBILE, CODE), ("+966500000002", "222222")):
        await inbox.send(destination, code, "ar")
    message = Inbox(tmp_path / "inbox", Noon()).read(MOBILE)
    assert message is not None
    assert message.code == CODE
    assert message.text == wording.text(CODE, "ar")
    assert message.sent_at == "2026-03-01T12:00:02+00:00"
    assert inbox.read("+966500000009") is None


async def test_the_inbox_is_its_owners_only(tmp_path: Path) -> None:
    await Inbox(tmp_path / "inbox", Noon()).send(MOBILE, CODE, "en")
    assert stat.S_IMODE((tmp_path / "inbox").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "inbox" / FILE_NAME).stat().st_mode) == 0o600


async def test_messages_sent_at_once_keep_to_their_lines(tmp_path: Path) -> None:
    inboxes = [Inbox(tmp_path, Noon()) for _ in range(4)]
    await asyncio.gather(*(inboxes[n % 4].send(f"+{n}", f"{n:06}", "ar") for n in range(100)))
    read = {message.destination: message.code for message in inboxes[0].messages()}
    assert read == {f"+{n}": f"{n:06}" for n in range(100)}


async def test_a_line_without_its_end_is_no_message_yet(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, Noon())
    await inbox.send(MOBILE, CODE, "en")
    with (tmp_path / FILE_NAME).open("ab") as file:
        file.write(b'{"destination":"+9665')
    assert [message.code for message in inbox.messages()] == [CODE]


async def test_an_inbox_that_cannot_be_written_says_that_nothing_was_sent(tmp_path: Path) -> None:
    (tmp_path / "inbox").write_bytes(b"")
    assert await refused(Inbox(tmp_path / "inbox", Noon())) == ["FileExistsError"]


@pytest.mark.parametrize(
    ("locale", "written"),
    [("en", "en"), ("ar-SA", "ar"), ("AR_eg", "ar"), ("fr", "en"), ("", "en")],
)
def test_the_words_follow_the_locale_and_are_english_otherwise(locale: str, written: str) -> None:
    assert wording.language(locale) == written
    assert CODE in wording.text(CODE, locale)
    assert CODE not in wording.subject(locale)
