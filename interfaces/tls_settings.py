"""Whether the operator has a server certificate in files, and where. Part of `settings.py`."""

from pathlib import Path

import msgspec

from interfaces.environment import Environment


class FilePair(msgspec.Struct, frozen=True, kw_only=True):
    """A chain in PEM, the leaf first, and its key without a passphrase."""

    certificate: Path
    key: Path


class TlsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the API's listeners show, and what the device listener does; None for what the platform
    keeps itself."""

    public: FilePair | None
    device: FilePair | None


def read_tls(env: Environment) -> TlsSettings:
    return TlsSettings(public=_pair(env, "LINK_SERVER"), device=_pair(env, "LINK_DEVICE"))


def _pair(env: Environment, prefix: str) -> FilePair | None:
    names = f"{prefix}_CERT_FILE", f"{prefix}_KEY_FILE"
    found = [env.optional(name, wanted="a file") for name in names]
    if found[0] is not None and found[1] is not None:
        return FilePair(certificate=Path(found[0]), key=Path(found[1]))
    for name, other, value in zip(names, reversed(names), found, strict=True):
        if value is not None:
            env.refuse(name, f"{other} beside it")
    return None
