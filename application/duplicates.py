"""Duplicate search: whose palm it is already, before it becomes somebody else's."""

from typing import Final

from application.ports import (
    PalmQueryForbidden,
    PalmVendorFailed,
    PalmVerifier,
    Scan,
    Streams,
)
from domain import enrollment as e
from domain import tenant as t
from domain.errors import Conflict, Unavailable
from domain.ids import UserId
from domain.matching import judge

DEADLINE_S: Final = 5.0
SOUGHT: Final = 5


class Duplicates:
    def __init__(self, streams: Streams, palms: PalmVerifier) -> None:
        self._streams = streams
        self._palms = palms

    async def owners(self, tenant: t.Tenant, scan: Scan) -> list[UserId]:
        """The people to whom the vendor finds this palm enrolled, each palm judged by itself.

        Raises Conflict (`palm_type_not_allowed`) and Unavailable (`palm_vendor_error`,
        `palm_vendor_timeout`).
        """
        try:
            candidates = await self._palms.identify(
                tenant.tenant_key, scan, k=SOUGHT, deadline_s=DEADLINE_S
            )
        except PalmQueryForbidden as error:
            raise Conflict("palm_type_not_allowed") from error
        except PalmVendorFailed as error:
            raise Unavailable(error.reason, retry_after_s=1) from error
        owners: list[UserId] = []
        for candidate in candidates.found:
            match = judge(tenant.settings.match_policy, [candidate], candidates.thresholds)
            held = await self._streams.state(tenant.id, candidate.palm_ref, e.rebuild)
            if match.verdict == "match" and held is not None and held.status == "completed":
                owners.append(held.started.user_id)
        return owners
