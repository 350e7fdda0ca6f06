"""We run only where committed means durable, and say what is wrong otherwise."""

import psycopg
import pytest

from infrastructure.durability import (
    REQUIRED,
    UnsafePostgres,
    assert_durable,
    complaints,
)

SAFE = {name: min(values) for name, values in REQUIRED.items()}


def test_the_embedded_server_is_safe(database: str) -> None:
    with psycopg.connect(database) as connection:
        assert_durable(connection)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("synchronous_commit", "off"),
        ("synchronous_commit", "local"),
        ("zero_damaged_pages", "on"),
        ("ignore_checksum_failure", "on"),
    ],
)
def test_a_session_that_weakens_durability_is_refused(
    postgres_dsn: str, setting: str, value: str
) -> None:
    statement = f"SET {setting} = {value}".encode()
    expected = f"{setting} is '{value}', wanted"
    with psycopg.connect(postgres_dsn) as connection:
        connection.execute(statement)
        with pytest.raises(UnsafePostgres, match=expected):
            assert_durable(connection)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("fsync", "off"),
        ("full_page_writes", "off"),
        ("data_sync_retry", "on"),
        ("ignore_system_indexes", "on"),
        ("server_encoding", "SQL_ASCII"),
    ],
)
def test_what_only_a_restart_could_set_is_refused_too(setting: str, value: str) -> None:
    (complaint,) = complaints(18, {**SAFE, setting: value})
    assert complaint.startswith(f"{setting} is '{value}', wanted ")


def test_every_complaint_is_made_at_once() -> None:
    found = complaints(14, {**SAFE, "fsync": "off"})
    assert found == ["server version is 14, wanted 15 or newer", "fsync is 'off', wanted on"]


def test_a_setting_that_the_server_does_not_have_is_no_complaint() -> None:
    assert complaints(15, {**SAFE, "ignore_system_indexes": None}) == []
