"""What is read and shown at `/v1/oauth-clients`, in the words of RFC 7591 where it has one."""

from typing import Annotated, Final, Literal

import msgspec

from domain.ids import wire
from domain.oauth_client import (
    CERTIFICATES_MAX,
    KEYS_MAX,
    AuthMethod,
    ClientMetadata,
    OAuthClient,
    PublicJwk,
    TlsSubject,
)
from projections import oauth_clients as view

PREFIX: Final = "cli"

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
Scopes = Annotated[
    tuple[Annotated[str, msgspec.Meta(pattern="^[a-z_]{1,32}:[a-z_]{1,32}$")], ...],
    msgspec.Meta(min_length=1, max_length=64),
]
JwksUri = Annotated[str, msgspec.Meta(min_length=8, max_length=512)]


Certificates = Annotated[
    tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=8192)], ...],
    msgspec.Meta(max_length=CERTIFICATES_MAX),
]


class NewTlsSubject(TlsSubject, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom a certificate must name: `tls_client_auth_…` of RFC 8705 §2.1.2, by its kind."""

    def plain(self) -> TlsSubject:
        return TlsSubject(kind=self.kind, value=self.value)


class NewPublicJwk(
    PublicJwk, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """One public key. A private member has no place in a request; what Web Crypto and others put
    into every key that they export is taken, and not kept."""

    key_ops: tuple[Literal["verify"]] | None = None
    ext: bool | None = None


class JwkSet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """RFC 7517 §5: P-256, Ed25519, or RSA of 2,048 to 4,096 bits."""

    keys: Annotated[tuple[NewPublicJwk, ...], msgspec.Meta(min_length=1, max_length=KEYS_MAX)]

    def plain(self) -> tuple[PublicJwk, ...]:
        members = PublicJwk.__struct_fields__
        return tuple(
            PublicJwk(**{name: getattr(key, name) for name in members}) for key in self.keys
        )


class NewOAuthClient(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A backend, in the words of RFC 7591 where it has one for a field."""

    name: Name
    scopes: Scopes
    token_endpoint_auth_method: AuthMethod = "client_secret_basic"  # noqa: S105 - a name
    jwks: JwkSet | None = None
    jwks_uri: JwksUri | None = None
    dpop_bound_access_tokens: bool = False
    tls_certificates: Certificates = ()
    tls_subject: NewTlsSubject | None = None

    def metadata(self) -> ClientMetadata:
        return ClientMetadata(
            name=self.name,
            scopes=self.scopes,
            auth_method=self.token_endpoint_auth_method,
            jwks=() if self.jwks is None else self.jwks.plain(),
            jwks_uri=self.jwks_uri,
            dpop_bound=self.dpop_bound_access_tokens,
            tls_certificates=self.tls_certificates,
            tls_subject=None if self.tls_subject is None else self.tls_subject.plain(),
        )


class OAuthClientChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields to change; what is absent stays, and keys may be taken away by null."""

    name: Name | msgspec.UnsetType = msgspec.UNSET
    scopes: Scopes | msgspec.UnsetType = msgspec.UNSET
    token_endpoint_auth_method: AuthMethod | msgspec.UnsetType = msgspec.UNSET
    jwks: JwkSet | msgspec.UnsetType | None = msgspec.UNSET
    jwks_uri: JwksUri | msgspec.UnsetType | None = msgspec.UNSET
    dpop_bound_access_tokens: bool | msgspec.UnsetType = msgspec.UNSET
    tls_certificates: Certificates | msgspec.UnsetType = msgspec.UNSET
    tls_subject: NewTlsSubject | msgspec.UnsetType | None = msgspec.UNSET

    def apply(self, metadata: ClientMetadata) -> ClientMetadata:
        given: dict[str, object] = {
            "name": self.name,
            "scopes": self.scopes,
            "auth_method": self.token_endpoint_auth_method,
            "jwks": self.jwks.plain() if isinstance(self.jwks, JwkSet) else self.jwks,
            "jwks_uri": self.jwks_uri,
            "dpop_bound": self.dpop_bound_access_tokens,
            "tls_certificates": self.tls_certificates,
            "tls_subject": self.tls_subject.plain()
            if isinstance(self.tls_subject, NewTlsSubject)
            else self.tls_subject,
        }
        if self.jwks is None:
            given["jwks"] = ()
        set_ = {name: value for name, value in given.items() if value is not msgspec.UNSET}
        return msgspec.structs.replace(metadata, **set_)


class SecretRetirement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The number of the secret, as `secrets` tells it."""

    secret: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class JwkSetShown(msgspec.Struct, frozen=True, kw_only=True):
    keys: tuple[PublicJwk, ...]


class OAuthClientShown(msgspec.Struct, frozen=True, kw_only=True):
    """`secrets` are the numbers of the live ones. `client_secret` is shown in the answer that made
    it, and never again."""

    id: str
    name: str
    scopes: tuple[str, ...]
    token_endpoint_auth_method: AuthMethod
    jwks: JwkSetShown | None
    jwks_uri: str | None
    dpop_bound_access_tokens: bool
    tls_certificates: tuple[str, ...]
    tls_subject: TlsSubject | None
    status: Literal["active", "suspended"]
    secrets: tuple[int, ...]
    version: int
    client_secret: str | None = None


class OAuthClientPage(msgspec.Struct, frozen=True, kw_only=True):
    items: list[OAuthClientShown]
    next: str | None


def shown(found: OAuthClient | view.OAuthClientRow, secret: str | None = None) -> OAuthClientShown:
    metadata = found.metadata
    return OAuthClientShown(
        id=wire(PREFIX, found.id if isinstance(found, OAuthClient) else found.client_id),
        name=metadata.name,
        scopes=metadata.scopes,
        token_endpoint_auth_method=metadata.auth_method,
        jwks=JwkSetShown(keys=metadata.jwks) if metadata.jwks else None,
        jwks_uri=metadata.jwks_uri,
        dpop_bound_access_tokens=metadata.dpop_bound,
        tls_certificates=metadata.tls_certificates,
        tls_subject=metadata.tls_subject,
        status="suspended" if found.status == "suspended" else "active",
        secrets=found.secrets,
        version=found.version,
        client_secret=secret,
    )
