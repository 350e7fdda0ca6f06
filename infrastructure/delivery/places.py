"""Who may have how many of a worker's places, so that whoever hangs keeps nobody else waiting.

A try takes a place for as long as its receiver lets it: up to the kind's deadline. Three shares
bound what is lost on those who do not answer, over what this process has in flight:

- A destination has `per_destination_max`, and one in a run of failures has a single place: one try
  is enough to see whether it is back.
- Destinations in a run of failures have half of the places together.
- A tenant has half of the places, however many of its destinations are slow.

The rest is fair: a free place goes to the destination that has the fewest.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import msgspec

from application.ports import DeliveryPolicy


class Taken(msgspec.Struct, frozen=True):
    """A delivery in flight. `failing`: its destination was in a run of failures when it began."""

    tenant_id: UUID
    destination: UUID
    failing: bool


def free(policy: DeliveryPolicy, taken: Iterable[Taken]) -> dict[str, Any] | None:
    """What the query of a claim must know (`outbox.py`); None when no place is free."""
    running = list(taken)
    limit = policy.in_flight_max - len(running)
    if limit <= 0:
        return None
    share = max(1, policy.in_flight_max // 2)
    at = Counter(each.destination for each in running)
    of = Counter(each.tenant_id for each in running)
    most = policy.per_destination_max
    return {
        "limit": limit,
        "per_destination": most,
        "busy": list(at),
        "used": list(at.values()),
        "full": [where for where, used in at.items() if used >= most],
        "per_tenant": share,
        "tenants": list(of),
        "used_by": list(of.values()),
        "crowded": [who for who, used in of.items() if used >= share],
        "failing_room": share - sum(each.failing for each in running),
    }
