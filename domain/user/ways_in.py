"""Ways in: by what a person signs in, and that the last of them is never taken away.

A way in is added by who is signed in and has just proved it again, never because two of them name
the same e-mail address: whoever holds an address at a provider is not for that the person who is
known by it here.
"""

from collections.abc import Mapping, Set
from typing import Final, Literal, get_args

from domain.errors import Conflict, NotFound
from domain.ids import ClaimId
from domain.user.facts import (
    PasswordSetBy,
    Provider,
    UserAccountLinked,
    UserAccountUnlinked,
    UserEvent,
    UserPasswordRemoved,
    UserPasswordSet,
)
from domain.user.person import User, serve

WayIn = Literal["mobile", "email", "password", "google", "apple"]
METHODS: Final[Mapping[WayIn, str]] = {
    "mobile": "otp_sms",
    "email": "otp_email",
    "password": "password",
    "google": "google",
    "apple": "apple",
}
"""By which of a tenant's `auth_methods` each is used."""
_ADDRESSES: Final[tuple[Literal["mobile", "email"], ...]] = ("mobile", "email")


def ways_in(user: User) -> frozenset[WayIn]:
    """Those that the person has, whether or not the tenant lets anybody in by them today."""
    found: set[WayIn] = {address for address in _ADDRESSES if address in user.fields}
    found |= {provider for provider in get_args(Provider) if provider in user.claims}
    if user.has_password and "email" in user.fields:
        found.add("password")
    return frozenset(found)


def set_password(user: User, by: PasswordSetBy) -> list[UserEvent]:
    """Raises Forbidden (`user_suspended`, `user_erased`), Conflict (`email_missing`)."""
    serve(user)
    if "email" not in user.fields:
        raise Conflict("email_missing", "a password goes with an e-mail address")
    return [UserPasswordSet(by=by)]


def link(user: User, provider: Provider, claim: ClaimId) -> list[UserEvent]:
    """The same account again says nothing.

    Raises Forbidden (`user_suspended`, `user_erased`), Conflict (`account_linked_already`) for who
    has another account there.
    """
    serve(user)
    held = user.claims.get(provider)
    if held == claim:
        return []
    if held is not None:
        raise Conflict("account_linked_already", "unlink the one that is linked first")
    return [UserAccountLinked(provider=provider, claim=claim)]


def unlink(
    user: User, way: Literal["password", "google", "apple"], allowed: Set[str]
) -> list[UserEvent]:
    """`allowed` are the tenant's `auth_methods`.

    Raises Forbidden (`user_suspended`, `user_erased`), NotFound (`way_in_not_found`), Conflict
    (`last_way_in`) when nothing would be left to come in by.
    """
    serve(user)
    if way == "password":
        if not user.has_password:
            raise NotFound("way_in_not_found")
    elif way not in user.claims:
        raise NotFound("way_in_not_found")
    if not any(METHODS[each] in allowed for each in ways_in(user) - {way}):
        raise Conflict("last_way_in", "add another way to sign in first")
    if way == "password":
        return [UserPasswordRemoved()]
    return [UserAccountUnlinked(provider=way, claim=user.claims[way])]
