"""WebAuthn's options and answers as browsers read and write them (WebAuthn §5.1.8 to §5.1.10).

What goes out is for `parseCreationOptionsFromJSON` and `parseRequestOptionsFromJSON`, what comes in
is from `toJSON()`: names in their spelling, bytes in base64url. Members that we do not use may come
too: browsers add some.
"""

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec

from application.console.passkey_ceremonies import LIVES, Begun
from application.console.passkeys import Proposal
from application.ports.passkeys import ALGORITHMS, RP_NAME, Ceremony, KeptPasskey, Shown
from interfaces.http.json_body import BodyRefused

BODY_MAX: Final = 32_768

Token = Annotated[str, msgspec.Meta(pattern="^lpc_[0-9a-f]{64}$")]
CredentialId = Annotated[str, msgspec.Meta(pattern="^[0-9A-Za-z_-]{2,1364}$")]
Encoded = Annotated[str, msgspec.Meta(pattern="^[0-9A-Za-z_-]{2,8000}$")]
UserHandle = Annotated[str, msgspec.Meta(pattern="^[0-9A-Za-z_-]{0,86}$")]
Transport = Annotated[str, msgspec.Meta(pattern="^[a-z-]{1,20}$")]
Transports = Annotated[list[Transport], msgspec.Meta(max_length=10)]


class RelyingPartyEntity(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str


class UserEntity(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    id: str
    name: str
    display_name: str


class CredentialParameters(msgspec.Struct, frozen=True, kw_only=True):
    alg: int
    type: str = "public-key"


class CredentialDescriptor(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    transports: list[str]
    type: str = "public-key"


class AuthenticatorSelection(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    resident_key: str = "required"
    require_resident_key: bool = True
    user_verification: str = "required"


class CreationOptions(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    rp: RelyingPartyEntity
    user: UserEntity
    challenge: str
    pub_key_cred_params: list[CredentialParameters]
    timeout: int
    exclude_credentials: list[CredentialDescriptor]
    authenticator_selection: AuthenticatorSelection
    attestation: str = "none"


class RequestOptions(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    challenge: str
    timeout: int
    rp_id: str
    allow_credentials: list[CredentialDescriptor]
    user_verification: str


class RegistrationBegun(msgspec.Struct, frozen=True, kw_only=True):
    """Give `options` to `navigator.credentials.create`, and send what it makes with `ceremony`."""

    ceremony: str
    expires_at: datetime
    options: CreationOptions


class SignInBegun(msgspec.Struct, frozen=True, kw_only=True):
    """Give `options` to `navigator.credentials.get`, and send what it says with `ceremony`."""

    ceremony: str
    expires_at: datetime
    options: RequestOptions


class AttestationResponse(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    client_data: Encoded = msgspec.field(name="clientDataJSON")
    attestation_object: Encoded
    transports: Transports = []


class AssertionResponse(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    client_data: Encoded = msgspec.field(name="clientDataJSON")
    authenticator_data: Encoded
    signature: Encoded
    user_handle: UserHandle | None = None


class NewPublicKeyCredential(msgspec.Struct, frozen=True, kw_only=True):
    """What `toJSON()` of a new credential says."""

    id: CredentialId
    type: Literal["public-key"]
    response: AttestationResponse

    def shown(self) -> Shown:
        return Shown(
            credential_id=_bytes(self.id),
            client_data=_bytes(self.response.client_data),
            attestation_object=_bytes(self.response.attestation_object),
            transports=self.response.transports,
        )


class ShownPublicKeyCredential(msgspec.Struct, frozen=True, kw_only=True):
    """What `toJSON()` of a credential says that was shown."""

    id: CredentialId
    type: Literal["public-key"]
    response: AssertionResponse

    def shown(self) -> Shown:
        handle = self.response.user_handle
        return Shown(
            credential_id=_bytes(self.id),
            client_data=_bytes(self.response.client_data),
            authenticator_data=_bytes(self.response.authenticator_data),
            signature=_bytes(self.response.signature),
            user_handle=_bytes(handle) if handle else None,
        )


def registration(proposal: Proposal) -> RegistrationBegun:
    ceremony, person = proposal.begun.ceremony, proposal.person
    return RegistrationBegun(
        ceremony=proposal.begun.token,
        expires_at=ceremony.expires_at,
        options=CreationOptions(
            rp=RelyingPartyEntity(id=ceremony.party.id, name=RP_NAME),
            user=UserEntity(
                id=_text(proposal.user_handle),
                name="console" if person is None else person.email,
                display_name="console" if person is None else person.name,
            ),
            challenge=_text(ceremony.challenge),
            pub_key_cred_params=[CredentialParameters(alg=alg) for alg in ALGORITHMS],
            timeout=_timeout(),
            exclude_credentials=_described(proposal.begun.passkeys),
            authenticator_selection=AuthenticatorSelection(),
        ),
    )


def sign_in(begun: Begun) -> SignInBegun:
    ceremony = begun.ceremony
    return SignInBegun(
        ceremony=begun.token,
        expires_at=ceremony.expires_at,
        options=RequestOptions(
            challenge=_text(ceremony.challenge),
            timeout=_timeout(),
            rp_id=ceremony.party.id,
            allow_credentials=_described(begun.passkeys),
            user_verification=_verification(ceremony),
        ),
    )


def _verification(ceremony: Ceremony) -> str:
    return "preferred" if ceremony.kind == "second_factor" else "required"


def _timeout() -> int:
    """Milliseconds."""
    return int(LIVES.total_seconds() * 1000)


def _described(passkeys: Sequence[KeptPasskey]) -> list[CredentialDescriptor]:
    found = [passkey.credential for passkey in passkeys]
    return [
        CredentialDescriptor(id=_text(each.credential_id), transports=list(each.transports))
        for each in found
    ]


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    """Raises BodyRefused (`invalid_request`) for a length that no bytes have."""
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError as error:
        raise BodyRefused("invalid_request", "not base64url") from error
