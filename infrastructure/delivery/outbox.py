"""The outbox as the workers see it: take a lease, renew it, say how it went.

Leases are held on the database's clock. The number of a try is the fence: whoever finishes a
delivery shows it, and is refused once somebody else has tried, or the tenant has had the
delivery tried again.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, LiteralString

import msgspec

from application.ports import Attempted, Dead, Delivered, Delivery, EventRef, RetryLater, Waits
from infrastructure.database import Pool

LOOKED_AT_MAX: Final = 500
OUTAGE_S: Final = 10.0
"""A destination that failed for so long and takes something again has come back. One delivery that
it refuses among others that it takes makes no outage of this length."""

# Deliveries behind an older one of their lane, those of a destination that wants to be left alone,
# and those whose share of the places is taken (`places.py`), are passed over before anything is
# counted, so that no backlog hides what stands behind it. The other conditions stand twice: what
# the first look found may have been taken by the time it is locked, and only conditions beside the
# lock are looked at again.
_CLAIM: Final[LiteralString] = """
    WITH looked AS (
        SELECT d.*, row_number() OVER (PARTITION BY d.destination ORDER BY d.due_at) AS nth
        FROM (
            SELECT c.id, c.tenant_id, c.destination, c.due_at,
                   s.failing_since IS NOT NULL AS failing
            FROM deliveries c
            LEFT JOIN delivery_destinations s ON s.kind = c.kind AND s.destination = c.destination
            WHERE c.kind = %(kind)s AND c.state = 'pending' AND c.due_at <= now()
              AND (c.lease_until IS NULL OR c.lease_until < now())
              AND (s.hold_until IS NULL OR s.hold_until <= now())
              AND c.destination <> ALL (%(full)s)
              AND c.tenant_id <> ALL (%(crowded)s)
              AND (s.failing_since IS NULL
                   OR (%(failing_room)s > 0 AND c.destination <> ALL (%(busy)s)))
              AND NOT EXISTS (
                  SELECT FROM deliveries older
                  WHERE older.kind = c.kind AND older.lane = c.lane
                    AND older.state = 'pending' AND older.position < c.position)
            ORDER BY c.due_at
            LIMIT %(looked_at)s
        ) AS d
    ), due AS (
        SELECT l.id, l.tenant_id, l.failing, l.due_at, l.nth + coalesce(b.used, 0) AS place,
               row_number() OVER (PARTITION BY l.tenant_id ORDER BY l.nth, l.due_at) AS of_tenant,
               row_number() OVER (PARTITION BY l.failing ORDER BY l.due_at) AS of_failing
        FROM looked l
        LEFT JOIN unnest(%(busy)s::uuid[], %(used)s::int[]) AS b (destination, used)
            ON b.destination = l.destination
        WHERE l.nth + coalesce(b.used, 0)
              <= CASE WHEN l.failing THEN 1 ELSE %(per_destination)s END
    ), chosen AS (
        SELECT d.id
        FROM due
        JOIN deliveries d ON d.id = due.id
        LEFT JOIN unnest(%(tenants)s::uuid[], %(used_by)s::int[]) AS t (tenant_id, used)
            ON t.tenant_id = due.tenant_id
        WHERE due.of_tenant <= %(per_tenant)s - coalesce(t.used, 0)
          AND (NOT due.failing OR due.of_failing <= %(failing_room)s)
          AND d.state = 'pending' AND d.due_at <= now()
          AND (d.lease_until IS NULL OR d.lease_until < now())
        ORDER BY due.place, due.due_at
        LIMIT %(limit)s
        FOR UPDATE OF d SKIP LOCKED
    ), taken AS (
        UPDATE deliveries d
        SET attempts = d.attempts + 1, tries = d.tries + 1,
            lease_until = now() + make_interval(secs => %(lease_s)s)
        FROM chosen WHERE d.id = chosen.id
        RETURNING d.*
    ), begun AS (
        INSERT INTO delivery_attempts (delivery_id, attempt, tenant_id)
        SELECT id, attempts, tenant_id FROM taken
    )
    SELECT t.id, t.kind, t.tenant_id, t.destination, t.lane, t.event_id, t.event, t.stream_id,
           t.stream_version, t.position, t.recorded_at, t.attempts, t.owed_at, s.failing_since,
           t.tries, extract(epoch FROM now() - t.trying_since)::float8
    FROM taken t
    LEFT JOIN delivery_destinations s ON s.kind = t.kind AND s.destination = t.destination
    ORDER BY t.position
