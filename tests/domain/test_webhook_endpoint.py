"""WebhookEndpoint: what may be asked of it, and when it stops being told."""

from datetime import timedelta

import msgspec
import pytest

from domain import webhook_endpoint as w
from domain.errors import Conflict, Invalid
from tests.builders import (
    NOW,
    SUBSCRIPTION,
    webhook_endpoint_deleted,
    webhook_endpoint_disabled,
    webhook_endpoint_enabled,
    webhook_endpoint_registered,
    webhook_endpoint_secret_rotated,
)
from tests.spec import recorded

KNOWN = ("device.revoked", "device.transaction.completed", "user.signed_up")


def given(*events: w.WebhookEndpointEvent) -> w.WebhookEndpoint:
    endpoint = w.rebuild(recorded(webhook_endpoint_registered(), *events))
    assert endpoint is not None
    return endpoint


def test_a_repeat_says_nothing_and_another_request_is_refused() -> None:
    assert w.register(None, SUBSCRIPTION, KNOWN) == [
        w.WebhookEndpointRegistered(subscription=SUBSCRIPTION)
    ]
    assert w.register(given(), SUBSCRIPTION, KNOWN) == []
    other = msgspec.structs.replace(SUBSCRIPTION, event_types=("user.signed_up",))
    with pytest.raises(Invalid, match="idempotency_key_reused"):
        w.register(given(), other, KNOWN)


@pytest.mark.parametrize("types", [(), ("no.such",), ("device.revoked", "device.revoked")])
def test_event_types_are_known_and_different(types: tuple[str, ...]) -> None:
    wrong = msgspec.structs.replace(SUBSCRIPTION, event_types=types)
    with pytest.raises(Invalid, match="event_types_invalid"):
        w.register(None, wrong, KNOWN)
    with pytest.raises(Invalid, match="event_types_invalid"):
        w.change(given(), wrong, KNOWN)


def test_a_change_names_what_changed() -> None:
    assert w.change(given(), SUBSCRIPTION, KNOWN) == []
    other = msgspec.structs.replace(SUBSCRIPTION, url="https://new.example/", mtls="off")
    (changed,) = w.change(given(), other, KNOWN)
    assert changed == w.WebhookEndpointChanged(subscription=other, changed=("url", "mtls"))


def test_one_rotation_at_a_time_unless_forced() -> None:
    until = NOW + timedelta(hours=1)
    endpoint = given(webhook_endpoint_secret_rotated(overlap_until=until))
    with pytest.raises(Conflict, match="rotation_open"):
        w.rotate_secret(endpoint, now=NOW, overlap_until=until, force=False)
    for now, force in ((NOW, True), (until, False)):
        assert w.rotate_secret(endpoint, now=now, overlap_until=until, force=force) == [
            w.WebhookEndpointSecretRotated(overlap_until=until)
        ]


def test_it_is_disabled_once_and_enabled_again() -> None:
    active, disabled = given(), given(webhook_endpoint_disabled())
    assert w.disable(active, "gone") == [w.WebhookEndpointDisabled(reason="gone")]
    assert w.disable(disabled, "gone") == []
    assert w.disable(None, "gone") == []
    assert w.disable(given(webhook_endpoint_deleted()), "gone") == []
    assert w.enable(active) == []
    assert w.enable(disabled) == [w.WebhookEndpointEnabled()]
    enabled = given(webhook_endpoint_disabled(), webhook_endpoint_enabled())
    assert (disabled.status, enabled.status) == ("disabled", "active")
    assert (disabled.enabled_at, enabled.enabled_at) == (
        None,
        recorded(
            webhook_endpoint_registered(), webhook_endpoint_disabled(), webhook_endpoint_enabled()
        )[-1].recorded_at,
    )
    with pytest.raises(Conflict, match="webhook_endpoint_disabled"):
        w.request_test(disabled)
    assert w.request_test(active) == [w.WebhookEndpointTestRequested()]


def test_it_is_deleted_once() -> None:
    assert w.delete(given()) == [w.WebhookEndpointDeleted()]
    assert w.delete(given(webhook_endpoint_deleted())) == []
