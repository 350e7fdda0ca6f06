"""A product is asked wrongly in every way; one that leaves out a check is caught by its name."""

import asyncio
import shlex
from typing import Any, get_args

import pytest

from application.principals import Caller
from application.tenants.certifications import RUNS_AN_HOUR, Certifications, Reported
from application.transactions.authorization import audience
from domain import certification as c
from domain.errors import Conflict, Invalid, NotFound, TooMany
from domain.ids import wire
from infrastructure.keys.signing_keys import SigningKey, SigningKeys
from infrastructure.products.product_probes import ForgingSigner
from tests.application.checked_product import Check, CheckedProduct
from tests.application.world import ISSUER, World
from tests.builders import SERVICE
from tests.spec import CORRELATION, STREAM, TENANT

CALLER = Caller(tenant_id=TENANT, actor="client:cli_1", correlation_id=CORRELATION)

CAUGHT: dict[Check, set[c.CaseName]] = {
    "assertion": {"no_assertion"},
    "signature": {"wrong_signature"},
    "kid": {"unknown_kid"},
    "alg_none": {"alg_none"},
    "alg_hs256": {"alg_hs256"},
    "type": {"wrong_type"},
    "issuer": {"wrong_issuer"},
    "audience": {"wrong_audience"},
    "tenant": {"other_tenants_audience"},
    "expiry": {"expired"},
    "not_before": {"not_yet_valid"},
    "body": {"altered_body"},
    "context": {"altered_context"},
    "action": {"void_assertion_at_authorize"},
    "jti": {"replayed_jti"},
    "key": {"same_key_same_answer", "same_key_other_context"},
    "fingerprint": {"same_key_other_context"},
    "tombstone": {"void_before_authorize", "authorize_after_void"},
    "void_after_allow": {"authorize_after_void"},
    "void_signature": {"void_wrong_signature"},
    "void_action": {"authorize_assertion_at_void"},
    "void_repeats": {"void_twice"},
    "advice_signature": {"advice_wrong_signature"},
    "advice_action": {"authorize_assertion_at_advice"},
    "advice_repeats": {"advice_twice"},
    "advice_tombstone": {"advice_after_void"},
}
"""Which cases find out each check that a product leaves out."""


class Stage:
    """One linked service with a void endpoint, and the product behind it."""

    def __init__(self, **routing: Any) -> None:
        self.world = World()
        paths = {"void_path": "/void", "advice_path": "/advice"}
        self.world.routing(**{**paths, "timeout_ms": 800, **routing})
        assertions, tokens = (SigningKeys(SigningKey.generate()) for _ in range(2))
        self.product = CheckedProduct(
            assertions, audience(ISSUER, TENANT, SERVICE), ISSUER, self.world.clock
        )
        self.failures: list[BaseException] = []
        self.certifications = Certifications(
            self.world.log,
            self.world.linked_services(),
            self.product,
            ForgingSigner(assertions, tokens),
            self.world.canonical,
            self.world.limiter,
            ISSUER,
            self.world.clock,
            self.world.ids,
            lambda _, __, error: self.failures.append(error),
        )

    async def start(self, action: str = "pay", context: dict[str, Any] | None = None) -> None:
        await self.certifications.start(CALLER, SERVICE, action, context or {"amount": "1.00"})

    async def run(self) -> Reported:
        """A whole run, and what is shown of it."""
        await self.start()
        async with asyncio.timeout(20):
            while True:
                report = await self.certifications.report(TENANT, SERVICE)
                if report.runs[-1].certified is not None or self.failures:
                    break
                await asyncio.sleep(0)
        assert not self.failures
        return report


def failed(report: Reported) -> set[c.CaseName]:
    certified = report.runs[-1].certified
    assert certified is not None
    assert [each.case for each in certified.results] == list(c.CASES)
    return {each.case for each in certified.results if each.verdict == "failed"}


def grade(report: Reported) -> str:
    certified = report.runs[-1].certified
    assert certified is not None
    return certified.grade


async def test_a_product_that_checks_everything_gets_the_best_grade_and_owes_nobody() -> None:
    stage = Stage()
    report = await stage.run()
    assert (failed(report), grade(report)) == (set(), "A")
    assert stage.product.charges == {}, "what was allowed to be tried is given back"
    assert report.curls == {}


