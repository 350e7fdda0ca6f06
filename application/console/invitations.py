"""The token of an invitation: whose it is, which number, and a keyed digest of both.

Nothing of it is stored, and another invitation of the same person makes it worth nothing.
"""

import re
from typing import Final
from uuid import UUID

from application.ports import Digests
from domain import operator as o
from domain.errors import Unauthenticated
from domain.ids import OperatorId, TenantId

_TOKEN: Final = re.compile(r"lci_([0-9a-f]{32})([0-9a-f]{32})_([1-9][0-9]{0,4})_([\w-]{43})", re.A)
_PURPOSE: Final = "console_invitation"


class Invitations:
    def __init__(self, digests: Digests) -> None:
        self._digests = digests

    def token(self, operator: o.Operator) -> str:
        named = f"{operator.tenant_id.hex}{operator.id.hex}_{operator.invitation}"
        return f"lci_{named}_{self._digests.digest(_PURPOSE, named)}"

    def read(self, token: str) -> tuple[TenantId, OperatorId, int]:
        """Whose it is, and its number. Raises Unauthenticated (`invitation_invalid`)."""
        found = _TOKEN.fullmatch(token)
        if found is None:
            raise Unauthenticated("invitation_invalid")
        tenant, operator, number, digest = found.groups()
        if not self._digests.matches(_PURPOSE, f"{tenant}{operator}_{number}", digest):
            raise Unauthenticated("invitation_invalid")
        return TenantId(UUID(hex=tenant)), OperatorId(UUID(hex=operator)), int(number)
