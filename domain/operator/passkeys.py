"""Passkeys of a console person: which count, and what may be done with them (WebAuthn).

Keys, credential ids and names are outside the log; here a passkey is an id.
"""

from typing import Final

from domain.errors import Conflict, NotFound, Unauthenticated
from domain.ids import PasskeyId
from domain.operator.facts import (
    OperatorEvent,
    OperatorPasskeyAdded,
    OperatorPasskeyRemoved,
    OperatorPasskeyRenamed,
    OperatorPasskeySuspected,
    OperatorPasskeyUsed,
)
from domain.operator.person import Operator, check_served

PASSKEYS_MAX: Final = 20


def check_room(operator: Operator) -> None:
    """Raises Forbidden (`operator_not_served`) and Conflict (`password_unchanged_yet`,
    `too_many_passkeys`)."""
    check_served(operator)
    if operator.must_change_password:
        # Whoever knows an initial password is not sure to be the person, and a passkey would stay.
        raise Conflict("password_unchanged_yet", "choose a password of your own first")
    if len(operator.passkeys) >= PASSKEYS_MAX:
        raise Conflict("too_many_passkeys", f"{PASSKEYS_MAX} at most; remove one first")


def add_passkey(
    operator: Operator, passkey_id: PasskeyId, *, backup_eligible: bool
) -> list[OperatorEvent]:
    """Raises what `check_room` raises."""
    check_room(operator)
    return [OperatorPasskeyAdded(passkey_id=passkey_id, backup_eligible=backup_eligible)]


def rename_passkey(operator: Operator, passkey_id: PasskeyId) -> list[OperatorEvent]:
    """Raises NotFound (`passkey_not_found`)."""
    _check_held(operator, passkey_id)
    return [OperatorPasskeyRenamed(passkey_id=passkey_id)]


def remove_passkey(
    operator: Operator, passkey_id: PasskeyId, *, required: bool
) -> list[OperatorEvent]:
    """Raises NotFound (`passkey_not_found`) and Conflict (`second_factor_needed`) where one is
    required and there is no other."""
    _check_held(operator, passkey_id)
    if required and not operator.totp and len(operator.passkeys) == 1:
        raise Conflict("second_factor_needed", "it is required here; add another one first")
    return [OperatorPasskeyRemoved(passkey_id=passkey_id)]


def use_passkey(operator: Operator, passkey_id: PasskeyId) -> list[OperatorEvent]:
    """Raises Unauthenticated (`credentials_invalid`), whatever is wrong."""
    check_passkey_counts(operator, passkey_id)
    return [OperatorPasskeyUsed(passkey_id=passkey_id)]


def suspect_passkey(operator: Operator, passkey_id: PasskeyId) -> list[OperatorEvent]:
    """Raises Unauthenticated (`credentials_invalid`) where it counts no more anyway."""
    check_passkey_counts(operator, passkey_id)
    return [OperatorPasskeySuspected(passkey_id=passkey_id)]


def check_passkey_counts(operator: Operator, passkey_id: PasskeyId) -> None:
    """Raises Unauthenticated (`credentials_invalid`)."""
    if operator.status != "active" or passkey_id not in operator.passkeys:
        raise Unauthenticated("credentials_invalid")


def _check_held(operator: Operator, passkey_id: PasskeyId) -> None:
    check_served(operator)
    if passkey_id not in operator.passkeys:
        raise NotFound("passkey_not_found")
