"""What tells one person of a tenant from the next: mobile, e-mail, the integrator's own id.

Each is one person's at most. It is known to the log as the stream of a claim, whose id comes from
a keyed digest that no other tenant's equals; the value itself is in the vault.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from application.ports import Digests, EventLog, PersonalData, PhoneNumbers
from domain import claim as k
from domain import email
from domain import user as u
from domain.errors import Conflict, Invalid
from domain.events import StreamAppend
from domain.ids import ClaimId, TenantId, UserId, claim_id

KINDS: Final[Mapping[u.PersonalField, str]] = {
    "mobile": k.MOBILE,
    "email": k.EMAIL,
    "external_id": k.EXTERNAL_ID,
}
_EXTERNAL_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@|-]{0,127}", re.ASCII)

Values = Mapping[u.PersonalField, str]
Claims = Mapping[str, ClaimId]


def identifier_claim(digests: Digests, tenant_id: TenantId, kind: str, value: str) -> ClaimId:
    """The stream of a mobile, an e-mail or an external id, in its normal form."""
    return claim_id(tenant_id, kind, digests.digest(kind, f"{tenant_id}:{value}"))


class Identifiers:
    def __init__(
        self,
        log: EventLog,
        personal_data: PersonalData,
        phone_numbers: PhoneNumbers,
        digests: Digests,
    ) -> None:
        self._log = log
        self._personal_data = personal_data
        self._phone_numbers = phone_numbers
        self._digests = digests

    def normalised(self, values: Values) -> Values:
        """In the form in which values are kept and compared.

        Raises Invalid (`mobile_invalid`, `email_invalid`, `external_id_invalid`).
        """
        found: dict[u.PersonalField, str] = {}
        for field, value in values.items():
            match field:
                case "mobile":
                    found[field] = self._phone_numbers.normalise(value)
                case "email":
                    found[field] = email.normalised(value)
                case "external_id":
                    if _EXTERNAL_ID.fullmatch(value) is None:
                        raise Invalid("external_id_invalid", "A-Z, a-z, 0-9 and . _ : @ | -")
                    found[field] = value
                case "name":
                    found[field] = value.strip()
        return found

    def claims(self, tenant_id: TenantId, values: Values) -> Claims:
        """Which claims values in their normal form are, by the kind of claim."""
        return {
            kind: identifier_claim(self._digests, tenant_id, kind, values[field])
            for field, kind in KINDS.items()
            if field in values
        }

    async def held(self, user: u.User) -> Claims:
        """The claims of a person. Who signed up before they were noted has a mobile at most."""
        if k.MOBILE in user.claims:
            return user.claims
        mobile = await self._personal_data.read(user.tenant_id, user.id, "mobile")
        if mobile is None:
            return user.claims
        return {**self.claims(user.tenant_id, {"mobile": mobile}), **user.claims}

    async def owner(self, tenant_id: TenantId, field: u.PersonalField, value: str) -> UserId | None:
        """Whose a value in its normal form is."""
        (stream,) = self.claims(tenant_id, {field: value}).values()
        claim = k.rebuild(await self._log.load(tenant_id, stream))
        return None if claim is None or claim.owner is None else UserId(claim.owner)

    async def settle(
        self, tenant_id: TenantId, user_id: UserId, before: Claims, after: Claims
    ) -> Sequence[StreamAppend]:
        """What makes claims from those of before into those of after, for one commit.

        Raises Conflict (`mobile_taken`, `email_taken`, `external_id_taken`) when one is another
        person's of the tenant.
        """
        appends: list[StreamAppend] = []
        for kind, stream in before.items():
            claim = k.rebuild(await self._log.load(tenant_id, stream))
            if after.get(kind) != stream and claim is not None and claim.owner == user_id:
                released = k.ClaimReleased(kind=kind)
                appends.append(_append(tenant_id, stream, claim.version, released))
        for kind, stream in after.items():
            claim = k.rebuild(await self._log.load(tenant_id, stream))
            if claim is not None and claim.owner is not None:
                if claim.owner != user_id:
                    raise Conflict(f"{kind}_taken", "another person of this tenant has it")
                continue
            taken = k.ClaimTaken(kind=kind, owner=user_id)
            appends.append(_append(tenant_id, stream, 0 if claim is None else claim.version, taken))
        return appends


def _append(
    tenant_id: TenantId, stream: ClaimId, version: int, event: k.ClaimTaken | k.ClaimReleased
) -> StreamAppend:
    return StreamAppend(
        tenant_id=tenant_id, stream_id=stream, expected_version=version, events=[event]
    )
