"""What was allowed in a product's place is booked once, whatever else comes under its key."""

from collections.abc import Generator
from pathlib import Path

import msgspec
import pytest

from clients.product import Answers, Database, KeyReused
from tests.clients.product.test_idempotency import charge, charges, request
from tests.clients.product.test_voids import refund, refuse


@pytest.fixture
def database(tmp_path: Path) -> Generator[Database]:
    opened = Database(tmp_path / "answers.sqlite")
    opened.define("CREATE TABLE IF NOT EXISTS charges (idempotency_key TEXT NOT NULL);")
    yield opened
    opened.close()


def test_an_advice_is_booked_once_and_answers_a_late_question(database: Database) -> None:
    answers = Answers(database)
    assert answers.advise(request(), charge) == "recorded"
    assert answers.advise(request(), charge) == "already_recorded"
    late = answers.once(request(), charge)
    assert (msgspec.json.decode(late.body)["decision"], late.replayed) == ("allow", True)
    assert charges(database) == 1


def test_what_the_product_had_allowed_itself_is_not_booked_again(database: Database) -> None:
    answers = Answers(database)
    answers.once(request(), charge)
    assert answers.advise(request(), charge) == "already_recorded"
    assert charges(database) == 1


def test_a_product_that_had_said_no_disputes_it(database: Database) -> None:
    answers = Answers(database)
    answers.once(request(), refuse)
    assert answers.advise(request(), charge) == "disputed"
    assert charges(database) == 0


def test_a_void_wins_in_whichever_order_they_come(database: Database) -> None:
    answers = Answers(database)
    assert answers.void(request(), refund) == "not_found"
    assert answers.advise(request(), charge) == "voided"
    other = msgspec.structs.replace(request(), idempotency_key="another key")
    assert answers.advise(other, charge) == "recorded"
    assert answers.void(other, refund) == "voided"
    assert charges(database) == 0


def test_another_request_under_the_key_is_refused(database: Database) -> None:
    answers = Answers(database)
    answers.advise(request(), charge)
    with pytest.raises(KeyReused):
        answers.advise(msgspec.structs.replace(request(), fingerprint="another"), charge)
