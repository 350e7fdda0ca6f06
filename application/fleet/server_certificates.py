"""The certificate of our own listeners: issued and renewed by our CA, or brought by the operator
(003 §3.4, "platform SSL certs")."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final
from uuid import UUID

from application.execute import Done, execute
from application.ports import Clock, EventLog, IdSource, StaleStream
from application.ports.server_certificates import (
    CertificateFacts,
    KnownNames,
    ServerCertificateReader,
    ServerKeys,
    Shown,
    TrustHolders,
)
from application.principals import Caller
from domain import server_certificate as s
from domain.errors import NotFound
from domain.events import Origin
from domain.ids import PLATFORM

ACTOR: Final = "system:server_certificate"
NAMES_MAX: Final = 100
"""Names that earlier processes had are kept, so that two that differ do not take turns."""


class ServerCertificates:
    """What people ask for. Raises CommitFailed."""

    def __init__(
        self,
        log: EventLog,
        keys: ServerKeys,
        reader: ServerCertificateReader,
        holders: TrustHolders,
        names: KnownNames,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._log = log
        self._keys = keys
        self._reader = reader
        self._holders = holders
        self.names = names
        self._clock = clock
        self._ids = ids

    async def state(self) -> s.ServerCertificate:
        return s.rebuild(await self._log.load(PLATFORM, s.SERVER_CERTIFICATE))

    def facts(self, chain_pem: str) -> CertificateFacts:
        """What a certificate that is ours to show says of itself."""
        return self._reader.facts(chain_pem)

    async def open_request(self) -> s.OpenRequest:
        """Raises NotFound (`server_csr_not_found`)."""
        state = await self.state()
        if state.request is None:
            raise NotFound("server_csr_not_found")
        return state.request

    async def make_csr(self, caller: Caller, *, replace: bool) -> tuple[s.OpenRequest, Done | None]:
        """The open request, for all names that clients and devices are told; a new one, over a new
        key, where there is none or it is replaced."""
        state = await self.state()
        if state.request is not None and not replace:
            return state.request, None
        # Kept before it is asked for, so that there is never a certificate without a key.
        made = await self._keys.request(self.names.told, above=state.highest)
        done = await self._do(caller, lambda found: s.request(found, made, replace=replace))
        return await self.open_request(), done

    async def install(self, caller: Caller, pem: str) -> Done:
        """Keep what the operator's CA signed, to be shown once it is activated.

        Raises what the reader raises, what `domain.server_certificate.install` raises, and
        Invalid (`certificate_weak`) where the TLS library will not have it.
        """
        brought = self._reader.read(pem, self._clock.now())
        state = await self.state()
        if s.install(state, brought, self.names.public) and state.request is not None:
            await self._keys.check(state.request.key, brought.chain_pem)
        return await self._do(caller, lambda found: s.install(found, brought, self.names.public))

    async def activate(self, caller: Caller, *, for_devices: bool, force: bool) -> Done:
        """Show it, in every process within a second; open connections go on.

        Raises what `domain.server_certificate.activate` raises, StaleStream where another was
        brought meanwhile, Unavailable (`position_not_reached`).
        """
        waiting = (await self.state()).installed
        holders = 0
        if for_devices and waiting is not None:
            holders = await self._holders.certified_before(waiting.at)
        return await self._do(
            caller,
            lambda found: s.activate(
                _still(found, waiting),
                for_devices=for_devices,
                device_names=self.names.device,
                holders=holders,
                force=force,
                now=self._clock.now(),
            ),
        )

    async def roll_back(self, caller: Caller, to: str | None = None) -> Done:
        """Raises what `domain.server_certificate.roll_back` raises."""
        return await self._do(caller, lambda found: s.roll_back(found, to, self._clock.now()))

    async def renew(self, caller: Caller, *, everywhere: bool) -> Done:
        """Have our own CA issue one for the names of today; it is shown in place of the operator's
        only where it is to be `everywhere`."""
        made = await self._keys.issue(self.names.all, above=(await self.state()).highest)
        return await self._do(
            caller, lambda found: s.issue(found, made, "asked", everywhere=everywhere)
        )

    async def _do(
        self,
        caller: Caller,
        decide: Callable[[s.ServerCertificate], Sequence[s.ServerCertificateEvent]],
    ) -> Done:
        origin = caller.origin(self._ids.uuid())
        return await execute(self._log, origin, PLATFORM, s.SERVER_CERTIFICATE, s.rebuild, decide)


def _still(found: s.ServerCertificate, counted: s.Installed | None) -> s.ServerCertificate:
    """What is there, as long as it is that for which the devices were counted."""
    if found.installed != counted:
        raise StaleStream((s.SERVER_CERTIFICATE,))
    return found


class ServerCertificateUpkeep:
    """What is done without anybody asking. Raises CommitFailed, psycopg.Error."""

    def __init__(
        self, log: EventLog, keys: ServerKeys, names: KnownNames, clock: Clock, ids: IdSource
    ) -> None:
        self._log = log
        self._keys = keys
        self._names = names
        self._clock = clock
        self._ids = ids
        self._commands: set[UUID] = set()

    async def ensure(self) -> None:
        """Have our CA issue one, if there is none, it is old, or this process has other names.

        Where several processes see that at once, one of them does it.
        """
        state = await self._state()
        if s.due(state, self._names.all, self._clock.now()) is None:
            return
        before = () if state.issued is None else state.issued.names
        names = tuple(dict.fromkeys((*self._names.all, *before)))[:NAMES_MAX]
        made = await self._keys.issue(names, above=state.highest)
        command_id = self._ids.uuid()
        if state.issued is None:
            self._commands.add(command_id)
        await self._do(command_id, lambda found: self._issued(found, made))

    async def made_first(self) -> bool:
        """Whether the platform's first certificate was made here, be it in a round."""
        past = await self._log.load(PLATFORM, s.SERVER_CERTIFICATE)
        return bool(past) and past[0].command_id in self._commands

    async def replace_lost(self) -> None:
        """The key of what is shown is gone for good: show a new one of ours everywhere."""
        made = await self._keys.issue(self._names.all, above=(await self._state()).highest)
        await self._do(
            self._ids.uuid(), lambda found: s.issue(found, made, "asked", everywhere=True)
        )

    async def round(self) -> None:
        """For a worker: renew our own ahead of its end, and say what runs out."""
        await self.ensure()
        showing = (await self._state()).showing
        if showing is not None:
            for each in dict.fromkeys((showing.public, showing.device)):
                await self._warn(each.fingerprint_sha256, each.source, each)

    async def told_of(self, shown: Shown) -> None:
        """A process shows what is not in the log, and says so when it runs out."""
        await self._warn(shown.fingerprint_sha256, shown.source, shown)

    def _issued(
        self, found: s.ServerCertificate, made: s.Certificate
    ) -> Sequence[s.ServerCertificateEvent]:
        why = s.due(found, self._names.all, self._clock.now())
        return [] if why is None else s.issue(found, made, why)

    async def _warn(self, fingerprint: str, source: s.Source, ends: s.Certificate | Shown) -> None:
        now = self._clock.now()
        if ends.not_after - now > timedelta(days=max(s.WARN_DAYS)):
            return
        with suppress(StaleStream):  # somebody else has told it, or it was replaced
            command_id = self._ids.uuid()
            await self._do(
                command_id, lambda found: s.warn(found, fingerprint, source, ends.not_after, now)
            )

    async def _state(self) -> s.ServerCertificate:
        return s.rebuild(await self._log.load(PLATFORM, s.SERVER_CERTIFICATE))

    async def _do(
        self,
        command_id: UUID,
        decide: Callable[[s.ServerCertificate], Sequence[s.ServerCertificateEvent]],
    ) -> None:
        origin = Origin(actor=ACTOR, correlation_id=command_id, command_id=command_id)
        await execute(self._log, origin, PLATFORM, s.SERVER_CERTIFICATE, s.rebuild, decide)