"""
_RENEW: Final[LiteralString] = """
    UPDATE deliveries SET lease_until = now() + make_interval(secs => %(lease_s)s)
    WHERE id = %(id)s AND attempts = %(attempt)s AND state = 'pending'
      AND lease_until IS NOT NULL
"""
_FINISH: Final[LiteralString] = """
    WITH fenced AS (
        UPDATE deliveries
        SET state = %(state)s, reason = %(reason)s, lease_until = NULL,
            due_at = now() + make_interval(secs => %(wait_s)s),
            finished_at = CASE WHEN %(state)s = 'pending' THEN NULL ELSE now() END
        WHERE id = %(id)s AND attempts = %(attempt)s AND state = 'pending'
          AND lease_until IS NOT NULL
        RETURNING id
    )
    UPDATE delivery_attempts
    SET finished_at = now(), outcome = %(outcome)s, reason = %(reason)s, status = %(status)s
    WHERE delivery_id = %(id)s AND attempt = %(attempt)s AND EXISTS (SELECT FROM fenced)
"""
# As if nobody had taken it: the try is not counted, nor is the time that it had to wait.
_PUT_BACK: Final[LiteralString] = """
    WITH fenced AS (
        UPDATE deliveries
        SET lease_until = NULL, tries = tries - 1, trying_since = now(),
            due_at = now() + make_interval(secs => %(wait_s)s)
        WHERE id = %(id)s AND attempts = %(attempt)s AND state = 'pending'
          AND lease_until IS NOT NULL
        RETURNING id
    ), untold AS (
        DELETE FROM delivery_attempts
        WHERE delivery_id = %(id)s AND attempt = %(attempt)s AND EXISTS (SELECT FROM fenced)
    )
    SELECT id FROM fenced
"""
_LEAVE_ALONE: Final[LiteralString] = """
    INSERT INTO delivery_destinations AS d (kind, destination, tenant_id, hold_until)
    VALUES (%(kind)s, %(destination)s, %(tenant_id)s, now() + make_interval(secs => %(wait_s)s))
    ON CONFLICT (kind, destination) DO UPDATE
    SET hold_until = greatest(d.hold_until, excluded.hold_until)
"""
_SUCCEEDS: Final[LiteralString] = """
    UPDATE delivery_destinations SET failing_since = NULL
    WHERE kind = %(kind)s AND destination = %(destination)s AND failing_since IS NOT NULL
"""
# Both rows are taken in this order by whoever finishes; what is leased is not touched.
_WAKES: Final[LiteralString] = """
    WITH back AS (
        UPDATE delivery_destinations SET failing_since = NULL, hold_until = NULL
        WHERE kind = %(kind)s AND destination = %(destination)s
          AND failing_since < now() - make_interval(secs => %(outage_s)s)
        RETURNING destination
    )
    UPDATE deliveries SET due_at = now()
    WHERE tenant_id = %(tenant_id)s AND kind = %(kind)s AND destination = %(destination)s
      AND state = 'pending' AND lease_until IS NULL AND due_at > now()
      AND EXISTS (SELECT FROM back)
"""
_FAILS: Final[LiteralString] = """
    INSERT INTO delivery_destinations AS d (kind, destination, tenant_id, failing_since, hold_until)
    VALUES (%(kind)s, %(destination)s, %(tenant_id)s, now(),
            now() + make_interval(secs => %(hold_s)s))
    ON CONFLICT (kind, destination) DO UPDATE
    SET failing_since = CASE WHEN %(begins_run)s THEN excluded.failing_since
                             ELSE coalesce(d.failing_since, excluded.failing_since) END,
        hold_until = greatest(d.hold_until, excluded.hold_until)
