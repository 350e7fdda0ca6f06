"""What a caller must say before it is shown values of a person.

A route that answers with personal values takes both headers, notes the access
(`PersonalDataAccesses.note`) and only then answers.
"""

from typing import Annotated, Final

from litestar.params import HeaderParameter

from domain.errors import Malformed
from domain.personal_data import AccessPurpose
from interfaces.http.refusals import Refusals

Purpose = Annotated[
    AccessPurpose | None,
    HeaderParameter(name="Access-Purpose", description="why values of a person are asked for"),
]
Reference = Annotated[
    str | None,
    HeaderParameter(
        name="Access-Reference",
        max_length=64,
        pattern="^[A-Za-z0-9][A-Za-z0-9._/#-]*$",
        description="the caller's own case, such as a ticket's number; no words, no names",
    ),
]

PURPOSE: Final[Refusals] = {
    400: ("invalid_request", "access_purpose_required", "access_reference_invalid"),
    503: ("commit_failed",),
}


def required(purpose: AccessPurpose | None) -> AccessPurpose:
    """Raises Malformed (`access_purpose_required`)."""
    if purpose is None:
        raise Malformed("access_purpose_required", "say why, in the header Access-Purpose")
    return purpose
