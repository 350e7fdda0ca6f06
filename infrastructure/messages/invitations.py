"""What somebody reads who is invited into the console."""

from datetime import datetime
from typing import Final, Protocol

SUBJECT: Final = "Your invitation to the Link Identity console"
TEXT: Final = """\
You are invited to the Link Identity console. {how}

{what}

It counts once, until {until} (UTC), and for you alone: do not pass it on. If you expect no
invitation, do nothing.
"""
LINKED: Final = "Open this link and choose a password:"
ALONE: Final = "Whoever runs your console says where to enter this invitation:"


class Letters(Protocol):
    async def letter(self, destination: str, subject: str, text: str, code: str) -> None:
        """Hand an e-mail to the server; `code` is what matters in it. Raises Unavailable
        (`mail_not_sent`)."""
        ...


class InvitationLetters:
    """`InvitationMail`. The token stands behind a `#` of the link, which no server is sent."""

    def __init__(self, letters: Letters, page: str | None) -> None:
        self._letters = letters
        self._page = page

    async def send(self, email: str, invitation: str, until: datetime) -> None:
        how = ALONE if self._page is None else LINKED
        what = invitation if self._page is None else f"{self._page}#invitation={invitation}"
        text = TEXT.format(how=how, what=what, until=f"{until:%Y-%m-%d %H:%M}")
        await self._letters.letter(email, SUBJECT, text, invitation)
