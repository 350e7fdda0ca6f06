"""What a read model is: tables of its own, the events it listens to, and a way to follow them.

One file of this room is one read model: its table, its row struct, its reducer, its queries, and
a `READ_MODEL` that tells the runner of them.

Inside the DDL and `project` tables go by their bare names: the runner decides through the search
path whether the live tables or those of a rebuild are meant. Queries say `read_models.<table>`.
A query is held to one tenant twice over: by its WHERE, and by row-level security (design §5).
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Generic, LiteralString, TypeVar

import msgspec
from psycopg import AsyncConnection
from psycopg.cursor_async import AsyncCursor
from psycopg.rows import RowMaker, TupleRow

from domain.events import DomainEvent, Recorded

Connection = AsyncConnection[TupleRow]

R = TypeVar("R", bound=msgspec.Struct)

PAGE_MAX: Final = 200


class ReadModel(msgspec.Struct, frozen=True, kw_only=True):
    """What the runner needs to know of one read model.

    `version` moves whenever `ddl` or the meaning of a row changes; the runner then rebuilds.
    `ddl` makes `tables`, each with a `tenant_id`, and their indexes; owner, row-level security
    and grants come from the runner. `listens_to` are the only classes that `project` is given.

    `project` brings the rows up to date with events that follow on those projected before. It
    runs in the transaction that also moves the position, so it neither commits nor remembers
    anything outside its tables. Whatever it raises halts the read model.
    """

    name: LiteralString
    version: int
    tables: tuple[LiteralString, ...]
    ddl: LiteralString
    listens_to: tuple[type[DomainEvent], ...]
    project: Callable[[Connection, Sequence[Recorded]], Awaitable[None]]


class Page(msgspec.Struct, Generic[R], frozen=True, kw_only=True):
    """One page of a listing. `next` is the cursor of the page after it; None at the end."""

    rows: Sequence[R]
    next: int | None


async def page(
    connection: Connection,
    query: LiteralString,
    parameters: dict[str, Any],
    row: type[R],
    *,
    limit: int,
) -> Page[R]:
    """Run a keyset query: `position` is its order, `%(limit)s` its bound.

    One row more than asked for is fetched; whether it comes says whether there is a next page.
    """
    limit = max(1, min(limit, PAGE_MAX))
    rows = await fetch_all(connection, query, {**parameters, "limit": limit + 1}, row)
    shown = rows[:limit]
    more = len(rows) > limit
    return Page(rows=shown, next=_position(shown[-1]) if more else None)


async def fetch_all(
    connection: Connection, query: LiteralString, parameters: dict[str, Any], row: type[R]
) -> list[R]:
    """All rows of a query, each checked against its struct."""
    async with connection.cursor(row_factory=_RowFactory(row)) as cursor:
        await cursor.execute(query, parameters)
        return await cursor.fetchall()


async def fetch_one(
    connection: Connection, query: LiteralString, parameters: dict[str, Any], row: type[R]
) -> R | None:
    """The one row of a query, or None: not there and not yours look the same."""
    rows = await fetch_all(connection, query, parameters, row)
    return rows[0] if rows else None


def _position(row: msgspec.Struct) -> int:
    position: int = msgspec.structs.asdict(row)["position"]
    return position


class _RowFactory(Generic[R]):
    """Turns tuples into row structs by column name; a column too many or of another type raises."""

    def __init__(self, row: type[R]) -> None:
        self._row = row

    def __call__(self, cursor: AsyncCursor[Any]) -> RowMaker[R]:
        names = [column.name for column in cursor.description or ()]
        row = self._row

        def make(values: Sequence[Any]) -> R:
            return msgspec.convert(dict(zip(names, values, strict=True)), row)

        return make
