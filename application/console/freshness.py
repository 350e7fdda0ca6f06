"""Whoever changes what they sign in with has just signed in: who finds a session open, or takes its
token, shall not come back by means of their own."""

from datetime import datetime, timedelta
from typing import Final

from application.principals import OperatorPrincipal
from domain.errors import Forbidden

FRESH: Final = timedelta(minutes=10)


def check_fresh(operator: OperatorPrincipal, now: datetime) -> None:
    """Raises Forbidden (`step_up_required`)."""
    if now - operator.authenticated_at > FRESH:
        raise Forbidden(
            "step_up_required", f"sign in again; it counts for {FRESH.seconds // 60} minutes"
        )
