"""Reads one-time codes where a platform in development leaves them, as a person reads a text."""

from pathlib import Path

from infrastructure.clock import SystemClock
from infrastructure.messages.inbox import Inbox


class NoCode(Exception):
    """Nothing was sent to this mobile, or not by this platform."""


class InboxCodes:
    """The development inbox under a platform's LINK_DATA_DIR, which must be on this machine."""

    def __init__(self, data_dir: Path) -> None:
        self._inbox = Inbox(data_dir / "inbox", SystemClock())
        self._data_dir = data_dir

    async def code_for(self, mobile: str) -> str:
        """The newest code that was sent to a mobile. Raises NoCode."""
        message = self._inbox.read(mobile)
        if message is None:
            raise NoCode(f"no message for {mobile} in the inbox under {self._data_dir}")
        return message.code
