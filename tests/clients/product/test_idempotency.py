"""One key, one answer, one charge: with many at once, over a restart, and after a failure."""

import sqlite3
import threading
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from clients.product import Answers, AuthorizeRequest, Database, KeyReused, Remembered
from clients.product.idempotency import KEEP_S, Decide

PARALLEL = 20


def request(key: str = "key-1", fingerprint: str = "f", tenant: str = "ten_1") -> AuthorizeRequest:
    return AuthorizeRequest(
        user_id="usr_1",
        tenant_id=tenant,
        device_id="dev_1",
        transaction_id="txn_1",
        action="pay",
        context={},
        idempotency_key=key,
        attempt=1,
        fingerprint=fingerprint,
    )


@pytest.fixture
def database(tmp_path: Path) -> Generator[Database]:
    opened = Database(tmp_path / "answers.sqlite")
    opened.define("CREATE TABLE IF NOT EXISTS charges (idempotency_key TEXT NOT NULL);")
    yield opened
    opened.close()


def charge(connection: sqlite3.Connection, asked: AuthorizeRequest) -> Mapping[str, Any]:
    connection.execute("INSERT INTO charges VALUES (?)", (asked.idempotency_key,))
    return {"decision": "allow"}


def charges(database: Database) -> int:
    with database.transaction() as connection:
        (count,) = connection.execute("SELECT count(*) FROM charges").fetchone()
    return int(count)


def test_the_same_request_gets_the_same_bytes(database: Database) -> None:
    answers = Answers(database)
    first = answers.once(request(), charge)
    again = answers.once(request(), charge)
    assert (first.replayed, again.replayed) == (False, True)
    assert first.body == again.body == b'{"decision":"allow"}'
    assert charges(database) == 1


def test_another_request_under_the_same_key_is_refused(database: Database) -> None:
    answers = Answers(database)
    answers.once(request(), charge)
    with pytest.raises(KeyReused):
        answers.once(request(fingerprint="other"), charge)
    assert charges(database) == 1


def test_a_key_belongs_to_its_tenant(database: Database) -> None:
    answers = Answers(database)
    answers.once(request(), charge)
    assert not answers.once(request(tenant="ten_2", fingerprint="other"), charge).replayed


def test_a_restart_keeps_the_answers(tmp_path: Path) -> None:
    replayed: list[bool] = []
    for _ in range(2):
        database = Database(tmp_path / "kept.sqlite")
        database.define("CREATE TABLE IF NOT EXISTS charges (idempotency_key TEXT NOT NULL);")
        replayed.append(Answers(database).once(request(), charge).replayed)
        database.close()
    assert replayed == [False, True]


def test_a_decision_that_fails_leaves_nothing_behind(database: Database) -> None:
    def charge_and_fail(connection: sqlite3.Connection, asked: AuthorizeRequest) -> Any:
        charge(connection, asked)
        raise RuntimeError("the power went out")

    answers = Answers(database)
    with pytest.raises(RuntimeError, match="power"):
        answers.once(request(), charge_and_fail)
    assert charges(database) == 0
    assert not answers.once(request(), charge).replayed
    assert charges(database) == 1


def test_answers_are_kept_for_a_week(database: Database) -> None:
    now = [1000.0]
    answers = Answers(database, lambda: now[0])
    answers.once(request(), charge)
    now[0] += KEEP_S - 1
    assert answers.once(request(), charge).replayed
    now[0] += 1
    assert not answers.once(request(), charge).replayed


class CheckThenSet:
    """The planted bug: it looks, decides, and only then remembers, each in its own transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._answers: dict[str, Remembered] = {}
        self._everybody_looked = threading.Barrier(PARALLEL)

    def once(self, request: AuthorizeRequest, decide: Decide) -> Remembered:
        known = self._answers.get(request.idempotency_key)
        self._everybody_looked.wait(timeout=30)
        if known is not None:
            return known
        with self._database.transaction() as connection:
            body = msgspec.json.encode(decide(connection, request))
        self._answers[request.idempotency_key] = Remembered(body=body, replayed=True)
        return Remembered(body=body, replayed=False)


@pytest.mark.parametrize(
    ("store", "expected"),
    [(Answers, 1), (CheckThenSet, PARALLEL)],
    ids=["the store", "a store that checks and then sets"],
)
def test_twenty_requests_at_once_under_one_key_charge_once(
    database: Database, store: Callable[[Database], Answers | CheckThenSet], expected: int
) -> None:
    """The second row is the planted bug: the same test sees it charge twenty times."""
    answers = store(database)
    with ThreadPoolExecutor(PARALLEL) as pool:
        calls = [pool.submit(answers.once, request(), charge) for _ in range(PARALLEL)]
        got = [call.result() for call in calls]
    assert charges(database) == expected
    assert {answer.body for answer in got} == {b'{"decision":"allow"}'}
    assert sum(not answer.replayed for answer in got) == expected


def test_twenty_requests_over_several_processes_charge_once(tmp_path: Path) -> None:
    """Two connections to one file stand for two processes: the write lock is the file's."""
    path = tmp_path / "shared.sqlite"
    databases = [Database(path) for _ in range(4)]
    databases[0].define("CREATE TABLE IF NOT EXISTS charges (idempotency_key TEXT NOT NULL);")
    stores = [Answers(database) for database in databases]
    with ThreadPoolExecutor(PARALLEL) as pool:
        calls = [pool.submit(stores[n % 4].once, request(), charge) for n in range(PARALLEL)]
        assert sum(not call.result().replayed for call in calls) == 1
    assert charges(databases[0]) == 1
    for database in databases:
        database.close()
