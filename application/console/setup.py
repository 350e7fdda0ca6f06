"""How far the platform is set up: what a first start made, and what is left for people to do
(003 §3.4, "first-run setup")."""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from application.ports import CertificateAuthority, EventLog, PublicKeys
from application.ports.server_certificates import ShownCertificates
from domain import operator as o
from domain import platform_admins as pa
from domain.ids import PLATFORM

Item = Literal[
    "device_ca", "signing_keys", "server_certificate", "platform_admin", "second_platform_admin"
]
State = Literal["done", "advised", "left"]

OWN_CERTIFICATE: Final = (
    "it is our own CA's, which clients must be given (GET /v1/pki/ca-bundle); bring one that they"
    " know: link-identity server-certificate csr"
)
NO_ADMIN: Final = (
    "set PLATFORM_ADMIN_EMAIL and start again, or: link-identity operators invite ADDRESS NAME"
)
INITIAL_STILL: Final = "sign in and change the initial password (POST /v1/console/sign-in)"
SECOND_FACTOR: Final = "sign in and enrol a second factor (POST /v1/console/totp)"
ANOTHER_ADMIN: Final = "what destroys takes two people: invite another (POST /v1/operators)"


class SetupItem(msgspec.Struct, frozen=True, kw_only=True):
    """`advised` is well without it; `todo` says what to do where something is."""

    item: Item
    state: State
    todo: str | None = None


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """`complete` when nothing is left; what is only advised may stay."""

    complete: bool
    items: Sequence[SetupItem]


class SetupReading:
    def __init__(
        self,
        log: EventLog,
        authority: CertificateAuthority,
        keys: PublicKeys,
        shown: ShownCertificates,
    ) -> None:
        self._log = log
        self._authority = authority
        self._keys = keys
        self._shown = shown

    async def read(self) -> Setup:
        items = (
            SetupItem(
                item="device_ca", state="done" if self._authority.device_ca_pem() else "left"
            ),
            SetupItem(item="signing_keys", state="done" if self._keys.jwks()["keys"] else "left"),
            self._certificate(),
            *await self._admins(),
        )
        return Setup(complete=all(each.state != "left" for each in items), items=items)

    def _certificate(self) -> SetupItem:
        shown = self._shown.shown("public")
        if shown is None or shown.source == "platform":
            return SetupItem(item="server_certificate", state="advised", todo=OWN_CERTIFICATE)
        return SetupItem(item="server_certificate", state="done")

    async def _admins(self) -> Sequence[SetupItem]:
        admins = pa.rebuild(await self._log.load(PLATFORM, pa.STREAM))
        if admins is None:
            return (SetupItem(item="platform_admin", state="left", todo=NO_ADMIN),)
        people = [o.rebuild(await self._log.load(PLATFORM, each)) for each in sorted(admins.ids)]
        active = [each for each in people if each is not None and each.status == "active"]
        ready = [each for each in active if not _todo(each)]
        if ready:
            first = SetupItem(item="platform_admin", state="done")
        else:
            todo = _todo(active[0]) if active else NO_ADMIN
            first = SetupItem(item="platform_admin", state="left", todo=todo)
        if len(active) > 1:
            return first, SetupItem(item="second_platform_admin", state="done")
        second = SetupItem(item="second_platform_admin", state="advised", todo=ANOTHER_ADMIN)
        return first, second


def _todo(person: o.Operator) -> str | None:
    if person.must_change_password:
        return INITIAL_STILL
    return None if person.has_second_factor else SECOND_FACTOR
