"""A void wins over everything that comes under its key, before or after it."""

import sqlite3
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from clients.product import Answers, AuthorizeRequest, Database
from clients.product.idempotency import KEEP_S
from tests.clients.product.test_idempotency import charge, charges, request


@pytest.fixture
def database(tmp_path: Path) -> Generator[Database]:
    opened = Database(tmp_path / "answers.sqlite")
    opened.define("CREATE TABLE IF NOT EXISTS charges (idempotency_key TEXT NOT NULL);")
    yield opened
    opened.close()


def refund(connection: sqlite3.Connection, asked: AuthorizeRequest) -> bool:
    found = connection.execute(
        "DELETE FROM charges WHERE idempotency_key = ?", (asked.idempotency_key,)
    )
    return found.rowcount == 1


def unable(connection: sqlite3.Connection, asked: AuthorizeRequest) -> bool:
    del connection, asked
    return False


def refuse(connection: sqlite3.Connection, asked: AuthorizeRequest) -> Mapping[str, Any]:
    del connection, asked
    return {"decision": "deny"}


def decision(answers: Answers, asked: AuthorizeRequest) -> tuple[str, bool]:
    remembered = answers.once(asked, charge)
    return msgspec.json.decode(remembered.body)["decision"], remembered.replayed


def test_what_was_allowed_is_undone_once_and_denied_from_then_on(database: Database) -> None:
    answers = Answers(database)
    assert decision(answers, request()) == ("allow", False)
    assert answers.void(request(), refund) == "voided"
    assert charges(database) == 0
    assert answers.void(request(), refund) == "already_voided"
    assert decision(answers, request()) == ("deny", True)
    assert charges(database) == 0


def test_a_question_that_comes_after_its_void_is_denied(database: Database) -> None:
    """The tombstone: the void overtook the question. Seen to fail (charged) without it."""
    answers = Answers(database)
    assert answers.void(request(), refund) == "not_found"
    assert decision(answers, request()) == ("deny", True)
    assert charges(database) == 0
    assert answers.void(request(), refund) == "already_voided"


def test_the_tombstone_survives_a_restart_and_other_keys_and_tenants_live(
    database: Database,
) -> None:
    Answers(database).void(request(), refund)
    again = Answers(database)
    assert decision(again, request())[0] == "deny"
    assert decision(again, request("key-2"))[0] == "allow"
    assert decision(again, request(tenant="ten_2"))[0] == "allow"


def test_what_was_denied_has_nothing_to_undo(database: Database) -> None:
    answers = Answers(database)
    answers.once(request(), refuse)
    assert answers.void(request(), unable) == "voided"


def test_what_cannot_be_undone_says_so_and_may_be_asked_again(database: Database) -> None:
    answers = Answers(database)
    decision(answers, request())
    assert answers.void(request(), unable) == "cannot_void"
    assert decision(answers, request()) == ("allow", True)
    assert answers.void(request(), refund) == "voided"


def test_an_undo_that_fails_leaves_all_as_it_was(database: Database) -> None:
    answers = Answers(database)
    decision(answers, request())

    def fail(connection: sqlite3.Connection, asked: AuthorizeRequest) -> bool:
        refund(connection, asked)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        answers.void(request(), fail)
    assert (charges(database), decision(answers, request())) == (1, ("allow", True))


def test_a_tombstone_is_kept_for_far_longer_than_a_question_can_be_late(
    database: Database,
) -> None:
    now = [0.0]
    answers = Answers(database, lambda: now[0])
    answers.void(request(), refund)
    now[0] = 24 * 3600.0
    assert decision(answers, request())[0] == "deny"
    now[0] = KEEP_S
    assert decision(answers, request())[0] == "allow"
