"""ServerCertificate: what our listeners show, by whom it was signed, and what comes next (003 §3.4,
"platform SSL certs").

Our own server CA issues one at first and renews it ahead of its end. An operator may bring one in
its place: we make a key and a request for it, their CA signs it, and it is shown once it is
activated. Keys have numbers and are not in the log. What an operator brought is for the API's
listeners; the device listener goes on with our own until the operator says otherwise, because a
device believes the CAs that it was given when its certificate was issued, and no others.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import ClassVar, Final, Literal
from uuid import uuid5

import msgspec

from domain.errors import Conflict, Invalid
from domain.events import DomainEvent, Recorded
from domain.folding import UnexpectedEvent
from domain.ids import PLATFORM

SERVER_CERTIFICATE: Final = uuid5(PLATFORM, "server_certificate")
"""The platform's one stream of this kind."""

WARN_DAYS: Final = (30, 7, 1, 0)
"""How long before a certificate runs out it is said, each once; 0 is when it has."""

WARNED_MAX: Final = 8
"""Of so many certificates it is remembered what was said."""

Source = Literal["platform", "own", "file"]
"""Signed by our server CA, brought by the operator over the API, or in files of the operator's."""


class ServerCertificateIssued(DomainEvent, frozen=True, kw_only=True):
    """Our server CA signed one. It takes the place of what the operator brought where `for_all`,
    and else of our own only."""

    NAME: ClassVar[str] = "server_certificate.issued"
    key: int
    chain_pem: str
    fingerprint_sha256: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    why: Literal["first", "renewal", "names", "asked"]
    for_all: bool


class ServerCsrMade(DomainEvent, frozen=True, kw_only=True):
    """There is a new key, and a request (PKCS#10) for the operator's CA to sign."""

    NAME: ClassVar[str] = "server_certificate.csr_made"
    key: int
    csr_pem: str
    spki_sha256: str
    names: tuple[str, ...]


class ServerCertificateInstalled(DomainEvent, frozen=True, kw_only=True):
    """The operator brought what their CA signed; it is not shown yet. Devices are given the
    `anchor_pem` from now on, if it came with one."""

    NAME: ClassVar[str] = "server_certificate.installed"
    key: int
    chain_pem: str
    anchor_pem: str | None = None
    fingerprint_sha256: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime


class ServerCertificateActivated(DomainEvent, frozen=True, kw_only=True):
    """The installed one is shown from now on; to devices too where `for_devices`, of whom
    `left_behind` were not given its CA."""

    NAME: ClassVar[str] = "server_certificate.activated"
    fingerprint_sha256: str
    for_devices: bool
    left_behind: int = 0


class ServerCertificateRolledBack(DomainEvent, frozen=True, kw_only=True):
    """The one of before is shown again."""

    NAME: ClassVar[str] = "server_certificate.rolled_back"
    fingerprint_sha256: str


class ServerCertificateExpiring(DomainEvent, frozen=True, kw_only=True):
    """One that is shown runs out within so many days; with 0 it has run out."""

    NAME: ClassVar[str] = "server_certificate.expiring"
    fingerprint_sha256: str
    source: Source
    not_after: datetime
    days: int


ServerCertificateEvent = (
    ServerCertificateIssued
    | ServerCsrMade
    | ServerCertificateInstalled
    | ServerCertificateActivated
    | ServerCertificateRolledBack
    | ServerCertificateExpiring
)


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """`chain_pem` is what a handshake shows; `names` are its DNS names and addresses."""

    source: Source
    key: int
    chain_pem: str
    anchor_pem: str | None = None
    fingerprint_sha256: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime

    def good_at(self, now: datetime) -> bool:
        return self.not_before <= now < self.not_after

    def renewed_from(self) -> datetime:
        """When one of ours is replaced: after two thirds of its life."""
        return self.not_before + (self.not_after - self.not_before) * 2 / 3


class OpenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request whose certificate is not active yet."""

    key: int
    csr_pem: str
    spki_sha256: str
    names: tuple[str, ...]
    made_at: datetime


class Showing(msgspec.Struct, frozen=True, kw_only=True):
    """What the listeners of the API show, and what the device listener does."""

    public: Certificate
    device: Certificate

    def with_ours(self, issued: Certificate) -> "Showing":
        """The same, where our own CA's is its newest."""
        return Showing(
            public=issued if self.public.source == "platform" else self.public,
            device=issued if self.device.source == "platform" else self.device,
        )


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    certificate: Certificate
    at: datetime


class ServerCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """`issued` is our own CA's newest. `showing` is None before the first start. `highest` is the
    highest number that a key ever had."""

    version: int = 0
    highest: int = 0
    request: OpenRequest | None = None
    installed: Installed | None = None
    issued: Certificate | None = None
    showing: Showing | None = None
    former: Showing | None = None
    warned: Mapping[str, int] = {}

    def anchors(self) -> tuple[str, ...]:
        """The operator's CAs (PEM) that devices are given besides our own."""
        held = [] if self.installed is None else [self.installed.certificate]
        for showing in (self.showing, self.former):
            held += [] if showing is None else [showing.public, showing.device]
        return tuple(dict.fromkeys(each.anchor_pem for each in held if each.anchor_pem))

    def before(self) -> Showing | None:
        """What a step back would show."""
        if self.former is None or self.issued is None:
            return None
        return self.former.with_ours(self.issued)


class Brought(msgspec.Struct, frozen=True, kw_only=True):
    """A chain that somebody brought, as far as it was checked by itself."""

    chain_pem: str
    anchor_pem: str | None
    fingerprint_sha256: str
    spki_sha256: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime


def due(
    state: ServerCertificate, names: Sequence[str], now: datetime
) -> Literal["first", "renewal", "names"] | None:
    """Why our own CA should issue one now; None when it need not."""
    if state.issued is None or state.showing is None:
        return "first"
    if now >= state.issued.renewed_from():
        return "renewal"
    return "names" if missing(state.issued.names, names) else None


def issue(
    state: ServerCertificate,
    made: Certificate,
    why: Literal["first", "renewal", "names", "asked"],
    *,
    everywhere: bool = False,
) -> list[ServerCertificateEvent]:
    """It takes the place of our own, and of the operator's only where it is to be `everywhere`."""
    public = None if state.showing is None else state.showing.public
    return [
        ServerCertificateIssued(
            key=made.key,
            chain_pem=made.chain_pem,
            fingerprint_sha256=made.fingerprint_sha256,
            names=made.names,
            not_before=made.not_before,
            not_after=made.not_after,
            why=why,
            for_all=everywhere or public is None or public.source == "platform",
        )
    ]


def request(
    state: ServerCertificate, made: ServerCsrMade, *, replace: bool
) -> list[ServerCertificateEvent]:
    """While a request is open it is the one that counts, unless it is to be replaced."""
    return [] if state.request is not None and not replace else [made]


def install(
    state: ServerCertificate, brought: Brought, needed: Sequence[str]
) -> list[ServerCertificateEvent]:
    """Keep it until it is activated; it takes the place of one that waits, and one that waits
    already says nothing. `needed` are the names that clients know us by.

    Raises Conflict (`server_csr_missing`), Invalid (`certificate_key_mismatch`,
    `certificate_names_missing`).
    """
    waiting = state.installed
    if (
        waiting is not None
        and waiting.certificate.fingerprint_sha256 == brought.fingerprint_sha256
        and waiting.certificate.chain_pem == brought.chain_pem
        and waiting.certificate.anchor_pem == brought.anchor_pem
    ):
        return []
    if state.request is None:
        raise Conflict("server_csr_missing", "ask for a request to sign first")
    if brought.spki_sha256 != state.request.spki_sha256:
        raise Invalid("certificate_key_mismatch", "the certificate is for another key than ours")
    lacking = missing(brought.names, needed)
    if lacking:
        raise Invalid(
            "certificate_names_missing",
            "clients know us by names that it does not have",
            extra={"missing": list(lacking)},
        )
    return [
        ServerCertificateInstalled(
            key=state.request.key,
            chain_pem=brought.chain_pem,
            anchor_pem=brought.anchor_pem,
            fingerprint_sha256=brought.fingerprint_sha256,
            names=brought.names,
            not_before=brought.not_before,
            not_after=brought.not_after,
        )
    ]


def activate(
    state: ServerCertificate,
    *,
    for_devices: bool,
    device_names: Sequence[str],
    holders: int,
    force: bool,
    now: datetime,
) -> list[ServerCertificateEvent]:
    """Show the installed one. With `for_devices` the device listener shows it too; `holders` are
    the devices whose certificates were issued before its CA was given to any.

    Raises Conflict (`server_certificate_missing`, `server_certificate_expired`,
    `devices_left_behind`), Invalid (`certificate_names_missing`, `certificate_anchor_missing`).
    """
    if state.installed is None:
        raise Conflict("server_certificate_missing", "bring a certificate first")
    waiting = state.installed.certificate
    if not waiting.good_at(now):
        raise Conflict("server_certificate_expired", "it has run out since it was brought")
    if for_devices:
        lacking = missing(waiting.names, device_names)
        if lacking:
            raise Invalid(
                "certificate_names_missing",
                "devices know us by names that it does not have",
                extra={"missing": list(lacking)},
            )
        if waiting.anchor_pem is None:
            raise Invalid(
                "certificate_anchor_missing",
                "bring the chain with its root at the end, for devices to be given",
            )
        if holders and not force:
            raise Conflict(
                "devices_left_behind",
                f"{holders} devices have not been given its CA yet",
                extra={"left_behind": holders},
            )
    return [
        ServerCertificateActivated(
            fingerprint_sha256=waiting.fingerprint_sha256,
            for_devices=for_devices,
            left_behind=holders if for_devices else 0,
        )
    ]