"""
_PRUNE: Final[LiteralString] = """
    DELETE FROM deliveries WHERE id IN (
        SELECT id FROM deliveries
        WHERE state <> 'pending' AND finished_at < now() - make_interval(secs => %s)
        LIMIT 5000)
"""


class Leased(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery that this worker may try now. `tries` and `trying_for_s` begin anew with a
    replay; the delivery's own `attempt` does not."""

    delivery: Delivery
    tries: int
    trying_for_s: float


class Outbox:
    """`pool` is of link_projector: a worker delivers for every tenant. Raises psycopg.Error."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def claim(self, kind: str, places: Mapping[str, Any], lease_s: float) -> Sequence[Leased]:
        """Take what is due and has a place (`places.free`), each the oldest of its lane."""
        given = {"kind": kind, "lease_s": lease_s, "looked_at": LOOKED_AT_MAX, **places}
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_CLAIM, given)
            return [_leased(row) for row in await cursor.fetchall()]

    async def renew(self, delivery: Delivery, lease_s: float) -> bool:
        """Whether it is still ours; then for `lease_s` more."""
        given = {"id": delivery.id, "attempt": delivery.attempt, "lease_s": lease_s}
        async with self._pool.connection() as connection:
            return (await connection.execute(_RENEW, given)).rowcount == 1

    async def finish(
        self, delivery: Delivery, attempted: Attempted, wait_s: float = 0.0, *, wakes: bool = False
    ) -> bool:
        """Say how the try went. False when it was no longer ours to say: then nothing changed.

        After RetryLater and Waits it is due again in `wait_s`. For `wakes` see `DeliveryPolicy`.
        """
        given: dict[str, Any] = {
            "id": delivery.id,
            "attempt": delivery.attempt,
            "kind": delivery.kind,
            "tenant_id": delivery.tenant_id,
            "destination": delivery.destination,
            "status": attempted.status,
            "reason": None,
            "wait_s": wait_s,
            "hold_s": None,
            "begins_run": False,
            "outage_s": OUTAGE_S,
        }
        match attempted:
            case Waits():
                return await self._put_back(given, holds=attempted.holds)
            case Delivered():
                given |= {"state": "delivered", "outcome": "delivered"}
            case RetryLater():
                given |= {"state": "pending", "outcome": "retry", "reason": attempted.reason}
                given["begins_run"] = attempted.begins_run
                if attempted.after_s is not None:
                    given["hold_s"] = wait_s
            case Dead():
                given |= {"state": "dead", "outcome": "dead", "reason": attempted.reason}
        async with self._pool.connection() as connection, connection.transaction():
            if (await connection.execute(_FINISH, given)).rowcount != 1:
                return False
            succeeded = isinstance(attempted, Delivered)
            if succeeded and wakes:
                await connection.execute(_WAKES, given)
            ours = isinstance(attempted, RetryLater) and attempted.ours
            if not ours:
                await connection.execute(_SUCCEEDS if succeeded else _FAILS, given)
            return True

    async def _put_back(self, given: Mapping[str, Any], *, holds: bool) -> bool:
        async with self._pool.connection() as connection, connection.transaction():
            if (await connection.execute(_PUT_BACK, given)).rowcount != 1:
                return False
            if holds:
                await connection.execute(_LEAVE_ALONE, given)
            return True

    async def prune(self, older_than_s: float) -> int:
        """Forget a bounded number of deliveries that were over so long ago; how many."""
        async with self._pool.connection() as connection:
            return (await connection.execute(_PRUNE, (older_than_s,))).rowcount


def _leased(row: Sequence[Any]) -> Leased:
    return Leased(
        delivery=Delivery(
            id=row[0],
            kind=row[1],
            tenant_id=row[2],
            destination=row[3],
            lane=row[4],
            event=EventRef(
                id=row[5],
                name=row[6],
                stream_id=row[7],
                stream_version=row[8],
                position=row[9],
                recorded_at=row[10],
            ),
            attempt=row[11],
            owed_at=row[12],
            failing_since=row[13],
        ),
        tries=row[14],
        trying_for_s=row[15],
    )
