"""OAuthClient: an integrator's backend, what it may do, and how it proves who it is.

Secrets are never in the log, only their numbers: which of them are live is said here, and a
secret whose number is not live is none, whatever is still stored.
"""

from collections.abc import Iterable, Set
from typing import Annotated, ClassVar, Final, Literal

import msgspec

from domain.errors import Conflict, Invalid, NotFound
from domain.events import DomainEvent, Recorded
from domain.folding import UnexpectedEvent, fold
from domain.ids import OAuthClientId, TenantId

AuthMethod = Literal[
    "client_secret_basic",
    "client_secret_post",
    "private_key_jwt",
    "tls_client_auth",
    "self_signed_tls_client_auth",
]
"""RFC 7591 §2, RFC 8705 §2. A secret is taken from the header and from the form, whichever of the
two was named: RFC 6749 §2.3.1 wants the header read for every client that has one."""

SECRET_METHODS: Final = frozenset({"client_secret_basic", "client_secret_post"})

TLS_METHODS: Final = frozenset({"tls_client_auth", "self_signed_tls_client_auth"})

SECRETS_MAX: Final = 2
"""A rotation needs the old and the new one to work side by side, and nothing needs three."""

KEYS_MAX: Final = 8
CERTIFICATES_MAX: Final = 4

_Coordinate = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_-]{43}$")]


