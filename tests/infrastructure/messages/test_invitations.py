"""An invitation's letter: a link whose secret no server is sent, or the invitation alone."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from domain.errors import Unavailable
from infrastructure.messages.inbox import Inbox
from infrastructure.messages.invitations import InvitationLetters
from infrastructure.messages.no_sender import NoSender
from tests.application.hand_clock import HandClock

UNTIL = datetime(2026, 3, 8, 12, 0, tzinfo=UTC)
INVITATION = "lci_" + "0" * 64 + "_1_" + "x" * 43
PAGE = "https://console.example/invitation"


@pytest.mark.parametrize("page", [None, PAGE])
async def test_it_has_the_invitation_and_its_end(tmp_path: Path, page: str | None) -> None:
    inbox = Inbox(tmp_path, HandClock())
    await InvitationLetters(inbox, page).send("noura@example.com", INVITATION, UNTIL)
    letter = inbox.read("noura@example.com")
    assert letter is not None
    assert letter.code == INVITATION
    assert "until 2026-03-08 12:00 (UTC)" in letter.text
    wanted = INVITATION if page is None else f"{PAGE}#invitation={INVITATION}"
    assert f"\n{wanted}\n" in letter.text


async def test_where_nobody_sends_mail_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("")
    for letters in (NoSender("email"), Inbox(tmp_path / "a file", HandClock())):
        with pytest.raises(Unavailable, match="mail_not_sent"):
            await InvitationLetters(letters, PAGE).send("noura@example.com", INVITATION, UNTIL)
