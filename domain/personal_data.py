"""Accesses to personal data: each time somebody was shown values of a person, and what for.

An access is a stream of one event, so that two readers of one person never wait for each other.
The purpose is one of a few and the reference has no room for words: what a person is asked about
belongs into the case that the reference names, never into the log (design §6).
"""

import re
from collections.abc import Sequence
from typing import ClassVar, Final, Literal

from domain.errors import Malformed
from domain.events import DomainEvent
from domain.ids import UserId

AccessPurpose = Literal[
    "data_subject_request",
    "support",
    "fraud_investigation",
    "security_incident",
    "regulatory_request",
    "contract_performance",
]
"""Why values may be shown: what a record of processing asks for (PDPL art. 31)."""

_REFERENCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/#-]{0,63}", re.ASCII)


class PersonalDataAccessed(DomainEvent, frozen=True, kw_only=True):
    """Values of a person are about to be shown to the actor, for this purpose.

    `fields` names them and holds none of them; `operation` is what was asked for, in the words
    of the API; `reference` the case at the caller's, such as a ticket's number.
    """

    NAME: ClassVar[str] = "personal_data.accessed"
    user_id: UserId
    fields: tuple[str, ...]
    purpose: AccessPurpose
    operation: str
    reference: str | None = None


def access(
    user_id: UserId,
    fields: Sequence[str],
    purpose: AccessPurpose,
    operation: str,
    reference: str | None,
) -> list[PersonalDataAccessed]:
    """Nothing shown is no access. Raises Malformed (`access_reference_invalid`)."""
    if reference is not None and _REFERENCE.fullmatch(reference) is None:
        raise Malformed("access_reference_invalid", "1 to 64 of A-Z, a-z, 0-9, . _ / # and -")
    if not fields:
        return []
    return [
        PersonalDataAccessed(
            user_id=user_id,
            fields=tuple(sorted(set(fields))),
            purpose=purpose,
            operation=operation,
            reference=reference,
        )
    ]
