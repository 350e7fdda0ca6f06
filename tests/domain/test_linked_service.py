"""A product backend is registered, changed, suspended, resumed and deleted."""

import msgspec
import pytest

from domain.errors import Conflict, Invalid
from domain.events import DomainEvent
from domain.folding import UnexpectedEvent
from domain.linked_service import (
    BreakerSettings,
    Routing,
    StandIn,
    change,
    check_action,
    check_routing,
    delete,
    rebuild,
    register,
    resume,
    suspend,
)
from tests.builders import (
    ROUTING,
    claim_taken,
    linked_service_changed,
    linked_service_deleted,
    linked_service_registered,
    linked_service_resumed,
    linked_service_suspended,
)
from tests.spec import STREAM, TENANT, given, recorded

HOSTILE_PATHS = [
    "",
    "authorize",
    "//evil.example/authorize",
    "/a//b",
    "/../admin",
    "/a/..",
    "/a/./b",
    "/.",
    "/%2e%2e/admin",
    "/a%2fb",
    "/%zz",
    "/%00",
    "/a?x=1",
    "/a#b",
    "/a\\b",
    "/a@evil.example",
    "/a b",
    "/a\r\nHost: evil",
    "/a\n",
    "/a\x00",
    "/é",
    "/\uff0e\uff0e/admin",
    "https://evil.example/",
    "/" + "a" * 256,
]
HOSTILE_ACTIONS = ["", "Pay", "1pay", "pay\n", "pay now", "päy", ".pay", "pay/..", "p" * 64]


def routing_with(**changes: object) -> Routing:
    return msgspec.structs.replace(ROUTING, **changes)


def test_a_product_is_registered_with_its_key_and_how_it_is_called() -> None:
    given(rebuild).when(register, product_key="wallet", routing=ROUTING).then(
        linked_service_registered(product_key="wallet", routing=ROUTING)
    )


def test_registering_the_same_product_again_changes_nothing() -> None:
    given(rebuild, linked_service_registered()).when(
        register, product_key="wallet", routing=ROUTING
    ).then_nothing()


def test_repeating_the_registration_after_a_change_changes_nothing() -> None:
    changed = linked_service_changed(routing=routing_with(timeout_ms=900), changed=("timeout_ms",))
    given(rebuild, linked_service_registered(), changed).when(
        register, product_key="wallet", routing=ROUTING
    ).then_nothing()


@pytest.mark.parametrize(
    ("product_key", "routing"), [("access", ROUTING), ("wallet", routing_with(timeout_ms=900))]
)
def test_one_key_does_not_register_two_products(product_key: str, routing: Routing) -> None:
    given(rebuild, linked_service_registered()).when(
        register, product_key=product_key, routing=routing
    ).then_refused(Invalid, "idempotency_key_reused")


@pytest.mark.parametrize(
    "product_key",
    ["", "Wallet", "1wallet", "wal let", "wallet\n", "wallet/x", "wället", "-w", "w" * 64],
)
def test_a_product_key_has_one_plain_spelling(product_key: str) -> None:
    given(rebuild).when(register, product_key=product_key, routing=ROUTING).then_refused(
        Invalid, "product_key_invalid"
    )


@pytest.mark.parametrize("field", ["authorize_path", "health_path", "void_path", "advice_path"])
@pytest.mark.parametrize("path", HOSTILE_PATHS)
def test_no_path_can_be_read_as_another(field: str, path: str) -> None:
    given(rebuild).when(
        register, product_key="wallet", routing=routing_with(**{field: path})
    ).then_refused(Invalid, "path_invalid")


@pytest.mark.parametrize(
    "path", ["/", "/authorize", "/v1/authorize/", "/v1/a:b;c=1,2", "/~x/$y!'()*+&", "/" + "a" * 255]
)
def test_a_plain_path_is_taken(path: str) -> None:
    check_routing(routing_with(authorize_path=path, health_path=path, void_path=path))


@pytest.mark.parametrize("action", HOSTILE_ACTIONS)
def test_an_action_has_one_plain_spelling(action: str) -> None:
    with pytest.raises(Invalid, match="action_invalid"):
        check_action(action)
    with pytest.raises(Invalid, match="action_invalid"):
        check_routing(routing_with(allowed_actions=("pay", action)))


@pytest.mark.parametrize("action", ["pay", "open_gate", "a", "access.door-1", "p" * 63])
def test_a_plain_action_is_taken(action: str) -> None:
    check_routing(routing_with(allowed_actions=(action,)))


@pytest.mark.parametrize("actions", [("pay", "pay"), tuple(f"a{n}" for n in range(33))])
def test_actions_are_few_and_different(actions: tuple[str, ...]) -> None:
    given(rebuild).when(
        register, product_key="wallet", routing=routing_with(allowed_actions=actions)
    ).then_refused(Invalid, "allowed_actions_invalid")


def test_thirty_two_actions_and_no_action_are_both_taken() -> None:
    check_routing(routing_with(allowed_actions=tuple(f"a{n}" for n in range(32))))
    check_routing(routing_with(allowed_actions=(), void_path=None, advice_path=None))


