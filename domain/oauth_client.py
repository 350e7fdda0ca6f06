"""OAuthClient: an integrator's backend and what it may do. Its secret is never in the log."""

from collections.abc import Iterable, Set
from typing import ClassVar, Literal

import msgspec

from domain.errors import Invalid
from domain.events import DomainEvent, Recorded
from domain.folding import UnexpectedEvent, fold
from domain.ids import OAuthClientId, TenantId


class OAuthClientRegistered(DomainEvent, frozen=True, kw_only=True):
    """An integrator's backend may ask for tokens with at most these scopes (003 §3.6)."""

    NAME: ClassVar[str] = "oauth_client.registered"
    name: str
    scopes: tuple[str, ...]


class OAuthClientDisabled(DomainEvent, frozen=True, kw_only=True):
    """The client gets no more tokens."""

    NAME: ClassVar[str] = "oauth_client.disabled"
    reason: str


OAuthClientEvent = OAuthClientRegistered | OAuthClientDisabled


class OAuthClient(msgspec.Struct, frozen=True, kw_only=True):
    id: OAuthClientId
    tenant_id: TenantId
    version: int
    name: str
    scopes: frozenset[str]
    status: Literal["active", "disabled"]


def register(
    client: OAuthClient | None, *, name: str, scopes: Set[str], known_scopes: Set[str]
) -> list[OAuthClientEvent]:
    if client is not None:
        return []
    unknown = sorted(scopes - known_scopes)
    if unknown or not scopes:
        raise Invalid("scope_unknown", f"unknown scopes: {', '.join(unknown) or '(none given)'}")
    if not 1 <= len(name.strip()) <= 80 or not name.isprintable():
        raise Invalid("client_name_invalid", "a name of 1 to 80 printable characters")
    return [OAuthClientRegistered(name=name.strip(), scopes=tuple(sorted(scopes)))]


def disable(client: OAuthClient, *, reason: str) -> list[OAuthClientEvent]:
    return [] if client.status == "disabled" else [OAuthClientDisabled(reason=reason)]


def evolve(client: OAuthClient | None, recorded: Recorded) -> OAuthClient:
    match recorded.event:
        case OAuthClientRegistered() as event:
            return OAuthClient(
                id=OAuthClientId(recorded.stream_id),
                tenant_id=recorded.tenant_id,
                version=recorded.version,
                name=event.name,
                scopes=frozenset(event.scopes),
                status="active",
            )
        case OAuthClientDisabled() if client is not None:
            return msgspec.structs.replace(client, version=recorded.version, status="disabled")
        case other:
            raise UnexpectedEvent(other)


def rebuild(past: Iterable[Recorded]) -> OAuthClient | None:
    return fold(evolve, past)