class PublicJwk(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A public key as RFC 7517 writes it, with the members that we read and no private one."""

    kty: Literal["EC", "OKP", "RSA"]
    kid: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    alg: Literal["ES256", "EdDSA", "Ed25519", "PS256"] | None = None
    use: Literal["sig"] | None = None
    crv: Literal["P-256", "Ed25519"] | None = None
    x: _Coordinate | None = None
    y: _Coordinate | None = None
    n: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_-]{342,684}$")] | None = None
    e: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_-]{1,8}$")] | None = None


class TlsSubject(msgspec.Struct, frozen=True, kw_only=True):
    """Whom the certificate of a client must name (RFC 8705 §2.1.2): a name of one kind."""

    kind: Literal["subject_dn", "san_dns", "san_uri", "san_ip"]
    value: Annotated[str, msgspec.Meta(min_length=1, max_length=512)]


class ClientMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What is registered of a client (RFC 7591 §2). `dpop_bound`: it gets no bearer tokens
    (RFC 9449 §5.2).

    `tls_certificates` (PEM) are for `tls_client_auth` the CAs that sign the client's certificates,
    of which one must name its `tls_subject`; for `self_signed_tls_client_auth` its own ones.
    """

    name: str
    scopes: tuple[str, ...]
    auth_method: AuthMethod = "client_secret_basic"
    jwks: tuple[PublicJwk, ...] = ()
    jwks_uri: str | None = None
    dpop_bound: bool = False
    tls_certificates: tuple[str, ...] = ()
    tls_subject: TlsSubject | None = None

    @property
    def has_secrets(self) -> bool:
        return self.auth_method in SECRET_METHODS


class OAuthClientRegistered(DomainEvent, frozen=True, kw_only=True):
    """An integrator's backend may ask for tokens with at most these scopes (003 §3.6).

    Where the method is a secret, its first one has the number 1.
    """

    NAME: ClassVar[str] = "oauth_client.registered"
    name: str
    scopes: tuple[str, ...]
    auth_method: AuthMethod = "client_secret_basic"
    jwks: tuple[PublicJwk, ...] = ()
    jwks_uri: str | None = None
    dpop_bound: bool = False
    tls_certificates: tuple[str, ...] = ()
    tls_subject: TlsSubject | None = None


class OAuthClientChanged(DomainEvent, frozen=True, kw_only=True):
    """From here on the client is registered as this, whole; `changed` names fields."""

    NAME: ClassVar[str] = "oauth_client.changed"
    metadata: ClientMetadata
    changed: tuple[str, ...]


class OAuthClientSecretAdded(DomainEvent, frozen=True, kw_only=True):
    """There is one more secret, under this number."""

    NAME: ClassVar[str] = "oauth_client.secret_added"
    secret: int


class OAuthClientSecretRetired(DomainEvent, frozen=True, kw_only=True):
    """The secret of this number proves nothing any more."""

    NAME: ClassVar[str] = "oauth_client.secret_retired"
    secret: int


class OAuthClientSuspended(DomainEvent, frozen=True, kw_only=True):
    """The client gets no tokens, and those that it has open nothing."""

    NAME: ClassVar[str] = "oauth_client.suspended"


class OAuthClientResumed(DomainEvent, frozen=True, kw_only=True):
    """The client is served again."""

    NAME: ClassVar[str] = "oauth_client.resumed"


class OAuthClientDeleted(DomainEvent, frozen=True, kw_only=True):
    """The client is gone for good, and with it its tokens."""

    NAME: ClassVar[str] = "oauth_client.deleted"


class OAuthClientDisabled(DomainEvent, frozen=True, kw_only=True):
    """What a suspension was called in the first logs; no longer written."""

    NAME: ClassVar[str] = "oauth_client.disabled"
    reason: str


OAuthClientEvent = (
    OAuthClientRegistered
    | OAuthClientChanged
    | OAuthClientSecretAdded
    | OAuthClientSecretRetired
    | OAuthClientSuspended
    | OAuthClientResumed
    | OAuthClientDeleted
    | OAuthClientDisabled
)


class OAuthClient(msgspec.Struct, frozen=True, kw_only=True):
    """`registered` is what was first asked for, so that a repeat of that request is known.

    `secrets` are the numbers of the live ones, `last_secret` is the highest ever given.
    """

    id: OAuthClientId
    tenant_id: TenantId
    version: int
    registered: ClientMetadata
    metadata: ClientMetadata
    scopes: frozenset[str]
    status: Literal["active", "suspended", "deleted"] = "active"
    secrets: tuple[int, ...] = ()
    last_secret: int = 0


def register(
    client: OAuthClient | None, metadata: ClientMetadata, known_scopes: Set[str]
) -> list[OAuthClientEvent]:
    """The same registration again says nothing; another one under the same id is refused."""
    checked = check(metadata, known_scopes)
    if client is not None:
        if client.registered != checked:
            raise Invalid("idempotency_key_reused", "this key was used for another request")
        return []
    return [OAuthClientRegistered(**msgspec.structs.asdict(checked))]


def change(
    client: OAuthClient, metadata: ClientMetadata, known_scopes: Set[str]
) -> list[OAuthClientEvent]:
    checked = check(metadata, known_scopes)
    changed = tuple(
        field
        for field in ClientMetadata.__struct_fields__
        if getattr(checked, field) != getattr(client.metadata, field)
    )
    return [OAuthClientChanged(metadata=checked, changed=changed)] if changed else []


def add_secret(client: OAuthClient) -> list[OAuthClientEvent]:
    """Raises Conflict: `client_has_no_secrets`, `too_many_secrets`."""
    if not client.metadata.has_secrets:
        raise Conflict("client_has_no_secrets", "this client proves itself in another way")
    if len(client.secrets) >= SECRETS_MAX:
        raise Conflict("too_many_secrets", f"there may be {SECRETS_MAX}; retire one first")
    return [OAuthClientSecretAdded(secret=client.last_secret + 1)]


def retire_secret(client: OAuthClient, secret: int) -> list[OAuthClientEvent]:
    """Raises NotFound (`client_secret_not_found`) for a number that was never given."""
    if not 1 <= secret <= client.last_secret:
        raise NotFound("client_secret_not_found")
    return [OAuthClientSecretRetired(secret=secret)] if secret in client.secrets else []


def suspend(client: OAuthClient) -> list[OAuthClientEvent]:
    return [OAuthClientSuspended()] if client.status == "active" else []


def resume(client: OAuthClient) -> list[OAuthClientEvent]:
    return [OAuthClientResumed()] if client.status == "suspended" else []


def delete(client: OAuthClient) -> list[OAuthClientEvent]:
    return [] if client.status == "deleted" else [OAuthClientDeleted()]


def check(metadata: ClientMetadata, known_scopes: Set[str]) -> ClientMetadata:
    """The same with its scopes in order.

    Raises Invalid: `scope_unknown`, `client_name_invalid`, `client_keys_invalid`.
    """
    scopes = frozenset(metadata.scopes)
    unknown = sorted(scopes - known_scopes)
    if unknown or not scopes:
        raise Invalid("scope_unknown", f"unknown scopes: {', '.join(unknown) or '(none given)'}")
    name = metadata.name.strip()
    if not 1 <= len(name) <= 80 or not name.isprintable():
        raise Invalid("client_name_invalid", "a name of 1 to 80 printable characters")
    _check_keys(metadata)
    return msgspec.structs.replace(metadata, name=name, scopes=tuple(sorted(scopes)))


def _check_keys(metadata: ClientMetadata) -> None:
    _check_certificates(metadata)
    jwks, by_uri = metadata.jwks, metadata.jwks_uri is not None
    if metadata.auth_method != "private_key_jwt":
        if jwks or by_uri:
            raise Invalid("client_keys_invalid", "keys are for private_key_jwt")
        return
    if bool(jwks) == by_uri:
        raise Invalid("client_keys_invalid", "private_key_jwt needs jwks or jwks_uri, and not both")
    if len(jwks) > KEYS_MAX:
        raise Invalid("client_keys_invalid", f"at most {KEYS_MAX} keys")
    if len(jwks) > 1 and len({key.kid for key in jwks} - {None}) != len(jwks):
        raise Invalid("client_keys_invalid", "of several keys each needs a kid of its own")


def _check_certificates(metadata: ClientMetadata) -> None:
    if metadata.auth_method not in TLS_METHODS:
        if metadata.tls_certificates or metadata.tls_subject is not None:
            raise Invalid("client_keys_invalid", "certificates are for tls_client_auth and its kin")
        return
    if not 1 <= len(metadata.tls_certificates) <= CERTIFICATES_MAX:
        raise Invalid("client_keys_invalid", f"1 to {CERTIFICATES_MAX} certificates")
    if (metadata.auth_method == "tls_client_auth") != (metadata.tls_subject is not None):
        raise Invalid("client_keys_invalid", "tls_client_auth, and it alone, names one subject")


def evolve(client: OAuthClient | None, recorded: Recorded) -> OAuthClient:
    event = recorded.event
    if isinstance(event, OAuthClientRegistered):
        metadata = ClientMetadata(**msgspec.structs.asdict(event))
        first = (1,) if metadata.has_secrets else ()
        return OAuthClient(
            id=OAuthClientId(recorded.stream_id),
            tenant_id=recorded.tenant_id,
            version=recorded.version,
            registered=metadata,
            metadata=metadata,
            scopes=frozenset(metadata.scopes),
            secrets=first,
            last_secret=len(first),
        )
    if client is None:
        raise UnexpectedEvent(event)
    replace = msgspec.structs.replace
    client = replace(client, version=recorded.version)
    match event:
        case OAuthClientChanged(metadata=metadata):
            # Secrets end with the method: coming back to it does not wake them up.
            secrets = client.secrets if metadata.has_secrets else ()
            return replace(
                client, metadata=metadata, scopes=frozenset(metadata.scopes), secrets=secrets
            )
        case OAuthClientSecretAdded(secret=secret):
            return replace(client, secrets=(*client.secrets, secret), last_secret=secret)
        case OAuthClientSecretRetired(secret=secret):
            return replace(client, secrets=tuple(n for n in client.secrets if n != secret))
        case OAuthClientSuspended() | OAuthClientDisabled():
            return replace(client, status="suspended")
        case OAuthClientResumed():
            return replace(client, status="active")
        case OAuthClientDeleted():
            return replace(client, status="deleted", secrets=())
        case other:
            raise UnexpectedEvent(other)


def rebuild(past: Iterable[Recorded]) -> OAuthClient | None:
    return fold(evolve, past)
