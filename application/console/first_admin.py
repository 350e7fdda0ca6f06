"""The first Platform Admin: made once, where there is none, from what the first start was told
(003 §3.6, design §2 row 18)."""

from collections.abc import Sequence
from typing import Final

from application.console.operators import Operators, described
from application.passwords import Passwords
from application.ports import Clock, EventLog, IdSource, StaleStream
from application.ports.console import ConsoleCredentials, ConsolePeople, ConsolePerson
from application.principals import operator
from domain import operator as o
from domain import platform_admins as pa
from domain.errors import Conflict
from domain.events import StreamAppend
from domain.ids import PLATFORM, OperatorId
from domain.password import PasswordPolicy

SYMBOLS: Final = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"
LENGTH: Final = 20
"""116 bits, of symbols that nobody confuses."""
INITIAL: Final = PasswordPolicy(length_min=8)
"""Of a password that somebody chose for a day."""
NAME: Final = "Platform Admin"


def initial_password(ids: IdSource) -> str:
    return ids.code(SYMBOLS, LENGTH)


class FirstAdmin:
    def __init__(
        self,
        log: EventLog,
        operators: Operators,
        people: ConsolePeople,
        credentials: ConsoleCredentials,
        passwords: Passwords,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._operators = operators
        self._people = people
        self._credentials = credentials
        self._passwords = passwords
        self._clock = clock
        self._ids = ids

    async def wanted(self) -> bool:
        """Whether there is no Platform Admin who could come in: there never was one, or the key is
        lost, with which their addresses were sealed and are looked for."""
        return not await self._can_come_in(await self._admins())

    async def seed(self, email: str, password: str | None) -> str | None:
        """Make one, unless somebody was faster; the password, where it was drawn here.

        It counts for 24 hours and must be changed at the first sign-in. Raises Invalid
        (`email_invalid`, and what `Passwords.hashed` raises).
        """
        admins = await self._admins()
        if await self._can_come_in(admins):
            return None
        person = described(email, NAME)
        chosen = initial_password(self._ids) if password is None else password
        hashed = await self._passwords.hashed(chosen, INITIAL)
        operator_id = OperatorId(self._ids.uuid())
        caller = operator(PLATFORM, self._ids.uuid())
        await self._people.put(PLATFORM, operator_id, person)
        try:
            await self._credentials.set_password(PLATFORM, operator_id, hashed)
            appends = await self._first(admins, operator_id, person)
            await self._log.append(caller.origin(self._ids.uuid()), appends)
        except (Conflict, StaleStream):
            await self._people.forget(PLATFORM, operator_id)
            if await self.wanted():
                raise
            # Another process of the same first start made one.
            return None
        return chosen if password is None else None

    async def _first(
        self, admins: pa.PlatformAdmins | None, operator_id: OperatorId, person: ConsolePerson
    ) -> Sequence[StreamAppend]:
        """Raises Conflict (`operator_email_taken`)."""
        claim = self._operators.claim(PLATFORM, person.email)
        return [
            *await self._operators.take_claim(PLATFORM, claim, operator_id),
            StreamAppend(
                tenant_id=PLATFORM,
                stream_id=pa.STREAM,
                expected_version=0 if admins is None else admins.version,
                events=pa.add(admins, operator_id),
            ),
            StreamAppend(
                tenant_id=PLATFORM,
                stream_id=operator_id,
                expected_version=0,
                events=o.seed(None, self._clock.now()),
            ),
        ]

    async def _admins(self) -> pa.PlatformAdmins | None:
        return pa.rebuild(await self._log.load(PLATFORM, pa.STREAM))

    async def _can_come_in(self, admins: pa.PlatformAdmins | None) -> bool:
        return admins is not None and bool(await self._people.find(PLATFORM, admins.ids))
