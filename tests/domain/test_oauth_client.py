"""An integrator's backend: registered with known scopes, changed, suspended; secrets counted."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from domain.errors import Conflict, Invalid, NotFound
from domain.events import DomainEvent
from domain.folding import UnexpectedEvent
from domain.oauth_client import (
    ClientMetadata,
    OAuthClient,
    PublicJwk,
    add_secret,
    change,
    delete,
    rebuild,
    register,
    resume,
    retire_secret,
    suspend,
)
from tests.builders import (
    claim_taken,
    oauth_client_changed,
    oauth_client_deleted,
    oauth_client_disabled,
    oauth_client_registered,
    oauth_client_resumed,
    oauth_client_secret_added,
    oauth_client_secret_retired,
    oauth_client_suspended,
)
from tests.spec import STREAM, TENANT, given, recorded

KNOWN = frozenset({"users:read", "users:write", "devices:read"})
KEY = PublicJwk(kty="EC", crv="P-256", kid="1")


def metadata(**changes: Any) -> ClientMetadata:
    plain = ClientMetadata(name="W", scopes=("devices:read", "users:read"))
    return msgspec.structs.replace(plain, **changes)


def after(*past: DomainEvent) -> OAuthClient:
    client = rebuild(recorded(oauth_client_registered(), *past))
    assert client is not None
    return client


def test_a_client_is_registered_with_its_scopes_in_one_order() -> None:
    given(rebuild).when(
        register,
        metadata(name=" Wallet backend ", scopes=("users:write", "devices:read", "users:write")),
        KNOWN,
    ).then(oauth_client_registered(name="Wallet backend", scopes=("devices:read", "users:write")))


@pytest.mark.parametrize(
    "scopes", [(), ("users:read", "root"), ("USERS:READ",), ("users:read ",), ("",)]
)
def test_a_client_gets_no_scope_that_does_not_exist(scopes: tuple[str, ...]) -> None:
    given(rebuild).when(register, metadata(scopes=scopes), KNOWN).then_refused(
        Invalid, "scope_unknown"
    )


@pytest.mark.parametrize("name", ["", " \t", "x" * 81, "Wallet\r\nbackend", "\u2066Wallet"])
def test_a_client_needs_a_name_that_people_can_read(name: str) -> None:
    given(rebuild).when(register, metadata(name=name), KNOWN).then_refused(
        Invalid, "client_name_invalid"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"jwks": (KEY,)},
        {"jwks_uri": "https://shop.example/jwks.json"},
        {"auth_method": "private_key_jwt"},
        {
            "auth_method": "private_key_jwt",
            "jwks": (KEY,),
            "jwks_uri": "https://shop.example/jwks.json",
        },
        {"auth_method": "private_key_jwt", "jwks": (KEY, KEY)},
        {"auth_method": "private_key_jwt", "jwks": (KEY, PublicJwk(kty="RSA"))},
        {
            "auth_method": "private_key_jwt",
            "jwks": tuple(PublicJwk(kty="EC", kid=str(n)) for n in range(9)),
        },
    ],
)
def test_a_client_names_its_keys_in_one_way_or_proves_itself_in_another(
    changes: dict[str, Any],
) -> None:
    given(rebuild).when(register, metadata(**changes), KNOWN).then_refused(
        Invalid, "client_keys_invalid"
    )


def test_the_same_registration_again_says_nothing_and_another_is_refused() -> None:
    known = frozenset({"users:read", "devices:read"})
    same = metadata(name="Wallet backend", scopes=("users:read", "devices:read"))
    given(rebuild, oauth_client_registered()).when(register, same, known).then_nothing()
    given(rebuild, oauth_client_registered()).when(register, metadata(), known).then_refused(
        Invalid, "idempotency_key_reused"
    )


def test_a_change_says_what_changed_and_an_empty_one_nothing() -> None:
    wanted = oauth_client_changed()
    given(rebuild, oauth_client_registered()).when(change, wanted.metadata, KNOWN).then(wanted)
    given(rebuild, oauth_client_registered(), wanted).when(
        change, wanted.metadata, KNOWN
    ).then_nothing()
    given(rebuild, oauth_client_registered()).when(
        change, metadata(scopes=("root",)), KNOWN
    ).then_refused(Invalid, "scope_unknown")


@pytest.mark.parametrize(
    ("past", "live"),
    [
        ((), (1,)),
        ((oauth_client_secret_added(),), (1, 2)),
        ((oauth_client_secret_added(), oauth_client_secret_retired()), (2,)),
        ((oauth_client_changed(),), ()),
        ((oauth_client_deleted(),), ()),
        ((oauth_client_secret_retired(), oauth_client_secret_added(secret=2)), (2,)),
    ],
)
def test_a_client_knows_which_secrets_are_live(
    past: Sequence[DomainEvent], live: tuple[int, ...]
) -> None:
    assert after(*past).secrets == live


def test_a_secret_gets_a_number_that_none_had() -> None:
    retired = (oauth_client_secret_added(), oauth_client_secret_retired(secret=2))
    given(rebuild, oauth_client_registered(), *retired).when(add_secret).then(
        oauth_client_secret_added(secret=3)
    )


def test_there_are_at_most_two_secrets_and_none_beside_keys() -> None:
    given(rebuild, oauth_client_registered(), oauth_client_secret_added()).when(
        add_secret
    ).then_refused(Conflict, "too_many_secrets")
    given(rebuild, oauth_client_registered(), oauth_client_changed()).when(add_secret).then_refused(
        Conflict, "client_has_no_secrets"
    )


def test_coming_back_to_secrets_wakes_none_of_the_old_ones_up() -> None:
    client = after(oauth_client_changed(), oauth_client_changed(metadata=metadata()))
    assert (client.secrets, client.last_secret) == ((), 1)


def test_a_secret_is_retired_once_and_an_unknown_one_is_not_there() -> None:
    past = (oauth_client_registered(), oauth_client_secret_added())
    given(rebuild, *past).when(retire_secret, 1).then(oauth_client_secret_retired(secret=1))
    given(rebuild, *past, oauth_client_secret_retired()).when(retire_secret, 1).then_nothing()
    for number in (0, 3, -1):
        given(rebuild, *past).when(retire_secret, number).then_refused(
            NotFound, "client_secret_not_found"
        )


def test_a_client_is_suspended_and_resumed_and_repeats_say_nothing() -> None:
    given(rebuild, oauth_client_registered()).when(suspend).then(oauth_client_suspended())
    suspended = (oauth_client_registered(), oauth_client_suspended())
    given(rebuild, *suspended).when(suspend).then_nothing()
    given(rebuild, *suspended).when(resume).then(oauth_client_resumed())
    given(rebuild, *suspended, oauth_client_resumed()).when(resume).then_nothing()


def test_a_deleted_client_does_not_come_back() -> None:
    given(rebuild, oauth_client_registered()).when(delete).then(oauth_client_deleted())
    gone = (oauth_client_registered(), oauth_client_deleted())
    given(rebuild, *gone).when(delete).then_nothing()
    given(rebuild, *gone).when(resume).then_nothing()


def test_a_client_that_an_early_log_disabled_is_suspended() -> None:
    assert after(oauth_client_disabled()).status == "suspended"


def test_a_client_remembers_what_happened_to_it() -> None:
    client = after(oauth_client_suspended())
    assert (client.id, client.tenant_id, client.version) == (STREAM, TENANT, 2)
    assert (client.metadata.name, client.status) == ("Wallet backend", "suspended")
    assert client.scopes == {"devices:read", "users:read"}


@pytest.mark.parametrize("stray", [claim_taken(), oauth_client_disabled()])
def test_a_stream_that_does_not_begin_with_a_client_is_no_client(stray: DomainEvent) -> None:
    with pytest.raises(UnexpectedEvent):
        rebuild(recorded(stray))
