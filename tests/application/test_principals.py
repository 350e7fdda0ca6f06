"""Names for the log, and command ids that only the same caller can meet again."""

from uuid import UUID, uuid4

import msgspec
import pytest

from application.principals import Caller, client_actor, device_actor, operator
from domain.events import Origin
from domain.ids import OAuthClientId
from tests.application.world import BACKEND, OTHER_TENANT
from tests.builders import DEVICE
from tests.spec import CORRELATION, STREAM, TENANT

FRESH = UUID("0198c000-0000-7000-8000-00000000f00d")


def test_an_actor_is_a_kind_and_an_id() -> None:
    assert device_actor(DEVICE) == f"device:dev_{DEVICE.hex}"
    assert client_actor(OAuthClientId(STREAM)) == f"client:cli_{STREAM.hex}"
    assert operator(TENANT, CORRELATION).actor == "operator:cli"


def test_an_origin_says_who_asked_and_in_which_request() -> None:
    assert BACKEND.origin(FRESH) == Origin(
        actor=BACKEND.actor, correlation_id=CORRELATION, command_id=FRESH
    )


def test_without_a_key_every_command_is_its_own() -> None:
    assert BACKEND.command("device.register", None, FRESH) == FRESH


def test_with_a_key_the_same_request_is_the_same_command() -> None:
    later = msgspec.structs.replace(BACKEND, correlation_id=uuid4())
    first = BACKEND.command("device.register", "key", FRESH)
    assert later.command("device.register", "key", uuid4()) == first != FRESH


@pytest.mark.parametrize(
    ("caller", "operation", "key"),
    [
        (BACKEND, "device.register", "another key"),
        (BACKEND, "linked_service.register", "key"),
        (msgspec.structs.replace(BACKEND, actor="client:cli_2"), "device.register", "key"),
        (msgspec.structs.replace(BACKEND, tenant_id=OTHER_TENANT), "device.register", "key"),
    ],
    ids=["key", "operation", "actor", "tenant"],
)
def test_anything_else_is_another_command(caller: Caller, operation: str, key: str) -> None:
    first = BACKEND.command("device.register", "key", FRESH)
    assert caller.command(operation, key, FRESH) != first