@pytest.mark.parametrize(
    "amount",
    ["", "NaN", "Infinity", "-1", "+1", "1e9", "1,5", ".5", "5.", "0x10", "\u0665", "1 ", "9" * 19],
)
def test_a_stand_in_limit_is_a_number_that_can_be_reached(amount: str) -> None:
    given(rebuild).when(
        register,
        product_key="wallet",
        routing=routing_with(stand_in=StandIn(max_amount=amount)),
    ).then_refused(Invalid, "stand_in_invalid")


@pytest.mark.parametrize("pointer", ["amount", "/a~", "/a~2", "#/amount", " /amount"])
def test_an_amount_is_found_by_a_json_pointer(pointer: str) -> None:
    given(rebuild).when(
        register,
        product_key="wallet",
        routing=routing_with(stand_in=StandIn(amount_pointer=pointer)),
    ).then_refused(Invalid, "stand_in_invalid")


@pytest.mark.parametrize(
    "stand_in",
    [
        StandIn(currency="sar"),
        StandIn(currency=""),
        StandIn(currency="SAR", amount_pointer=None),
        StandIn(currency="SAR", currency_pointer="currency"),
    ],
)
def test_a_currency_is_a_code_that_stands_beside_an_amount(stand_in: StandIn) -> None:
    with pytest.raises(Invalid, match="stand_in_invalid"):
        check_routing(routing_with(stand_in=stand_in))


def test_a_lane_where_nobody_pays_has_no_amount() -> None:
    check_routing(routing_with(stand_in=StandIn(amount_pointer=None)))


@pytest.mark.parametrize(("amount", "pointer"), [("0", ""), ("25.50", "/a~0/b~1/0"), ("1", "/")])
def test_a_stand_in_with_plain_limits_is_taken(amount: str, pointer: str) -> None:
    check_routing(routing_with(stand_in=StandIn(max_amount=amount, amount_pointer=pointer)))


def test_a_change_is_recorded_whole_with_the_names_of_what_changed() -> None:
    routing = routing_with(fail_mode="open", breaker=BreakerSettings(consecutive_failures=2))
    given(rebuild, linked_service_registered()).when(change, routing).then(
        linked_service_changed(routing=routing, changed=("fail_mode", "breaker"))
    )


def test_a_changed_product_is_called_in_the_new_way() -> None:
    routing = routing_with(timeout_ms=300)
    changed = linked_service_changed(routing=routing, changed=("timeout_ms",))
    given(rebuild, linked_service_registered(), changed).when(change, routing).then_nothing()


def test_changing_nothing_says_nothing() -> None:
    given(rebuild, linked_service_registered()).when(change, ROUTING).then_nothing()


def test_a_change_is_checked_like_a_registration() -> None:
    given(rebuild, linked_service_registered()).when(
        change, routing_with(authorize_path="/a/../b")
    ).then_refused(Invalid, "path_invalid")


def test_a_deleted_product_cannot_be_changed() -> None:
    given(rebuild, linked_service_registered(), linked_service_deleted()).when(
        change, routing_with(timeout_ms=900)
    ).then_refused(Conflict, "linked_service_deleted")


def test_an_active_product_can_be_suspended_and_a_suspended_one_resumed() -> None:
    past = (linked_service_registered(), linked_service_suspended())
    given(rebuild, *past[:1]).when(suspend).then(linked_service_suspended())
    given(rebuild, *past).when(resume).then(linked_service_resumed())


def test_suspending_twice_and_resuming_what_runs_change_nothing() -> None:
    past = (linked_service_registered(), linked_service_suspended(), linked_service_resumed())
    given(rebuild, *past[:2]).when(suspend).then_nothing()
    given(rebuild, *past).when(resume).then_nothing()


def test_a_deleted_product_is_neither_suspended_nor_resumed() -> None:
    past = (linked_service_registered(), linked_service_deleted())
    given(rebuild, *past).when(suspend).then_nothing()
    given(rebuild, *past).when(resume).then_nothing()


def test_a_product_is_deleted_once() -> None:
    past = (linked_service_registered(), linked_service_suspended(), linked_service_deleted())
    given(rebuild, *past[:2]).when(delete).then(linked_service_deleted())
    given(rebuild, *past).when(delete).then_nothing()


def test_a_product_remembers_what_happened_to_it() -> None:
    service = rebuild(recorded(linked_service_registered(), linked_service_suspended()))
    assert service is not None
    assert (service.id, service.tenant_id, service.version) == (STREAM, TENANT, 2)
    assert (service.product_key, service.routing, service.status) == (
        "wallet",
        ROUTING,
        "suspended",
    )


@pytest.mark.parametrize(
    "stray",
    [
        linked_service_changed(),
        linked_service_suspended(),
        linked_service_resumed(),
        linked_service_deleted(),
        claim_taken(),
    ],
)
def test_a_stream_that_does_not_begin_with_a_product_is_no_product(stray: DomainEvent) -> None:
    with pytest.raises(UnexpectedEvent):
        rebuild(recorded(stray))
