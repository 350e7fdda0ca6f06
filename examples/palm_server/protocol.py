"""The words of the palm protocol: `/KZ/query`, `/KZ/add`, `/KZ/delete`, `/KZ/health`.

The paths, the codes 0, 30008 and 50000, the four scores and the four thresholds are the
vendor's (seed 004, diagrams 4.3 and 4.4). The other codes are this server's own.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec

from examples.palm_server.gallery import Hand, Scores

OK: Final = 0
QUERY_TYPE_FORBIDDEN: Final = 30008
MALFORMED: Final = 40000
UNREADABLE: Final = 40001
USER_ID_TAKEN: Final = 40009
LOW_QUALITY: Final = 40010
UNKNOWN_PATH: Final = 40400
INTERNAL: Final = 50000

THRESHOLDS: Final[Scores] = (0.55, 0.55, 0.5, 0.55)
"""Device print, device vein, server print, server vein; what they cost is in the README."""

Group = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]
UserId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]{1,128}\Z")]


class Query(msgspec.Struct, forbid_unknown_fields=True):
    """Who is this? Pictures are PNG files in base64; without a group all groups are searched."""

    rgb: bytes
    ir: bytes
    group: Group | None = None
    hand: Literal["left", "right"] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=1, le=64)] = 5


class Add(msgspec.Struct, forbid_unknown_fields=True):
    """Enrol this palm under this id."""

    user_id: UserId
    rgb: bytes
    ir: bytes
    hand: Hand = "unknown"


class Delete(msgspec.Struct, forbid_unknown_fields=True):
    """Forget this palm."""

    user_id: UserId


class Answer(msgspec.Struct):
    """Every answer, whatever happened. `data` is null unless `code` says otherwise."""

    code: int
    msg: str
    data: Mapping[str, Any] | None = None
