"""Passkeys of console people over a log and rows in memory, with an authenticator in software."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from application.console.passkey_ceremonies import Ceremonies
from application.console.passkey_sign_ins import PasskeySignIns
from application.console.passkeys import Passkey, Passkeys
from application.ports.passkeys import (
    Asserted,
    Ceremony,
    KeptPasskey,
    RelyingParty,
)
from application.principals import OperatorPrincipal
from domain.errors import Conflict
from domain.ids import OperatorId, PasskeyCeremonyId, PasskeyId, TenantId
from infrastructure.console.webauthn import Fido2WebAuthn
from interfaces.http.console import webauthn_json
from tests.application.console import ADDRESS, Console
from tests.authenticator import GOOD, Authenticator, Json, Page
from tests.spec import CORRELATION

CONSOLE = RelyingParty(id="localhost", origin="https://localhost:8443")
OTHER = RelyingParty(id="console.example.org", origin="https://console.example.org")

Row = tuple[TenantId, OperatorId, KeptPasskey]


class KeptPasskeys:
    """As `console_passkeys` keeps them."""

    def __init__(self) -> None:
        self.rows: dict[PasskeyId, Row] = {}

    async def add(self, tenant_id: TenantId, operator_id: OperatorId, passkey: KeptPasskey) -> None:
        known = {row[2].credential.credential_id for row in self.rows.values()}
        if passkey.credential.credential_id in known:
            raise Conflict("passkey_known")
        self.rows[passkey.id] = (tenant_id, operator_id, passkey)

    async def of_operator(
        self, tenant_id: TenantId, operator_id: OperatorId
    ) -> Mapping[PasskeyId, KeptPasskey]:
        of = (tenant_id, operator_id)
        return {row[2].id: row[2] for row in self.rows.values() if row[:2] == of}

    async def find(
        self, tenant_id: TenantId, operator_id: OperatorId, credential_id: bytes
    ) -> KeptPasskey | None:
        kept = await self.of_operator(tenant_id, operator_id)
        found = (each for each in kept.values() if each.credential.credential_id == credential_id)
        return next(found, None)

    async def rename(
        self, tenant_id: TenantId, operator_id: OperatorId, passkey_id: PasskeyId, name: str
    ) -> None:
        passkey = msgspec.structs.replace(self.rows[passkey_id][2], name=name)
        self.rows[passkey_id] = (tenant_id, operator_id, passkey)

    async def spend_count(
        self,
        tenant_id: TenantId,
        operator_id: OperatorId,
        passkey_id: PasskeyId,
        asserted: Asserted,
        at: datetime,
    ) -> bool:
        passkey = self.rows[passkey_id][2]
        if not passkey.credential.sign_count < asserted.sign_count and (
            passkey.credential.sign_count or asserted.sign_count
        ):
            return False
        credential = msgspec.structs.replace(
            passkey.credential, sign_count=asserted.sign_count, backed_up=asserted.backed_up
        )
        changed = msgspec.structs.replace(passkey, credential=credential, used_at=at)
        self.rows[passkey_id] = (tenant_id, operator_id, changed)
        return True

    async def remove(
        self, tenant_id: TenantId, operator_id: OperatorId, passkey_id: PasskeyId
    ) -> None:
        if self.rows.get(passkey_id, (None, None))[:2] == (tenant_id, operator_id):
            del self.rows[passkey_id]


class KeptCeremonies:
    """As `passkey_ceremonies` keeps them."""

    def __init__(self) -> None:
        self.out: dict[tuple[TenantId, PasskeyCeremonyId], Ceremony] = {}

    async def begin(self, tenant_id: TenantId, ceremony: Ceremony) -> None:
        self.out[tenant_id, ceremony.id] = ceremony

    async def take(
        self, tenant_id: TenantId, ceremony_id: PasskeyCeremonyId, now: datetime
    ) -> Ceremony | None:
        found = self.out.pop((tenant_id, ceremony_id), None)
        return found if found is not None and now < found.expires_at else None


class PasskeyConsole(Console):
    """The console's use cases with passkeys, at two hosts."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = KeptPasskeys()
        self.out = KeptCeremonies()
        ceremonies = Ceremonies((CONSOLE, OTHER), self.out, self.clock, self.ids)
        webauthn = Fido2WebAuthn()
        self.passkeys = Passkeys(
            self.operators,
            self.rows,
            self.credentials,
            ceremonies,
            webauthn,
            self.sessions,
            self.guard,
            self.clock,
            self.ids,
        )
        self.passkey_sign_ins = PasskeySignIns(
            self.guard,
            self.operators,
            self.sign_ins,
            self.rows,
            ceremonies,
            webauthn,
            self.sessions,
            self.clock,
        )

    async def proposed(
        self, operator: OperatorPrincipal, origin: str | None = None
    ) -> tuple[str, Json]:
        """The ceremony's token and the options, as a browser gets them."""
        begun = webauthn_json.registration(await self.passkeys.propose(operator, origin))
        return begun.ceremony, msgspec.to_builtins(begun.options)

    async def added(
        self,
        operator: OperatorPrincipal,
        authenticator: Authenticator,
        page: Page = GOOD,
        name: str = "MacBook",
    ) -> Passkey:
        token, options = await self.proposed(operator)
        return await self.finish_adding(operator, token, authenticator.make(options, page), name)

    async def finish_adding(
        self, operator: OperatorPrincipal, token: str, made: Json, name: str = "MacBook"
    ) -> Passkey:
        credential = msgspec.convert(made, webauthn_json.NewPublicKeyCredential)
        return await self.passkeys.add(operator, ADDRESS, token, name, credential.shown())

    async def asked(self, origin: str | None = None) -> tuple[str, Json]:
        begun = webauthn_json.sign_in(await self.passkey_sign_ins.begin(self.entry(), origin))
        return begun.ceremony, msgspec.to_builtins(begun.options)

    async def asked_second(self, email: str, password: str) -> tuple[str, Json]:
        told = await self.passkey_sign_ins.begin_second(self.entry(), None, email, password)
        begun = webauthn_json.sign_in(told)
        return begun.ceremony, msgspec.to_builtins(begun.options)

    async def shown(self, token: str, said: Json, address: str = ADDRESS) -> OperatorPrincipal:
        credential = msgspec.convert(said, webauthn_json.ShownPublicKeyCredential)
        entry = self.entry(address=address)
        opened = await self.passkey_sign_ins.sign_in(entry, token, credential.shown())
        return await self.sessions.authenticate(opened.token, CORRELATION)

    async def by_passkey(
        self, authenticator: Authenticator, page: Page = GOOD
    ) -> OperatorPrincipal:
        token, options = await self.asked()
        return await self.shown(token, authenticator.show(options, page))
