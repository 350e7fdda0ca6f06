"""What a run found: figures to report, and violations, of which there must be none."""

from collections.abc import Sequence

import msgspec

PROMISED = (
    "lost",
    "rewound",
    "gaps",
    "nonsense",
    "changed",
    "second_decisions",
    "uncommitted_allows",
    "extra_charges",
    "calls_without_intent",
    "allows_without_charge",
    "unmarked_orphans",
    "voided_though_shown",
    "orphans_left",
    "journals_left",
    "opened_in_vain",
    "settled_late",
    "false_conflicts",
    "unexpected_statuses",
    "stale_read_models",
)


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """Counts up to now. The README says what each one means."""

    acknowledged: int
    allowed: int
    transactions: int
    events: int
    given_up: int
    journaled: int
    charges: int
    voids: int
    orphan_charges: int
    orphans_undecided: int
    orphans_allowed: int
    lost: int
    rewound: int
    gaps: int
    nonsense: int
    changed: int
    second_decisions: int
    uncommitted_allows: int
    extra_charges: int
    calls_without_intent: int
    allows_without_charge: int
    unmarked_orphans: int
    voided_though_shown: int
    orphans_left: int
    journals_left: int
    opened_in_vain: int
    settled_late: int
    false_conflicts: int
    unexpected_statuses: int
    stale_read_models: int
    evidence: Sequence[str]

    def violations(self) -> dict[str, int]:
        """Every promise that was broken, with how often."""
        return {name: count for name in PROMISED if (count := getattr(self, name))}
