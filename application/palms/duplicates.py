"""Duplicate search: whose palm it is already, before it becomes somebody else's."""

from collections.abc import Sequence
from typing import Final

from application.ports import CANDIDATES_MAX, EventLog, PalmVerifier, Scan
from domain import enrollment as e
from domain import tenant as t
from domain.ids import PalmRef, UserId
from domain.matching import judge

DEADLINE_S: Final = 5.0


class Duplicates:
    def __init__(self, log: EventLog, palms: PalmVerifier) -> None:
        self._log = log
        self._palms = palms

    async def alike(self, tenant: t.Tenant, scan: Scan) -> Sequence[PalmRef]:
        """The palms at the vendor that pass for this one, each judged by itself.

        Nothing when the tenant does not want the search. Raises PalmQueryForbidden and
        PalmVendorFailed.
        """
        if not tenant.settings.duplicate_palm_check:
            return []
        # As many as there may be: templates that only wait to be destroyed hide nobody else's.
        candidates = await self._palms.identify(
            tenant.tenant_key, scan, k=CANDIDATES_MAX, deadline_s=DEADLINE_S
        )
        policy = tenant.settings.match_policy
        return [
            candidate.palm_ref
            for candidate in candidates.found
            if judge(policy, [candidate], candidates.thresholds).verdict == "match"
        ]

    async def of_others(
        self, tenant: t.Tenant, alike: Sequence[PalmRef], user_id: UserId
    ) -> Sequence[e.Enrollment]:
        """Which of these palms somebody else has, or is about to have, by the log as it is now."""
        held = [e.rebuild(await self._log.load(tenant.id, palm_ref)) for palm_ref in alike]
        return [
            each
            for each in held
            if each is not None
            and each.started.user_id != user_id
            and (each.status == "started" or each.template == "kept")
        ]