def test_the_table_has_every_check() -> None:
    assert set(CAUGHT) == set(get_args(Check))
    minor: set[c.CaseName] = {"valid_request", "health", "answers_in_time"}
    assert set.union(*CAUGHT.values()) | minor == set(c.CASES)


@pytest.mark.parametrize("check", get_args(Check))
async def test_each_check_that_is_left_out_is_caught_by_its_name(check: Check) -> None:
    """The planted bugs: a product without one of its checks. No case but its own may fail."""
    stage = Stage()
    stage.product.leaves_out = {check}
    report = await stage.run()
    assert failed(report) == CAUGHT[check]
    assert grade(report) == ("C" if check == "not_before" else "F")
    assert set(report.curls) == CAUGHT[check]


async def test_a_failing_request_is_a_line_for_a_shell_with_an_assertion_of_now() -> None:
    """Hours later the line still shows the hole: its assertion is made when it is asked for."""
    stage = Stage()
    stage.product.leaves_out = {"alg_none", "jti"}
    await stage.run()
    stage.world.clock.advance(7200)
    report = await stage.certifications.report(TENANT, SERVICE)
    (line,) = report.curls["alg_none"]
    words = shlex.split(line)
    assert words[:5] == ["curl", "-sS", "-i", "-X", "POST"]
    assert words[5].endswith("/authorize")
    headers = [words[at + 1] for at, word in enumerate(words) if word == "-H"]
    bearer = next(each for each in headers if each.startswith("Authorization: Bearer "))
    assert bearer.endswith("."), "nothing signed it"
    first, again = report.curls["replayed_jti"]
    assert first == again
    assert wire("usr", c.tester(SERVICE)) in line


async def test_without_a_void_endpoint_the_best_is_b() -> None:
    report = await Stage(void_path=None).run()
    assert (failed(report), grade(report)) == (set(), "B")


async def test_without_an_advice_endpoint_nothing_is_missed() -> None:
    report = await Stage(advice_path=None).run()
    assert (failed(report), grade(report)) == (set(), "A")
    certified = report.runs[-1].certified
    assert certified is not None
    left_out = {each.case for each in certified.results if each.found == "no_advice_path"}
    assert left_out == c.OF_ADVICE


async def test_a_product_that_is_away_or_refuses_everything_is_not_certified() -> None:
    for attribute, value in (("down", True), ("status", 401), ("status", 404), ("status", 500)):
        stage = Stage()
        setattr(stage.product, attribute, value)
        report = await stage.run()
        assert "valid_request" in failed(report), (attribute, value)
        assert grade(report) == "F"


async def test_a_slow_product_cannot_hold_a_run_up() -> None:
    stage = Stage()
    stage.product.takes_s = 1.2
    report = await stage.run()
    assert failed(report) == {"answers_in_time"}
    hanging = Stage(timeout_ms=10_000)
    hanging.product.takes_s = 1000.0
    began = hanging.world.clock.monotonic()
    report = await hanging.run()
    assert max(hanging.product.deadlines) <= 5.0
    assert hanging.world.clock.monotonic() - began < 120
    certified = report.runs[-1].certified
    assert certified is not None
    assert {each.found for each in certified.results} == {"timeout", "out_of_time"}


async def test_runs_are_bounded_and_one_at_a_time() -> None:
    stage = Stage()
    await stage.start()
    with pytest.raises(Conflict, match="certification_running"):
        await stage.start()
    await stage.certifications.close()
    stage.world.clock.advance(121)
    assert (await stage.certifications.report(TENANT, SERVICE)).runs[-1].status(
        stage.world.clock.now()
    ) == "interrupted"
    for _ in range(RUNS_AN_HOUR - 2):
        await stage.run()
    with pytest.raises(TooMany, match="rate_limited"):
        await stage.start()


async def test_what_makes_no_sense_is_refused_before_anything_is_sent() -> None:
    stage = Stage(allowed_actions=("pay",))
    with pytest.raises(Invalid, match="action_not_allowed"):
        await stage.start("open")
    with pytest.raises(NotFound, match="certification_not_found"):
        await stage.certifications.report(TENANT, SERVICE)
    with pytest.raises(NotFound, match="linked_service_not_found"):
        await stage.certifications.start(CALLER, STREAM, "pay", {})
    assert not stage.product.calls
