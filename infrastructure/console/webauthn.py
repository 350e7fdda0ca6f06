"""WebAuthn's rules for what a browser sends, by Yubico's `fido2` and what it leaves to us.

An attestation statement is not looked at: we ask for none, and passkeys that are synchronised have
none to give. Which algorithms, that the key is one, flags that contradict each other, frames of
other origins and a public key that is remembered for an unknown credential are looked at here.
"""

import struct
from typing import Any, Final, cast

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from fido2.cose import CoseKey
from fido2.server import Fido2Server
from fido2.utils import websafe_encode
from fido2.webauthn import (
    AttestationConveyancePreference,
    AttestedCredentialData,
    AuthenticationResponse,
    AuthenticatorData,
    CollectedClientData,
    PublicKeyCredentialRpEntity,
    RegistrationResponse,
    UserVerificationRequirement,
)

from application.ports.passkeys import (
    ALGORITHMS,
    RP_NAME,
    Asserted,
    Ceremony,
    CeremonyFailed,
    NewCredential,
    Shown,
)

_CREDENTIAL_ID_MAX: Final = 1023
_RSA_BYTES: Final = range(256, 513)

_MALFORMED: Final = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    AssertionError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    struct.error,
    UnsupportedAlgorithm,
)
"""What the library and its CBOR reader raise for bytes that are not what they claim to be."""


class Fido2WebAuthn:
    """`WebAuthn`."""

    def __init__(self) -> None:
        point = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
        x, y = point.x.to_bytes(32, "big"), point.y.to_bytes(32, "big")
        self._nobodys_key = CoseKey.parse({1: 2, 3: -7, -1: 1, -2: x, -3: y})

    def registered(self, ceremony: Ceremony, shown: Shown) -> NewCredential:
        try:
            response = RegistrationResponse.from_dict(
                {
                    "rawId": websafe_encode(shown.credential_id),
                    "response": {
                        "clientDataJSON": websafe_encode(shown.client_data),
                        "attestationObject": websafe_encode(shown.attestation_object),
                    },
                    "type": "public-key",
                }
            )
            _check_frame(response.response.client_data)
            found = _server(ceremony).register_complete(_state(ceremony), response)
            made = found.credential_data
            if made is None or made.credential_id != shown.credential_id:
                raise CeremonyFailed("the credential's id is another than the attested one")
            if not 1 <= len(made.credential_id) <= _CREDENTIAL_ID_MAX:
                raise CeremonyFailed("a credential's id of 1 to 1023 bytes")
            _check_flags(found)
            _check_key(made.public_key)
        except _MALFORMED as error:
            raise CeremonyFailed(_told(error)) from error
        return NewCredential(
            credential_id=bytes(made.credential_id),
            data=bytes(made),
            sign_count=found.counter,
            backup_eligible=found.is_backup_eligible(),
            backed_up=found.is_backed_up(),
            transports=tuple(shown.transports),
        )

    def asserted(
        self, ceremony: Ceremony, credential: NewCredential | None, shown: Shown
    ) -> Asserted:
        try:
            response = AuthenticationResponse.from_dict(
                {
                    "rawId": websafe_encode(shown.credential_id),
                    "response": {
                        "clientDataJSON": websafe_encode(shown.client_data),
                        "authenticatorData": websafe_encode(shown.authenticator_data),
                        "signature": websafe_encode(shown.signature),
                    },
                    "type": "public-key",
                }
            )
            _check_frame(response.response.client_data)
            _server(ceremony).authenticate_complete(
                _state(ceremony), [self._known(credential, shown)], response
            )
            found = response.response.authenticator_data
            _check_flags(found)
        except _MALFORMED as error:
            raise CeremonyFailed(_told(error)) from error
        if credential is None:
            raise CeremonyFailed("nobody's credential")
        if found.is_backup_eligible() != credential.backup_eligible:
            raise CeremonyFailed("backup eligibility does not change")
        return Asserted(sign_count=found.counter, backed_up=found.is_backed_up())

    def _known(self, credential: NewCredential | None, shown: Shown) -> AttestedCredentialData:
        """The credential; for one that is nobody's, one whose private key is nobody's."""
        if credential is not None:
            return AttestedCredentialData(credential.data)
        return AttestedCredentialData.create(bytes(16), shown.credential_id, self._nobodys_key)


def _server(ceremony: Ceremony) -> Fido2Server:
    return Fido2Server(
        PublicKeyCredentialRpEntity(name=RP_NAME, id=ceremony.party.id),
        attestation=AttestationConveyancePreference.NONE,
        verify_origin=lambda origin: origin == ceremony.party.origin,
    )


def _state(ceremony: Ceremony) -> dict[str, Any]:
    """After a password, touching the authenticator is enough; otherwise it must know its person."""
    alone = ceremony.kind != "second_factor"
    wanted = UserVerificationRequirement.REQUIRED if alone else None
    return {"challenge": websafe_encode(ceremony.challenge), "user_verification": wanted}


def _check_frame(client_data: CollectedClientData) -> None:
    """Somebody else's page that shows the console in a frame is not the console."""
    if client_data.cross_origin is not False:
        raise CeremonyFailed("the page was in a frame of another origin")


def _check_flags(found: AuthenticatorData) -> None:
    if found.is_backed_up() and not found.is_backup_eligible():
        raise CeremonyFailed("backed up and not eligible for it")


def _check_key(key: CoseKey) -> None:
    """A key that no signature could be checked with would lock its person out."""
    parts = cast("dict[int, Any]", key)
    if parts.get(3) not in ALGORITHMS:
        raise CeremonyFailed("the key's algorithm was not asked for")
    if parts[3] == -257 and not (len(parts[-1]) in _RSA_BYTES and len(parts[-2]) <= 4):
        raise CeremonyFailed("an RSA key of 2048 to 4096 bits")
    try:
        key.verify(b"", b"")
    except InvalidSignature:
        return
    raise CeremonyFailed("the key cannot check a signature")


def _told(error: Exception) -> str:
    """The library's own words for what it checks; of bytes that it could not read, nothing."""
    return _WORDS.get(str(error), "it cannot be read")


_WORDS: Final = {
    "Incorrect type in CollectedClientData.": "it was made for something else",
    "Invalid origin in CollectedClientData.": "the origin is another",
    "Wrong challenge in response.": "the challenge is another",
    "Wrong RP ID hash in response.": "the relying party is another",
    "User Present flag not set.": "nobody was there",
    "User verification required, but User Verified flag not set.": "the person was not verified",
}
