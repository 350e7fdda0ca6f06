"""Which values of a person the vault takes, by the names of its fields.

Nothing else is kept about anybody (design §6). Whoever needs another field adds it here, with what
it is, and to the table in docs/privacy.md.
"""

import re
from collections.abc import Mapping
from typing import Final

from domain.ids import ConsentId

FIELDS: Final[Mapping[str, str]] = {
    "name": "the name by which the tenant knows the person",
    "mobile": "mobile number, E.164",
    "email": "e-mail address",
    "external_id": "the integrator's own id of the person",
    "kyc_first_name": "given name as in the document",
    "kyc_last_name": "family name as in the document",
    "kyc_date_of_birth": "date of birth, ISO 8601",
    "kyc_nationality": "nationality, ISO 3166-1 alpha-2",
    "kyc_gender": "gender as in the document",
    "kyc_address": "postal address",
    "kyc_document_type": "kind of document",
    "kyc_document_number": "number of the document",
    "kyc_document_country": "issuing country, ISO 3166-1 alpha-2",
    "kyc_document_expires": "expiry of the document, ISO 8601",
    "kyc_provider_reference": "the case at the provider of the verification",
}

PASSWORD_HASH: Final = "password_hash"  # noqa: S105 - the name of a field
PAST_PASSWORDS: Final = "past_password_hashes"
SECRETS: Final[Mapping[str, str]] = {
    PASSWORD_HASH: "hash of the person's password",
    PAST_PASSWORDS: "hashes of passwords before it, newest first, as a JSON array",
}
"""What only proves that it is the person. It is told to nobody, not even to the person."""

_CONSENT_TEXT: Final = re.compile(r"consent_text_[0-9a-f]{32}", re.ASCII)


def consent_text(consent_id: ConsentId) -> str:
    """The field of the words that a person agreed to, one for each consent."""
    return f"consent_text_{consent_id.hex}"


def check(field: str) -> str:
    """The field itself. Raises ValueError when the vault takes no such thing."""
    if field not in FIELDS and field not in SECRETS and _CONSENT_TEXT.fullmatch(field) is None:
        raise ValueError(f"the vault has no field {field!r}: see domain/personal_fields.py")
    return field
