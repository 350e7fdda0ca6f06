"""Where the key-encryption key is kept: the part of the settings about it, and its keeper."""

from pathlib import Path
from typing import Final, Literal

import msgspec

from infrastructure.keys.key_encryption import KeyEncryption
from infrastructure.keys.key_file import KeyFile
from infrastructure.keys.key_keepers import TwoKeepers
from infrastructure.keys.key_token import TokenKeys, TokenSettings
from infrastructure.keys.keyring import KeyringUnusable
from interfaces.environment import Environment

KEEPERS: Final = ("file", "token")
_TOKEN: Final = ("LINK_PKCS11_MODULE", "LINK_PKCS11_TOKEN", "LINK_PKCS11_PIN_FILE")


class KeySettings(msgspec.Struct, frozen=True, kw_only=True):
    """`keeper` makes new keys; what the other one holds, where it is set, opens all the same."""

    keeper: Literal["file", "token"]
    file: Path
    file_given: bool
    token: TokenSettings | None = None


def read_keys(env: Environment, data_dir: Path) -> KeySettings:
    file = env.optional("LINK_KEY_FILE", wanted="a file")
    keeper = env.choice("LINK_KEY_KEEPER", "file", KEEPERS)
    module, label, pin_file = (env.optional(name, wanted="a text") for name in _TOKEN)
    token = None
    if module and label and pin_file:
        token = TokenSettings(module=Path(module), token=label, pin_file=Path(pin_file))
    elif keeper == "token" or module or label or pin_file:
        for name in _TOKEN:
            if not env.is_set(name):
                env.refuse(name, "what a token needs, all three: " + ", ".join(_TOKEN))
    return KeySettings(
        keeper="token" if keeper == "token" else "file",
        file=Path(file) if file else data_dir / "keys" / "master.key",
        file_given=file is not None,
        token=token,
    )


def open_keeper(settings: KeySettings, *, make: bool) -> tuple[KeyEncryption, bytes | None]:
    """The keeper, and the key of a key file from before tenants had keys, where there is a file.

    `make`: a key file that nobody named is made where there is none; a token's key is made by
    `keys make` alone. Raises KeyringUnusable.
    """
    if settings.token is None:
        file = KeyFile(settings.file, make=make and not settings.file_given)
        return file, file.first()
    file = KeyFile(settings.file, make=False, absent=True)
    token = TokenKeys(settings.token)
    first, second = (token, file) if settings.keeper == "token" else (file, token)
    keeper = TwoKeepers(first, second)
    if make and not keeper.ids():
        raise KeyringUnusable(
            f"neither the token {settings.token.token} nor {settings.file} holds a key: make one"
            " for a new database with `link-identity keys make`"
        )
    return keeper, file.first() if file.ids() else None
