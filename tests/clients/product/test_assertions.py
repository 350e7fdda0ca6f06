"""A product believes the platform, about this request, once; and nobody else about anything."""

import base64
import hmac
import json
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from cryptography.hazmat.primitives import serialization

from clients.product import (
    AssertionRefused,
    AssertionVerifier,
    Database,
    KeysUnavailable,
    SeenAssertions,
    StoreFull,
)
from infrastructure.keys.signing_keys import SigningKey, SigningKeys, jwks_document
from tests.clients.product.platform_double import (
    DEVICE,
    ISSUER,
    OTHER_TENANT,
    TENANT,
    USER,
    PlatformDouble,
    audience,
    platform,
    sha256,
)
from tests.infrastructure.outbound.certificates import TestAuthority


@pytest.fixture
def double() -> Generator[PlatformDouble]:
    with platform() as opened:
        yield opened


@pytest.fixture
def database(tmp_path: Path) -> Generator[Database]:
    opened = Database(tmp_path / "product.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def verifier(double: PlatformDouble, database: Database) -> AssertionVerifier:
    return AssertionVerifier(double.url, ISSUER, [audience()], seen=SeenAssertions(database))


def test_a_request_of_the_platform_is_believed(
    double: PlatformDouble, verifier: AssertionVerifier
) -> None:
    request = verifier.verify(*double.call(), {"pay"})
    assert (request.user_id, request.tenant_id, request.device_id) == (USER, TENANT, DEVICE)
    assert request.context == {"amount": "50.00", "currency": "SAR"}
    assert request.idempotency_key == "key-1"
    assert double.fetches == 1


@pytest.mark.parametrize("number", [50.0, 1e17, -1e20, 1e300, 0.1, 2**53 - 1, -0.0])
def test_every_number_of_a_context_hashes_as_it_did_at_the_platform(
    double: PlatformDouble, verifier: AssertionVerifier, number: float
) -> None:
    canonical = rfc8785.dumps({"number": number})
    body = double.body(context=json.loads(canonical, parse_int=float))
    raw = json.dumps(body).replace(json.dumps(body["context"]), canonical.decode()).encode()
    token, _ = double.call(body, body_sha256=sha256(raw), context_hash=sha256(canonical))
    assert verifier.verify(token, raw, {"pay"}).context == {"number": number}


def test_the_keys_are_fetched_over_tls_of_the_given_authority(
    tmp_path: Path, database: Database
) -> None:
    authority = TestAuthority(tmp_path)
    with platform(authority.server_context("127.0.0.1")) as double:
        seen = SeenAssertions(database)
        trusting = AssertionVerifier(
            double.url, ISSUER, [audience()], seen=seen, cafile=str(authority.file)
        )
        assert trusting.verify(*double.call(), {"pay"}).action == "pay"
        wary = AssertionVerifier(double.url, ISSUER, [audience()], seen=seen)
        with pytest.raises(KeysUnavailable):
            wary.verify(*double.call(), {"pay"})


def test_keys_that_cannot_be_fetched_are_nobody_s_fault(database: Database) -> None:
    with platform() as double:
        call = double.call()
    verifier = AssertionVerifier(double.url, ISSUER, [audience()], seen=SeenAssertions(database))
    with pytest.raises(KeysUnavailable):
        verifier.verify(*call, {"pay"})


@pytest.mark.parametrize("document", [[], {"keys": []}, {"keys": [{"kty": "oct", "k": "AA"}]}, "x"])
def test_a_document_without_keys_is_no_reason_to_believe(
    double: PlatformDouble, verifier: AssertionVerifier, document: Any
) -> None:
    double.document = document
    with pytest.raises((KeysUnavailable, AssertionRefused)):
        verifier.verify(*double.call(), {"pay"})


def test_a_new_key_is_found_when_it_is_published(
    double: PlatformDouble, database: Database
) -> None:
    verifier = AssertionVerifier(
        double.url, ISSUER, [audience()], seen=SeenAssertions(database), keys_cooldown_s=0.0
    )
    verifier.verify(*double.call(), {"pay"})
    following = SigningKey.generate()
    double.document = jwks_document(SigningKeys(following, [double.assertions.current]))
    assert verifier.verify(*double.call(key=following), {"pay"})


def test_made_up_key_names_do_not_make_us_fetch_without_end(
    double: PlatformDouble, verifier: AssertionVerifier
) -> None:
    verifier.verify(*double.call(), {"pay"})
    for _ in range(50):
        with pytest.raises(AssertionRefused) as refused:
            verifier.verify(*double.call(key=SigningKey.generate()), {"pay"})
        assert refused.value.code == "key_unknown"
    assert double.fetches == 1


def _unsigned(double: PlatformDouble, alg: str, secret: bytes | None = None) -> tuple[str, bytes]:
    token, body = double.call()
    kid = double.assertions.current.kid
    header = {"alg": alg, "kid": kid, "typ": "identity-assertion+jwt"}
    head = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
    signing_input = f"{head}.{token.split('.')[1]}"
    mac = b"" if secret is None else hmac.digest(secret, signing_input.encode(), "sha256")
    return f"{signing_input}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}", body


def _public_pem(double: PlatformDouble) -> bytes:
    return double.assertions.current.public_key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _at(double: PlatformDouble, seconds: int, lasting: int = 6) -> tuple[str, bytes]:
    moment = int(time.time()) + seconds
    return double.call(iat=moment, nbf=moment, exp=moment + lasting)


def _other_body(double: PlatformDouble, change: Callable[[dict[str, Any]], None]) -> Any:
    token, raw = double.call()
    members = json.loads(raw)
    change(members)
    return token, json.dumps(members).encode()


FOREIGN = audience(OTHER_TENANT)
REFUSED: dict[str, tuple[str, Callable[[PlatformDouble], tuple[str, bytes]]]] = {
    "expired": ("assertion_expired", lambda p: _at(p, -60)),
    "from the future": ("assertion_not_yet_valid", lambda p: _at(p, 60)),
    "not valid before later": (
        "assertion_not_yet_valid",
        lambda p: p.call(nbf=int(time.time()) + 30),
    ),
    "longer than a minute": ("assertion_too_long", lambda p: _at(p, 0, lasting=61)),
    "no end": ("assertion_invalid", lambda p: p.call(exp=None)),
    "no jti": ("assertion_invalid", lambda p: p.call(jti=None)),
    "another issuer": ("assertion_invalid", lambda p: p.call(iss="https://evil.example")),
    "product key alone": (
        "assertion_for_another_audience",
        lambda p: p.call(aud=["wallet"]),
    ),
    "audience as text": ("assertion_invalid", lambda p: p.call(aud=audience())),
    "another service": (
        "assertion_for_another_audience",
        lambda p: p.call(aud=["wallet", audience(service=f"lsvc_{'b' * 32}")]),
    ),
    "another tenant's service": (
        "assertion_for_another_audience",
        lambda p: p.call(p.body(tenant_id=OTHER_TENANT)),
    ),
    "another tenant's claim under our audience": (
        "assertion_for_another_audience",
        lambda p: p.call(p.body(tenant_id=OTHER_TENANT), aud=["wallet", audience()]),
    ),
    "our claim under another tenant's audience": (
        "assertion_for_another_audience",
        lambda p: p.call(aud=["wallet", FOREIGN]),
    ),
    "a stranger's key": ("key_unknown", lambda p: p.call(key=SigningKey.generate())),
    "no algorithm": ("assertion_of_another_kind", lambda p: _unsigned(p, "none")),
    "the public key as a secret": (
        "assertion_of_another_kind",
        lambda p: _unsigned(p, "HS256", _public_pem(p)),
    ),
    "another signature": (
        "assertion_invalid",
        lambda p: (p.call()[0][:-8] + "AAAAAAAA", p.call()[1]),
    ),
    "an access token": ("assertion_of_another_kind", lambda p: (p.access_token(), p.call()[1])),
    "an access token by the assertion key": (
        "assertion_of_another_kind",
        lambda p: p.call(typ="at+jwt"),
    ),
    "garbage": ("assertion_malformed", lambda p: ("garbage", p.call()[1])),
    "nothing": ("assertion_malformed", lambda p: ("", p.call()[1])),
    "void": ("action_not_allowed", lambda p: p.call(p.body(action="void"))),
    "another action": ("action_not_allowed", lambda p: p.call(p.body(action="refund"))),
    "another amount": (
        "body_mismatch",
        lambda p: _other_body(p, lambda body: body["context"].update(amount="0.01")),
    ),
    "another user": ("body_mismatch", lambda p: _other_body(p, lambda b: b.update(user_id="u"))),
    "white space in the body": ("body_mismatch", lambda p: (p.call()[0], p.call()[1] + b" ")),
    "a context that was not hashed": (
        "context_mismatch",
        lambda p: p.call(context_hash=sha256(b'{"amount":"0.01","currency":"SAR"}')),
    ),
    "a user that was not signed": ("body_mismatch", lambda p: p.call(sub="usr_other")),
    "a device that was not signed": ("body_mismatch", lambda p: p.call(device_id="dev_other")),
    "a transaction that was not signed": ("body_mismatch", lambda p: p.call(txn="txn_other")),
    "a key that was not signed": ("body_mismatch", lambda p: p.call(idempotency_key="other")),
    "a body that is a list": (
        "body_malformed",
        lambda p: (p.call(body_sha256=sha256(b"[]"))[0], b"[]"),
    ),
    "a member twice": (
        "body_malformed",
        lambda p: (
            p.call(body_sha256=sha256(b'{"action":"pay","action":"pay"}'))[0],
            b'{"action":"pay","action":"pay"}',
        ),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_the_platform_s_word_is_refused(
    double: PlatformDouble, verifier: AssertionVerifier, name: str
) -> None:
    code, forge = REFUSED[name]
    with pytest.raises(AssertionRefused) as refused:
        verifier.verify(*forge(double), {"pay"})
    assert refused.value.code == code


def test_a_tenant_registered_later_is_served_from_then_on(
    double: PlatformDouble, verifier: AssertionVerifier
) -> None:
    body = double.body(tenant_id=OTHER_TENANT)
    with pytest.raises(AssertionRefused):
        verifier.verify(*double.call(body), {"pay"})
    verifier.accept(FOREIGN)
    assert verifier.verify(*double.call(body), {"pay"}).tenant_id == OTHER_TENANT
    assert verifier.verify(*double.call(), {"pay"}).tenant_id == TENANT


@pytest.mark.parametrize("text", ["wallet", "", ISSUER, audience() + "/x", f" {audience()}"])
def test_what_is_no_audience_is_not_accepted(verifier: AssertionVerifier, text: str) -> None:
    with pytest.raises(ValueError, match="is not an audience"):
        verifier.accept(text)


def test_an_assertion_is_good_for_one_call(
    double: PlatformDouble, verifier: AssertionVerifier
) -> None:
    call = double.call()
    verifier.verify(*call, {"pay"})
    with pytest.raises(AssertionRefused) as refused:
        verifier.verify(*call, {"pay"})
    assert refused.value.code == "assertion_replayed"


def test_an_assertion_is_good_for_one_call_also_when_fifty_come_at_once(
    double: PlatformDouble, verifier: AssertionVerifier
) -> None:
    call = double.call()

    def attempt(_: int) -> bool:
        try:
            verifier.verify(*call, {"pay"})
        except AssertionRefused:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(attempt, range(50))) == 1


def test_a_restart_does_not_forget_what_was_used(double: PlatformDouble, tmp_path: Path) -> None:
    call = double.call()
    for expected in (True, False):
        database = Database(tmp_path / "kept.sqlite")
        seen = SeenAssertions(database)
        verifier = AssertionVerifier(double.url, ISSUER, [audience()], seen=seen)
        if expected:
            verifier.verify(*call, {"pay"})
        else:
            with pytest.raises(AssertionRefused, match="assertion_replayed"):
                verifier.verify(*call, {"pay"})
        database.close()


def test_a_wrong_body_does_not_use_the_assertion_up(
    double: PlatformDouble, verifier: AssertionVerifier
) -> None:
    token, body = double.call()
    with pytest.raises(AssertionRefused):
        verifier.verify(token, body + b" ", {"pay"})
    assert verifier.verify(token, body, {"pay"})


def test_a_full_store_refuses_and_makes_room_as_time_passes(database: Database) -> None:
    seen = SeenAssertions(database, capacity=2)
    assert seen.remember("i", "1", 100.0, 50.0)
    assert seen.remember("i", "2", 110.0, 50.0)
    with pytest.raises(StoreFull):
        seen.remember("i", "3", 110.0, 159.9)
    assert seen.remember("i", "3", 300.0, 160.0)
    with pytest.raises(StoreFull):
        seen.remember("i", "2", 110.0, 160.0)


def test_a_jti_belongs_to_its_issuer(database: Database) -> None:
    seen = SeenAssertions(database)
    assert seen.remember("one", "1", 100.0, 50.0)
    assert seen.remember("two", "1", 100.0, 50.0)
    assert not seen.remember("one", "1", 100.0, 50.0)
