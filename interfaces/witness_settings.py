"""Who is asked to cosign checkpoints, and how many must, as the environment says it."""

from typing import Final

import msgspec

from domain.transparency.note import COSIGNATURE_V1, NoteMalformed, VerifierKey, read_vkey
from interfaces.environment import Environment
from interfaces.network_names import is_url

_WITNESSES: Final = "LINK_WITNESSES"
WITNESSES_MAX: Final = 16


class WitnessSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A witness's key (cosignature/v1), and the prefix of its `add-checkpoint`."""

    key: VerifierKey
    url: str


def read_witnesses(
    env: Environment, *, development: bool
) -> tuple[tuple[WitnessSettings, ...], int]:
    """The witnesses, and how many cosignatures make a checkpoint final: more than half of them
    unless something else is said, 0 when there are none."""
    schemes = ("https", "http") if development else ("https",)
    wanted = (
        f"witnesses with commas between, each its verifier key (type 0x04), a space and its"
        f" {schemes[0]} URL without a slash at the end; no key twice, {WITNESSES_MAX} at most"
    )
    texts = env.entries(
        _WITNESSES, wanted=wanted, check=lambda text: _witness(text, schemes) is not None
    )
    found = tuple(witness for text in texts if (witness := _witness(text, schemes)) is not None)
    keys = {witness.key.public_key for witness in found}
    if len(keys) < len(found) or len(found) > WITNESSES_MAX:
        env.refuse(_WITNESSES, wanted)
    default = len(found) // 2 + 1 if found else 0
    required = env.integer(
        "LINK_WITNESSES_REQUIRED", default, least=min(1, len(found)), most=len(found)
    )
    return found, required


def _witness(text: str, schemes: tuple[str, ...]) -> WitnessSettings | None:
    vkey, _, url = text.partition(" ")
    try:
        key = read_vkey(vkey)
    except NoteMalformed:
        return None
    if key.algorithm != COSIGNATURE_V1 or not is_url(url, schemes) or url.endswith("/"):
        return None
    return WitnessSettings(key=key, url=url)
