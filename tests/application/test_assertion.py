"""What the product is sent: the body, and an assertion that holds for this body alone
(design §2 rows 4 and 5; 004 §10.5; reference broker.md §3.7)."""

import base64
import hashlib
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import rfc8785

from application.transactions.authorization import Authorization, Question
from domain import linked_service as ls
from domain import transaction as x
from domain.ids import wire
from tests import builders
from tests.application.world import ISSUER, KEY, Killed, World, asking, kill, transaction
from tests.builders import DEVICE, NOW, SERVICE, USER
from tests.spec import TENANT


def sha256(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


async def sent(world: World, **request: Any) -> tuple[dict[str, Any], bytes]:
    """The claims and the body of the only call."""
    await world.transact(asking(**request))
    (claims,), (call,) = world.signer.claims, world.product.calls
    return dict(claims), call.body


async def test_the_claims_name_the_product_the_person_and_the_body() -> None:
    world = World()
    world.palms.takes_s = 0.9
    claims, body = await sent(world, context={"b": 1.50, "a": "x"})
    jti = claims.pop("jti")
    issued_at = int((NOW + timedelta(seconds=0.9)).timestamp())
    assert claims == {
        "aud": [
            "wallet",
            f"{ISSUER}/tenants/{wire('ten', TENANT)}/linked-services/{wire('lsvc', SERVICE)}",
        ],
        "sub": wire("usr", USER),
        "tenant_id": wire("ten", TENANT),
        "device_id": wire("dev", DEVICE),
        "txn": wire("txn", transaction()),
        "action": "pay",
        "context_hash": sha256(b'{"a":"x","b":1.5}'),
        "body_sha256": sha256(body),
        "idempotency_key": wire("txn", transaction()),
        "acr": "palm.1n.server4",
        "match_source": "server",
        "device_assurance": "unattested",
        "iat": issued_at,
        "nbf": issued_at,
        "exp": issued_at + 6,
    }
    intent = world.events(transaction())[2]
    assert isinstance(intent, x.TransactionAuthorizationRequested)
    assert jti == intent.jti
    received = world.events(transaction())[0]
    assert isinstance(received, x.TransactionReceived)
    assert received.commitments == "tenant_salted"
    assert claims["context_hash"] not in received.context_hash


async def test_the_body_carries_the_canonical_context_and_goes_out_with_the_assertion() -> None:
    world = World()
    context: dict[str, Any] = {"z": [1e21, 0.1, "é\u2028"], "amount": 50.00, "a": {"b": None}}
    claims, body = await sent(world, context=context)
    assert msgspec.json.decode(body) == {
        "user_id": wire("usr", USER),
        "tenant_id": wire("ten", TENANT),
        "device_id": wire("dev", DEVICE),
        "transaction_id": wire("txn", transaction()),
        "action": "pay",
        "context": context,
        "idempotency_key": wire("txn", transaction()),
        "attempt": 1,
    }
    canonical = rfc8785.dumps(context)
    assert canonical in body
    assert claims["context_hash"] == sha256(canonical)
    (call,) = world.product.calls
    assert (call.bearer, call.url) == ("assertion-1", "https://wallet.example/authorize")
    assert (call.tenant_id, call.service_id, call.device_id) == (TENANT, SERVICE, DEVICE)
    assert call.idempotency_key == wire("txn", transaction())
    assert call.breaker == builders.ROUTING.breaker


async def test_neither_the_devices_key_nor_the_palm_reaches_the_product() -> None:
    claims, body = await sent(World())
    told = body + msgspec.json.encode(claims)
    assert KEY.encode() not in told
    assert b"palm_ref" not in told
    assert b"plm_" not in told


@pytest.mark.parametrize(
    ("timeout_ms", "lifetime_s"), [(50, 6), (800, 6), (2000, 8), (9000, 15), (10_000, 15)]
)
async def test_an_assertion_outlives_its_call_by_seconds_and_never_a_minute(
    timeout_ms: int, lifetime_s: int
) -> None:
    world = World()
    world.routing(timeout_ms=timeout_ms)
    claims, _ = await sent(world, deadline_ms=10_000)
    assert claims["exp"] - claims["iat"] == lifetime_s
    assert claims["exp"] - claims["iat"] <= 60


async def test_even_the_longest_call_has_an_assertion_of_a_minute_at_most() -> None:
    """No product may take this long today; the bound does not rest on that."""
    world = World()
    service = ls.rebuild(await world.log.load(TENANT, SERVICE))
    assert service is not None
    question = Question(
        tenant_id=TENANT,
        device_id=DEVICE,
        transaction_id=transaction(),
        identified=builders.transaction_identified(),
        intent=builders.transaction_authorization_requested(timeout_ms=90_000),
        service=service,
        context=b"{}",
        context_hash=sha256(b"{}"),
    )
    await Authorization(world.product, world.signer, ISSUER).ask(question, NOW, 200)
    (claims,) = world.signer.claims
    assert claims["exp"] - claims["iat"] == 60


async def test_every_attempt_has_a_jti_of_its_own_and_the_key_stays() -> None:
    world = World()
    world.product.after = kill
    with pytest.raises(Killed):
        await world.transact()
    world.clock.advance(10)
    await world.transact()
    await world.transact(asking(key="till-4-00000000002"))
    first, second, other = world.signer.claims
    assert len({first["jti"], second["jti"], other["jti"]}) == 3
    assert first["idempotency_key"] == second["idempotency_key"] != other["idempotency_key"]
    assert [msgspec.json.decode(call.body)["attempt"] for call in world.product.calls] == [1, 2, 1]


async def test_the_audience_tells_two_tenants_products_of_one_key_apart() -> None:
    """`product_key` alone is unique within its tenant only."""
    world = World()
    claims, _ = await sent(world)
    short, long = claims["aud"]
    assert short == "wallet"
    assert wire("ten", TENANT) in long
    assert wire("lsvc", SERVICE) in long
