"""What may be done to a good token that is only text, so that nobody may take it any more."""

import base64
import json
import unicodedata
from collections.abc import Mapping
from itertools import pairwise
from urllib.parse import quote

LEFT_OUT_OF = 8
"""Of how many equal parts one is left out."""


def opaque_forgeries(good: str, *others: str) -> Mapping[str, str]:
    """By name, each differs from the good one and from the rest. `others` are good tokens of the
    same kind, of somebody else: their parts are put together with this one's."""
    cuts = [len(good) * part // LEFT_OUT_OF for part in range(LEFT_OUT_OF + 1)]
    found = {
        "empty": "",
        "a space": " ",
        "NUL": "\0",
        "a wildcard": "%",
        "a path": "../" * 8 + "etc/passwd",
        "SQL": "' OR '1'='1",
        "oversize": good + "A" * 4096,
        "twice": good + good,
        "backwards": good[::-1],
        "in capitals": good.upper(),
        "in small letters": good.lower(),
        "the other way round": good.swapcase(),
        "in base64": base64.b64encode(good.encode()).decode(),
        "in hexadecimal": good.encode().hex(),
        "as JSON": json.dumps(good),
        "in a list": json.dumps([good]),
        "with a scheme": f"Bearer {good}",
        "escaped": quote(good, safe="").replace("_", "%5F") + "%00",
        "full width": "".join(chr(ord(each) + 0xFEE0) for each in good),
        "another script's digits": good.translate({ord("0") + n: 0x660 + n for n in range(10)})
        + "\u0661",
        "with an accent": unicodedata.normalize("NFD", "\u00e9") + good,
        "with a zero-width space": good[:4] + "\u200b" + good[4:],
        "with a Cyrillic letter": "\u0430" + good[1:],
        "another kind": f"zzz{good[3:]}",
        "without its kind": good.partition("_")[2] or good[1:],
    }
    for end in (" ", "\n", "\r\n", "\t", "\0", "=", "==", ".", ";", "A", "0", "\u0000x"):
        found[f"{end!r} behind"] = good + end
        found[f"{end!r} before"] = end + good
    for first, last in pairwise(cuts):
        found[f"without {first} to {last}"] = good[:first] + good[last:]
        found[f"only {first} to {last}"] = good[first:last]
    for at in range(len(good)):
        found[f"another sign at {at}"] = good[:at] + _next(good[at]) + good[at + 1 :]
    for number, other in enumerate(others):
        for cut in cuts[1:-1]:
            found[f"its first {cut}, the rest of {number}"] = good[:cut] + other[cut:]
    named = {text: name for name, text in found.items() if text not in {good, *others}}
    return {name: text for text, name in named.items()}


def _next(sign: str) -> str:
    """Another sign of the same sort, so that the form stays right."""
    for sort in ("0123456789", "abcdef", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"):
        if sign in sort:
            return sort[(sort.index(sign) + 1) % len(sort)]
    return "x" if sign != "x" else "y"