def roll_back(
    state: ServerCertificate, to: str | None, now: datetime
) -> list[ServerCertificateEvent]:
    """Show again what was shown before; of our own CA's that is always the newest. Whoever names
    the fingerprint that they want back gets that one or none.

    Raises Conflict (`server_certificate_missing`, `server_certificate_expired`).
    """
    former = state.before()
    if former is None or former == state.showing:
        raise Conflict("server_certificate_missing", "there is none before this one")
    if to not in (None, former.public.fingerprint_sha256):
        raise Conflict("server_certificate_missing", "another one was shown before this one")
    if not (former.public.good_at(now) and former.device.good_at(now)):
        raise Conflict("server_certificate_expired", "the one before has run out")
    return [ServerCertificateRolledBack(fingerprint_sha256=former.public.fingerprint_sha256)]


def warn(
    state: ServerCertificate,
    fingerprint_sha256: str,
    source: Source,
    not_after: datetime,
    now: datetime,
) -> list[ServerCertificateEvent]:
    """That this one, which is shown, runs out; once for each of `WARN_DAYS`."""
    near = [days for days in WARN_DAYS if not_after - now <= timedelta(days=days)]
    said = state.warned.get(fingerprint_sha256)
    if not near or (said is not None and said <= near[-1]):
        return []
    return [
        ServerCertificateExpiring(
            fingerprint_sha256=fingerprint_sha256,
            source=source,
            not_after=not_after,
            days=near[-1],
        )
    ]


def missing(held: Sequence[str], needed: Sequence[str]) -> tuple[str, ...]:
    """The needed names that a certificate with these does not cover (RFC 9525 §6.3: a wildcard
    stands for one whole label, and never for an address)."""
    return tuple(name for name in needed if not any(_covers(each, name) for each in held))


def _covers(held: str, name: str) -> bool:
    if _is_address(held) or _is_address(name):
        return held == name
    held, name = held.lower(), name.lower()
    if held.startswith("*."):
        _, dot, rest = name.partition(".")
        return bool(dot) and held[2:] == rest
    return held == name


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def evolve(state: ServerCertificate, recorded: Recorded) -> ServerCertificate:
    state = msgspec.structs.replace(state, version=recorded.version)
    replace = msgspec.structs.replace
    match recorded.event:
        case ServerCertificateIssued() as event:
            state = replace(state, highest=max(state.highest, event.key))
            made = _certificate("platform", event)
            everywhere = Showing(public=made, device=made)
            before = state.showing
            if before is None or before.public.source == "platform":
                return replace(state, issued=made, showing=everywhere)
            if event.for_all:
                return replace(state, issued=made, showing=everywhere, former=before)
            return replace(state, issued=made, showing=before.with_ours(made))
        case ServerCsrMade() as event:
            asked = OpenRequest(
                key=event.key,
                csr_pem=event.csr_pem,
                spki_sha256=event.spki_sha256,
                names=event.names,
                made_at=recorded.recorded_at,
            )
            return replace(state, request=asked, highest=max(state.highest, event.key))
        case ServerCertificateInstalled() as event:
            brought = replace(_certificate("own", event), anchor_pem=event.anchor_pem)
            return replace(state, installed=Installed(certificate=brought, at=recorded.recorded_at))
        case ServerCertificateActivated() as event if (
            state.installed is not None and state.issued is not None
        ):
            own = state.installed.certificate
            showing = Showing(public=own, device=own if event.for_devices else state.issued)
            asked_on = state.request
            if asked_on is not None and asked_on.key == own.key:
                asked_on = None
            return replace(
                state, request=asked_on, installed=None, showing=showing, former=state.showing
            )
        case ServerCertificateRolledBack():
            return replace(state, showing=state.before(), former=state.showing)
        case ServerCertificateExpiring() as event:
            said = {**state.warned, event.fingerprint_sha256: event.days}
            return replace(state, warned=dict(list(said.items())[-WARNED_MAX:]))
        case other:
            raise UnexpectedEvent(other)


def _certificate(
    source: Source, event: ServerCertificateIssued | ServerCertificateInstalled
) -> Certificate:
    return Certificate(
        source=source,
        key=event.key,
        chain_pem=event.chain_pem,
        fingerprint_sha256=event.fingerprint_sha256,
        names=event.names,
        not_before=event.not_before,
        not_after=event.not_after,
    )


def rebuild(past: Iterable[Recorded]) -> ServerCertificate:
    """A platform that never started has a state, too."""
    state = ServerCertificate()
    for recorded in past:
        state = evolve(state, recorded)
    return state
