"""What passwords of console people must be: what their tenant wants of its people, and no less than
this platform wants of whoever manages anything."""

import msgspec

from domain import tenant as t
from domain.operator import PASSWORD_LEAST
from domain.password import PasswordPolicy


def console_policy(tenant: t.Tenant | None) -> PasswordPolicy:
    """None is the platform's own people, under the default of every setting."""
    wanted = t.password_policy(t.TenantSettings() if tenant is None else tenant.settings)
    least = max(PASSWORD_LEAST, wanted.length_min)
    return msgspec.structs.replace(wanted, length_min=least, breach_check=True)
