"""The first Platform Admin: what the environment says, and when it counts (003 §3.6)."""

from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from application.console.first_admin import FirstAdmin
from interfaces.environment import Environment

EMAIL: Final = "PLATFORM_ADMIN_EMAIL"
PASSWORD: Final = "PLATFORM_ADMIN_INITIAL_PASSWORD"  # noqa: S105 - a variable's name

_log = structlog.get_logger(__name__)

Seeded = Callable[[str, str], None]
"""Is told the address and the password that was drawn, and shows them once, on stdout."""


class FirstAdminSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Not looked at while there is a Platform Admin, and so not checked before."""

    email: str
    password: str | None

    def __repr__(self) -> str:
        return "FirstAdminSettings(...)"


def read_first_admin(env: Environment) -> FirstAdminSettings | None:
    password = env.optional(PASSWORD, secret=True)
    email = env.optional(EMAIL)
    return None if email is None else FirstAdminSettings(email=email, password=password)


async def seed_first_admin(
    first_admin: FirstAdmin, settings: FirstAdminSettings | None, seeded: Seeded
) -> None:
    """Make the first Platform Admin where there is none. The password goes to `seeded` and never
    through the logger (design §2 row 18).

    Raises Invalid for an address or a password that will not do.
    """
    if not await first_admin.wanted():
        return
    if settings is None:
        _log.warning("no_platform_admin")
        return
    drawn = await first_admin.seed(settings.email, settings.password)
    if drawn is not None:
        seeded(settings.email, drawn)
