"""Refuses to run on a Postgres whose settings break the promise that committed means durable."""

from collections.abc import Mapping
from typing import Final

from psycopg import Connection
from psycopg.rows import TupleRow

SERVER_VERSION_MIN: Final = 15

REQUIRED: Final[dict[str, frozenset[str]]] = {
    "fsync": frozenset({"on"}),
    "full_page_writes": frozenset({"on"}),
    # `local` commits before a synchronous standby has it: a failover would lose it.
    "synchronous_commit": frozenset({"on", "remote_apply", "remote_write"}),
    # Linux may drop dirty pages after a failed fsync: a second try that works proves nothing.
    "data_sync_retry": frozenset({"off"}),
    "zero_damaged_pages": frozenset({"off"}),
    "ignore_checksum_failure": frozenset({"off"}),
    "ignore_system_indexes": frozenset({"off"}),
    "server_encoding": frozenset({"UTF8"}),
}
"""Setting and the values under which we run."""

_SHOW: Final = (
    "SELECT current_setting('server_version_num')::int / 10000, s.name, "
    "current_setting(s.name, true) FROM unnest(%s::text[]) AS s (name)"
)


class UnsafePostgres(Exception):
    """Every setting that is not as it must be, with what was found and what is wanted."""


def assert_durable(connection: Connection[TupleRow]) -> None:
    """Raises UnsafePostgres."""
    rows = connection.execute(_SHOW, (list(REQUIRED),)).fetchall()
    found_wrong = complaints(rows[0][0], {name: found for _, name, found in rows})
    if found_wrong:
        raise UnsafePostgres("; ".join(found_wrong))


def complaints(version: int, settings: Mapping[str, str | None]) -> list[str]:
    """What is wrong, each as one clause: the setting, what was found, what is wanted."""
    found_wrong: list[str] = []
    if version < SERVER_VERSION_MIN:
        found_wrong.append(f"server version is {version}, wanted {SERVER_VERSION_MIN} or newer")
    for name, wanted in REQUIRED.items():
        found = settings.get(name)
        # A setting that this server does not have cannot be wrong.
        if found is not None and found not in wanted:
            found_wrong.append(f"{name} is {found!r}, wanted {' or '.join(sorted(wanted))}")
    return found_wrong
