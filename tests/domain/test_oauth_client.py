"""An integrator's backend is registered with known scopes, and can be disabled."""

import pytest

from domain.errors import Invalid
from domain.events import DomainEvent
from domain.folding import UnexpectedEvent
from domain.oauth_client import disable, rebuild, register
from tests.builders import claim_taken, oauth_client_disabled, oauth_client_registered
from tests.spec import STREAM, TENANT, given, recorded

KNOWN = frozenset({"users:read", "users:write", "devices:read"})


def test_a_client_is_registered_with_its_scopes_in_one_order() -> None:
    given(rebuild).when(
        register,
        name=" Wallet backend ",
        scopes={"users:write", "devices:read"},
        known_scopes=KNOWN,
    ).then(oauth_client_registered(name="Wallet backend", scopes=("devices:read", "users:write")))


@pytest.mark.parametrize(
    "scopes", [set[str](), {"users:read", "root"}, {"USERS:READ"}, {"users:read "}, {""}]
)
def test_a_client_gets_no_scope_that_does_not_exist(scopes: set[str]) -> None:
    given(rebuild).when(register, name="W", scopes=scopes, known_scopes=KNOWN).then_refused(
        Invalid, "scope_unknown"
    )


@pytest.mark.parametrize("name", ["", " \t", "x" * 81, "Wallet\r\nbackend", "\u2066Wallet"])
def test_a_client_needs_a_name_that_people_can_read(name: str) -> None:
    given(rebuild).when(
        register, name=name, scopes={"users:read"}, known_scopes=KNOWN
    ).then_refused(Invalid, "client_name_invalid")


def test_registering_a_client_twice_changes_nothing() -> None:
    given(rebuild, oauth_client_registered()).when(
        register, name="Again", scopes={"users:read"}, known_scopes=KNOWN
    ).then_nothing()


def test_a_client_can_be_disabled() -> None:
    given(rebuild, oauth_client_registered()).when(disable, reason="secret leaked").then(
        oauth_client_disabled(reason="secret leaked")
    )


def test_disabling_a_client_twice_changes_nothing() -> None:
    given(rebuild, oauth_client_registered(), oauth_client_disabled()).when(
        disable, reason="again"
    ).then_nothing()


def test_a_client_remembers_what_happened_to_it() -> None:
    past = (oauth_client_registered(name="W", scopes=("users:read",)), oauth_client_disabled())
    client = rebuild(recorded(*past))
    assert client is not None
    assert (client.id, client.tenant_id, client.version) == (STREAM, TENANT, 2)
    assert (client.name, client.status) == ("W", "disabled")
    assert client.scopes == {"users:read"}


@pytest.mark.parametrize("stray", [claim_taken(), oauth_client_disabled()])
def test_a_stream_that_does_not_begin_with_a_client_is_no_client(stray: DomainEvent) -> None:
    with pytest.raises(UnexpectedEvent):
        rebuild(recorded(stray))
