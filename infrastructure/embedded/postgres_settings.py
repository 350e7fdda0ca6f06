"""The settings that the embedded PostgreSQL runs with: durable, and sized for the event log."""

import os
from pathlib import Path
from typing import Final

from infrastructure.embedded.account import Account

DURABILITY: Final = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "data_sync_retry": "off",
}
"""Spelt out although they are the defaults: the platform refuses to start without them."""

LOAD: Final = {
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    "wal_compression": "pglz",
    "max_connections": "200",
    "jit": "off",
}
"""Rare checkpoints and small full-page images; short statements gain nothing from a JIT."""


def write_settings(
    directory: Path,
    *,
    account: Account,
    socket_directory: Path,
    port: int,
    tcp: bool,
    shared_buffers_mb: int | None,
) -> None:
    """Write `postgresql.conf`, `pg_hba.conf` and `pg_ident.conf` for the next start.

    Over the socket the kernel vouches for who is calling: the server's own account and root may
    act as any role. Over TCP (loopback only) a password is asked for, by SCRAM.
    """
    values = {
        **DURABILITY,
        **LOAD,
        "shared_buffers": f"{shared_buffers_mb or default_shared_buffers_mb()}MB",
        "listen_addresses": "'127.0.0.1'" if tcp else "''",
        "port": str(port),
        "unix_socket_directories": _quoted(str(socket_directory)),
        "unix_socket_permissions": "0700",
        "hba_file": _quoted(str(directory / "pg_hba.conf")),
        "ident_file": _quoted(str(directory / "pg_ident.conf")),
        "password_encryption": "scram-sha-256",
        "timezone": "'UTC'",
        "log_timezone": "'UTC'",
        "log_line_prefix": "'%m [%p] '",
    }
    directory.mkdir(mode=0o755, exist_ok=True)
    lines = ["# Written at every start. For settings of your own use ALTER SYSTEM."]
    lines += [f"{name} = {value}" for name, value in values.items()]
    _write(directory / "postgresql.conf", lines)
    _write(
        directory / "pg_hba.conf",
        ["local all all peer map=link", "host all all 127.0.0.1/32 scram-sha-256"],
    )
    _write(directory / "pg_ident.conf", ["link root all", f'link "{account.name}" all'])


def default_shared_buffers_mb() -> int:
    """An eighth of the memory, at least 128 MB and at most 1 GB: other processes live here too."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1 << 20)
    return max(128, min(1024, memory // 8))


def _write(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o644)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
