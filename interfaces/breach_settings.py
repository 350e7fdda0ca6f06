"""Where breached passwords are looked up, as the environment tells it."""

from pathlib import Path
from typing import Final

import msgspec

from infrastructure.passwords.hash_file import HashFile, NotAHashFile
from interfaces.environment import Environment
from interfaces.network_names import is_url

URL: Final = "LINK_BREACHED_PASSWORDS_URL"
FILE: Final = "LINK_BREACHED_PASSWORDS_FILE"


class BreachSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Besides the list that goes with the program."""

    url: str | None
    file: Path | None


def read_breach_settings(env: Environment, *, development: bool) -> BreachSettings:
    schemes = ("https", "http") if development else ("https",)
    url = env.optional(
        URL,
        wanted=f"an {schemes[0]} URL that ends in a slash, such as https://…/range/",
        check=lambda text: is_url(text, schemes) and text.endswith("/") and "?" not in text,
    )
    file = env.optional(FILE, wanted="a file")
    if file is None:
        return BreachSettings(url=url, file=None)
    try:
        HashFile(Path(file)).close()
    except NotAHashFile as error:
        env.refuse(FILE, f"SHA-1 digests in ascending order, one a line: {error}")
    return BreachSettings(url=url, file=Path(file))
