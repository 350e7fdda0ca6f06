"""CRLs of the device CAs (RFC 5280 §5), for those who verify our devices without asking us.

Our own listener does not read them (docs/decisions/0009-tls.md). A list is made anew when what it
says has changed, and every hour; whichever process makes it, all serve the same one. It holds only
certificates that have not run out, so its size follows the fleet's and not its history's.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, LiteralString

import msgspec

from application.ports import Clock
from application.ports.pki import RevocationList, RevokedCertificate
from infrastructure.database import Connection, Pool
from infrastructure.fleet.platform_ca import PlatformCA
from projections import device_certificates

ANEW_AFTER: Final = timedelta(hours=1)
GOOD_FOR: Final = timedelta(hours=24)
LISTED_AFTER_END: Final = timedelta(days=1)
"""RFC 5280 §3.3: on one list at least that was issued after the certificate itself ran out."""

_LOCK: Final[LiteralString] = """
    SELECT pg_advisory_xact_lock(hashtextextended('device_crls', %s))"""
_SHOWN: Final[LiteralString] = """
    SELECT authority, number, this_update, next_update, der FROM device_crls WHERE authority = %s"""
_KNOWN: Final[LiteralString] = """
    SELECT number, this_update, entries_sha256 FROM device_crls WHERE authority = %s"""
_KEEP: Final[LiteralString] = """
    INSERT INTO device_crls (authority, number, this_update, next_update, entries_sha256, der)
    VALUES (%(authority)s, %(number)s, %(this_update)s, %(next_update)s, %(digest)s, %(der)s)
    ON CONFLICT (authority) DO UPDATE SET number = excluded.number,
        this_update = excluded.this_update, next_update = excluded.next_update,
        entries_sha256 = excluded.entries_sha256, der = excluded.der"""


class PostgresRevocationLists:
    """`application.ports.pki.RevocationLists`; `projector` is a pool that sees all tenants."""

    def __init__(self, app: Pool, projector: Pool, authority: PlatformCA, clock: Clock) -> None:
        self._app = app
        self._projector = projector
        self._authority = authority
        self._clock = clock

    async def round(self) -> None:
        """Make anew what is due, of every trusted device CA. Raises psycopg.Error."""
        for number in self._authority.state.trusted:
            await self._publish(number)

    async def current(self, authority: int) -> RevocationList | None:
        async with self._app.connection() as connection:
            found = await (await connection.execute(_SHOWN, (authority,))).fetchone()
        if found is None and await self._publish(authority):
            return await self.current(authority)
        return None if found is None else _shown(*found)

    async def trusted(self) -> Sequence[RevocationList]:
        found = [await self.current(number) for number in self._authority.state.trusted]
        return [each for each in found if each is not None]

    async def _publish(self, authority: int) -> bool:
        """Whether there is a list now. None is made where the key is not here yet."""
        if authority in self._authority.missing():
            return False
        async with self._app.connection() as connection, connection.transaction():
            await connection.execute(_LOCK, (authority,))
            # Under the lock and not before: a list made meanwhile may know more than we did.
            asked_at = self._clock.now()
            revoked = await self._revoked(authority, asked_at)
            digest = hashlib.sha256(msgspec.json.encode(revoked)).digest()
            found = await (await connection.execute(_KNOWN, (authority,))).fetchone()
            now = asked_at.replace(microsecond=0)
            if found is not None and found[2] == digest and now - found[1] < ANEW_AFTER:
                return True
            number = 1 if found is None else found[0] + 1
            await self._sign(connection, authority, number, now, revoked, digest)
        return True

    async def _sign(
        self,
        connection: Connection,
        authority: int,
        number: int,
        now: datetime,
        revoked: Sequence[RevokedCertificate],
        digest: bytes,
    ) -> None:
        # Ten thousand lines take some 80 ms of a core, which are not the event loop's.
        der = await asyncio.to_thread(
            self._authority.revocation_list,
            authority,
            number,
            revoked,
            this_update=now,
            next_update=now + GOOD_FOR,
        )
        kept: dict[str, Any] = {
            "authority": authority,
            "number": number,
            "this_update": now,
            "next_update": now + GOOD_FOR,
            "digest": digest,
            "der": der,
        }
        await connection.execute(_KEEP, kept)

    async def _revoked(self, authority: int, now: datetime) -> list[RevokedCertificate]:
        async with self._projector.connection() as connection:
            rows = await device_certificates.ended(
                connection, authority, now, now - LISTED_AFTER_END
            )
        return [
            RevokedCertificate(serial=row.serial, revoked_at=row.ended_at, reason=row.ended_reason)
            for row in rows
        ]


def _shown(
    authority: int, number: int, this_update: datetime, next_update: datetime, der: bytes
) -> RevocationList:
    return RevocationList(
        authority=authority,
        number=number,
        this_update=this_update,
        next_update=next_update,
        der=bytes(der),
    )
