"""What every benchmark stands on: a folder and a PostgreSQL of its own, gone afterwards."""

import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from infrastructure.embedded.postgres import EmbeddedPostgres
from infrastructure.migrate import migrate


class Ground:
    """A server with the settings that the platform ships: durable, nothing turned off."""

    def __init__(self, folder: Path, server: EmbeddedPostgres) -> None:
        self.folder = folder
        self._server = server

    @property
    def postmaster(self) -> int:
        """The process id of the server's first process."""
        return int((self._server.home / "data" / "postmaster.pid").read_text().split()[0])

    def database(self, name: str, *, template: str | None = None, migrated: bool = False) -> str:
        """Make a database; its DSN with administrator's rights."""
        with psycopg.connect(self._server.dsn(), autocommit=True) as connection:
            make = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
            if template is not None:
                make += sql.SQL(" TEMPLATE {} STRATEGY FILE_COPY").format(sql.Identifier(template))
            connection.execute(make)
        dsn = self.dsn(name)
        if migrated:
            migrate(dsn)
        return dsn

    def dsn(self, name: str) -> str:
        """Of a database that was made here."""
        return make_conninfo(self._server.dsn(), dbname=name)

    def drop(self, name: str) -> None:
        """Remove a database that nobody is connected to any more."""
        with psycopg.connect(self._server.dsn(), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))

    def url(self, name: str, *, scheme: str = "postgresql") -> str:
        """The same as a URL, for programs that want one."""
        given = conninfo_to_dict(self._server.dsn())
        host = quote(str(given["host"]), safe="")
        return f"{scheme}://{given['user']}@/{name}?host={host}&port={given['port']}"


@contextmanager
def ground() -> Generator[Ground]:
    """Make it, and take it away again."""
    folder = Path(tempfile.mkdtemp(prefix="link-bench-"))
    folder.chmod(0o711)  # the account that PostgreSQL runs as must get through it
    try:
        with EmbeddedPostgres(folder, state_root=folder / "state") as server:
            yield Ground(folder, server)
    finally:
        shutil.rmtree(folder)
